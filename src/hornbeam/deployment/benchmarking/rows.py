"""What was measured as words and plain values: for the console, for files, for the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hornbeam.deployment.benchmarking.accuracy import Accuracy
from hornbeam.deployment.benchmarking.pareto import Rated
from hornbeam.deployment.benchmarking.spread import Timed

PARETO = ["artifact", "", "ms a picture", "95 %", "pictures/s", "MB", "accuracy", "95 %"]
"""Columns of the first table."""


def pareto_rows(rated: Sequence[Rated], names: bool) -> list[list[str]]:
    """Return a line for each artifact: the three things that count, and who beats it.

    Args:
        rated: the quickest first.
        names: whether there are several bundles, so that theirs are told.
    """
    rows = []
    for each in rated:
        measured, largest = each.measured, max(each.measured.model)
        batch = measured.model[largest]
        share = each.accuracy.share if each.accuracy else None
        rows.append([
            title(each, names), verdict(each, names), shown(measured.one.median),
            between(measured.one), f"{1000 * largest / batch.median:,.0f}",
            f"{measured.candidate.bytes / 1e6:.2f}", "–" if share is None else f"{share.value:.1%}",
            "–" if share is None else "{:.1%} to {:.1%}".format(*share.interval),
        ])  # fmt: skip
    return rows


def detail_columns(rated: Sequence[Rated]) -> list[str]:
    """Return the columns of the second table."""
    return [
        "artifact", "p90 ms", "p99 ms", *(f"{size} at once" for size in rated[0].measured.model),
        *(f"files, {size} at once" for size in _of_files(rated)), "load ms", "first ms", "peak MB",
    ]  # fmt: skip


def detail_rows(rated: Sequence[Rated], names: bool) -> list[list[str]]:
    """Return the rest: tails, pictures per second by batch, from the file on, start, memory."""
    sizes = _of_files(rated)
    return [
        [
            title(each, names), shown(each.measured.one.percentile(90)),
            shown(each.measured.one.percentile(99)),
            *(_rate(size, timed) for size, timed in each.measured.model.items()),
            *(_rate(size, each.measured.files.get(size)) for size in sizes),
            shown(each.measured.started["load"]), shown(each.measured.started["first"]),
            f"{each.measured.peak:,.0f}",
        ]
        for each in rated
    ]  # fmt: skip


def title(each: Rated, names: bool) -> str:
    """Return what an artifact is called."""
    candidate = each.measured.candidate
    return f"{candidate.name} {candidate.format}" if names else candidate.format


def verdict(each: Rated, names: bool) -> str:
    """Return who beats it, or that none does."""
    if not each.beaten_by:
        return "beaten by none"
    first = each.beaten_by[0].candidate
    name = f"{first.name} {first.format}" if names else first.format
    return f"beaten by {name}" + (
        f" and {len(each.beaten_by) - 1} more" if each.beaten_by[1:] else ""
    )


def ties(rated: Sequence[Rated], names: bool) -> list[str]:
    """Return sentences about latencies that cannot be told apart."""
    said: list[str] = []
    told: set[int] = set()
    by_measured = {id(each.measured): each for each in rated}
    for each in rated:
        if id(each.measured) in told or not each.as_quick:
            continue
        group = [each, *(by_measured[id(other)] for other in each.as_quick)]
        told |= {id(member.measured) for member in group}
        listed = [title(member, names) for member in group]
        said.append(
            f"{', '.join(listed[:-1])} and {listed[-1]} are equally quick, as far as noise tells."
        )
    return said


def plain(each: Rated) -> dict[str, Any]:
    """Return all about an artifact as plain values."""
    measured = each.measured
    return {
        "bundle": str(measured.candidate.bundle), "name": measured.candidate.name,
        "format": measured.candidate.format, "bytes": measured.candidate.bytes,
        "milliseconds": {
            **{key: round(value, 3) for key, value in measured.started.items()},
            "one": _numbers(measured.one),
            "model": {str(size): _numbers(timed) for size, timed in measured.model.items()},
            "files": {str(size): _numbers(timed) for size, timed in measured.files.items()},
        },
        "peak_megabytes": round(measured.peak, 1),
        "accuracy": _accuracy(each.accuracy),
        "beaten_by": [[o.candidate.name, o.candidate.format] for o in each.beaten_by],
        "as_quick": [[o.candidate.name, o.candidate.format] for o in each.as_quick],
        "versions": dict(measured.versions),
    }  # fmt: skip


def flat(each: Rated) -> dict[str, Any]:
    """Return the same as one line of a CSV file."""
    measured, accuracy = each.measured, each.accuracy
    low, high = measured.one.interval
    row: dict[str, Any] = {
        "name": measured.candidate.name, "format": measured.candidate.format,
        "bytes": measured.candidate.bytes, "one_ms": measured.one.median, "one_ms_low": low,
        "one_ms_high": high, "one_ms_p90": _or_none(measured.one.percentile(90)),
        "one_ms_p99": _or_none(measured.one.percentile(99)), "load_ms": measured.started["load"],
        "first_ms": measured.started["first"], "peak_megabytes": measured.peak,
        "accuracy": accuracy.share.value if accuracy else None,
        "accuracy_low": accuracy.share.interval[0] if accuracy else None,
        "accuracy_high": accuracy.share.interval[1] if accuracy else None,
        "accuracy_of": accuracy.source if accuracy else None,
        "beaten_by": " ".join(o.candidate.format for o in each.beaten_by),
    }  # fmt: skip
    for kind, timed in (("model", measured.model), ("files", measured.files)):
        for size, each_timed in timed.items():
            row[f"{kind}_{size}_per_second"] = 1000 * size / each_timed.median
    return {key: round(v, 5) if isinstance(v, float) else v for key, v in row.items()}


def shown(milliseconds: float) -> str:
    """Return a number with three digits that count."""
    if math.isnan(milliseconds):
        return "–"
    if milliseconds >= 100:
        return f"{milliseconds:,.0f}"
    return f"{milliseconds:.{2 if milliseconds >= 1 else 3}f}"


def between(timed: Timed) -> str:
    """Return the interval of a median."""
    low, high = timed.interval
    return f"{shown(low)} to {shown(high)}"


def _of_files(rated: Sequence[Rated]) -> list[int]:
    """Return in which batches any was asked about files; a bundle without pictures was in none."""
    return sorted({size for each in rated for size in each.measured.files})


def _rate(size: int, timed: Timed | None) -> str:
    if timed is None:
        return "–"
    return f"{1000 * size / timed.median:,.0f}/s"


def _numbers(timed: Timed) -> dict[str, Any]:
    low, high = timed.interval
    return {
        "median": round(timed.median, 5), "low": round(low, 5), "high": round(high, 5),
        "p90": _or_none(timed.percentile(90)), "p99": _or_none(timed.percentile(99)),
        "calls": timed.calls, "rounds": [round(each, 5) for each in timed.medians],
    }  # fmt: skip


def _accuracy(accuracy: Accuracy | None) -> dict[str, Any] | None:
    if accuracy is None:
        return None
    low, high = accuracy.share.interval
    return {"value": accuracy.share.value, "low": low, "high": high, "of": accuracy.source}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
