"""The scores of a task as tables: over all classes, and class by class."""

from __future__ import annotations

import math

from hornbeam.evaluation.scoring.meanings import meaning_of
from hornbeam.evaluation.scoring.scores import ClassScores, Scores
from hornbeam.evaluation.scoring.shares import Estimate, ends_in_words, number
from hornbeam.page import shown

_MANY = 100
"""Classes from which the rows have no bars, which a browser needs long for."""

_FILTERED = 15
"""Classes from which there is a field to look for one."""


def measures(scores: Scores) -> str:
    """Return the numbers over all classes."""
    rows = ""
    losses = {"cross_entropy": scores.cross_entropy, "brier_score": scores.brier_score}
    for name, estimate in (scores.measures | losses).items():
        rows += (
            f"<tr><td>{named(name)}<td>{number(estimate.value)}<td class=soft>"
            f"{ends_in_words(estimate)}"
            f"<td>{_bar(estimate)}<td class=words>{meaning_of(name)}"
        )
    return (
        "<p class=soft>Means over the classes that have pictures, each of which counts alike, with 95 % "
        "intervals. Names are those of <code>--metrics</code>.</p>"
        f"<div class=scroll tabindex=0><table class=scores>{rows}</table></div>"
    )


def class_table(scores: Scores, head: str = "class") -> str:
    """Return the scores class by class; the script lets one sort them and look for a name.

    Args:
        scores: of the task.
        head: what a row is.
    """
    many = len(scores.classes) > _MANY
    body = "".join(_row(c, many) for c in scores.classes)
    names = "".join(f"<th>{name}" for name in (head, "pictures", *_COLUMNS))
    field = (
        f'<p class=js><input type=search data-filter aria-label="look for a {head}" '
        f'placeholder="look for a {head}"></p>'
        if len(scores.classes) >= _FILTERED
        else ""
    )
    return (
        "<p class=soft>Recall: share of a class's pictures that were named right. Precision: share of "
        "the answers of that name that were right. F1: their harmonic mean. AUC: area under the "
        "receiver operating characteristic, of this class against all others. AP: average precision. "
        "Small numbers and bars are 95 % intervals.</p>"
        f"{field}<div class='scroll tall' tabindex=0><table class='scores sortable'><thead><tr>{names}"
        f"</thead><tbody>{body}</tbody></table></div>"
    )


_COLUMNS = ("recall", "precision", "F1", "AUC", "AP")


def _row(scores: ClassScores, many: bool) -> str:
    values = (scores.recall, scores.precision, scores.f1, scores.ranking.auc,
              scores.ranking.average_precision)  # fmt: skip
    cells = "".join(
        _cell(value, percent=i < 2, bar=i < 2 and not many) for i, value in enumerate(values)
    )
    return f"<tr><td>{named(scores.name)}<td>{scores.recall.trials}{cells}"


def named(name: str) -> str:
    """Return a name in the first column of a table: in several lines where it is long."""
    return f"<span class=name>{shown(name)}</span>"


def _cell(value: Estimate | float, percent: bool, bar: bool) -> str:
    """Return a number with its interval, where it has one."""
    point = value if isinstance(value, float) else value.value
    low, high = (math.nan, math.nan) if isinstance(value, float) else value.interval
    if math.isnan(point):
        return "<td>–"
    written = f"{point:.1%}" if percent else f"{point:.3f}"
    if math.isnan(low):
        return f"<td>{written}"
    ends = f"{100 * low:.0f}–{100 * high:.0f}" if percent else f"{low:.2f}–{high:.2f}"
    drawn = _bar(value) if bar and not isinstance(value, float) else ""
    return f"<td>{written} <small>{ends}</small>{drawn}"


def _bar(estimate: Estimate) -> str:
    low, high = estimate.interval
    if math.isnan(low) or math.isnan(estimate.value) or high > 1 or low < 0:
        return ""
    return (
        f'<span class=bar><i style="left:{low:.1%};width:{high - low:.1%}"></i>'
        f'<b style="left:{estimate.value * 0.98:.1%}"></b></span>'
    )
