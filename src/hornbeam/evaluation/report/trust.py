"""Whether the probabilities mean what they say, and what is gained by leaving answers out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hornbeam.evaluation.report.drawings import Axis, Line, draw
from hornbeam.evaluation.scoring.shares import with_interval
from hornbeam.evaluation.trust.abstention import Threshold
from hornbeam.evaluation.trust.measuring import Trust
from hornbeam.evaluation.trust.reliability import CoverageCurve, Reliability
from hornbeam.page import shown

_COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)
"""Shares of answers that are told in numbers."""

_CLEAR = 0.02
"""Distance of claims and truth below which it is not worth a warning."""


def trust(given: Trust) -> str:
    """Return the section of one task."""
    used = given.after or given.before
    parts = [f"<p>{in_words(given)}</p>", _errors(given), "<div class=drawings>", _diagram(given)]
    if used.curve is not None:
        parts.append(_coverage(used.curve))
    parts.append("</div>")
    if used.curve is not None:
        parts.append(_table(used.curve))
    if given.thresholds:
        parts.append(_thresholds(given.thresholds, given.marks))
    parts += [f"<p>{shown(sentence)}</p>" for sentence in given.sentences]
    return "".join(parts)


def in_words(given: Trust) -> str:
    """Say how far claims and truth are apart, as HTML."""
    used = given.after or given.before
    said = f"Its probabilities are {_gap(used)}."
    if given.after is not None:
        said = (
            f"As the network gives them, the probabilities are {_gap(given.before)}; calibrated, as "
            f"it answers with them, they are {_gap(given.after)}."
        )
    return said


def _errors(given: Trust) -> str:
    """Return the distances of claims and truth as a table."""
    rows = ""
    for name, measured in (
        ("as the network gives them", given.before),
        ("calibrated", given.after),
    ):
        if measured is not None:
            low, high = measured.gap.interval
            ends = (
                "" if math.isnan(low) else f" <small>{100 * low:+.1f} to {100 * high:+.1f}</small>"
            )
            rows += (
                f"<tr><td>{name}<td>{measured.claimed:.1%}<td>{measured.accuracy.value:.1%}"
                f"<td>{100 * measured.gap.value:+.1f}{ends}<td>{measured.error:.3f}"
                f"<td>{with_interval(measured.corrected)}"
            )
    return (
        "<div class=scroll tabindex=0><table><tr><th>probabilities<th>claimed<th>right<th>too sure by"
        f"<th>calibration error<th>without chance{rows}</table></div><p class=soft>Calibration error: "
        "mean distance of claims from truth over 15 bins (ECE, Guo et al. 2017). Few pictures have one "
        "by chance alone; the last column is without that.</p>"
    )


def _gap(measured: Reliability) -> str:
    """Return `too sure: 90 % on average, and right in 80 %`."""
    low, high = measured.gap.interval
    claimed, right = f"{measured.claimed:.1%}", f"{measured.accuracy.value:.1%}"
    numbers = f"they claim {claimed} on average, where {right} is right"
    if low > 0 and measured.gap.value > _CLEAR:
        return f"too high: {numbers}"
    if high < 0 and measured.gap.value < -_CLEAR:
        return f"too low: {numbers}"
    return f"about right: {numbers}"


def _diagram(given: Trust) -> str:
    """Draw what is right against what is claimed."""
    lines = [Line("", (0, 1), (0, 1), "var(--soft)", dashed=True, dots=False)]
    named = [("before", given.before, "var(--clay)"), ("after", given.after, "var(--leaf)")]
    if given.after is None:
        named = [("", given.before, "var(--leaf)")]
    for name, measured, colour in named:
        if measured is None:
            continue
        bins = [b for b in measured.bins if b.right.trials]
        ends = [b.right.interval for b in bins]
        lines.append(Line(
            name, [b.claimed for b in bins], [b.right.value for b in bins], colour,
            low=[end[0] for end in ends], high=[end[1] for end in ends],
        ))  # fmt: skip
    across = Axis("claimed probability", 0, 1, "%")
    return draw("share of right answers", lines, across, Axis("", 0, 1, "%"))


def _coverage(curve: CoverageCurve) -> str:
    """Draw the accuracy of the surest answers against how many of them are given."""
    # The few surest answers have intervals that would need most of the drawing.
    pairs = zip(curve.coverage, curve.low, strict=True)
    low = min((v for at, v in pairs if math.isfinite(v) and at >= 0.1), default=0.0)
    line = Line(
        "", curve.coverage, curve.accuracy, "var(--leaf)", low=curve.low, high=curve.high,
        band=True, dots=False,
    )  # fmt: skip
    start = max(0.0, math.floor(10 * low) / 10)
    return draw(
        "accuracy of the surest answers", [line], Axis("share of pictures answered", 0, 1, "%"),
        Axis("", min(start, 0.9), 1, "%"),
    )  # fmt: skip


def _table(curve: CoverageCurve) -> str:
    """Return a few points of the curve as numbers."""
    coverage = np.asarray(curve.coverage)
    places = dict.fromkeys(int(np.abs(coverage - wanted).argmin()) for wanted in _COVERAGES)
    rows = "".join(
        f"<tr><td>{coverage[i]:.0%}<td>{curve.accuracy[i]:.1%} <small>{curve.low[i]:.1%}–"
        f"{curve.high[i]:.1%}</small><td>{curve.threshold[i]:.1%}"
        for i in places
    )
    return (
        "<p class=soft>What is gained by leaving the least sure answers to a person:</p>"
        "<div class=scroll><table><tr><th>answered<th>right of those<th>least probability"
        f"{rows}</table></div>"
    )


def _thresholds(thresholds: Sequence[Threshold], marks: bool) -> str:
    if not marks:
        offer = (
            "No answer is marked so far; <code>hornbeam evaluate RUN --abstain-precision</code> "
            "chooses one of these thresholds, or another."
        )
    elif all(threshold.probability is None for threshold in thresholds):
        offer = "All answers are marked as unsure, as no threshold keeps that promise."
    else:
        offer = "Answers below it are marked as unsure."
    items = "".join(f"<li>{shown(threshold.sentence)}" for threshold in thresholds)
    return f"<h3>Where to stop answering</h3><p>{offer}</p><ul>{items}</ul>"
