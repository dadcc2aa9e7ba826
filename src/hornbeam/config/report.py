"""Options of the report of a run."""

from __future__ import annotations

from pathlib import Path

from hornbeam.options import Options, option, positional


class ReportOptions(Options):
    """Make the report of a run anew, from its files, and show it."""

    run: Path = positional("run directory", metavar="RUN")
    open: bool = option(False, "show it in your browser", section="output")
    out: Path | None = option(
        None, "HTML file to write; else report.html of the run", section="output"
    )
