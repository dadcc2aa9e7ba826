"""The report of a run: one HTML file that needs nothing outside it."""

from hornbeam.evaluation.report.content import ReportContent
from hornbeam.evaluation.report.page import write_report

__all__ = ["ReportContent", "write_report"]
