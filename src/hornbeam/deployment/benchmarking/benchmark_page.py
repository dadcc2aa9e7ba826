"""The page of a benchmark: accuracy against latency and size, and the tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.deployment.benchmarking import rows
from hornbeam.deployment.benchmarking.measuring import Measured
from hornbeam.deployment.benchmarking.pareto import Rated
from hornbeam.drawing import Point, draw_scatter
from hornbeam.page import page, shown
from hornbeam.storage import write_text

_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
table { font-size: .9rem; } th, td { padding: .25rem .45rem; } td:nth-child(2) { text-align: left; }
.beaten td { color: var(--soft); }
"""


def write_page(
    path: Path, rated: Sequence[Rated], failed: Sequence[Measured], machine: Mapping[str, Any],
    sentences: Sequence[str],
) -> None:  # fmt: skip
    """Write it, complete in itself.

    Args:
        path: of the page.
        rated: what ran, the quickest first.
        failed: what did not.
        machine: of `describe_machine`.
        sentences: what else is told.
    """
    names = len({each.measured.candidate.name for each in rated}) > 1
    known = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['memory_gigabytes']:g} GB, {machine['system']}, Python {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in _versions(rated).items())
    )
    body = [
        "<h1>Artifacts side by side</h1>",
        *(f"<p>{shown(sentence)}</p>" for sentence in sentences),
        f"<p class=soft>{shown(known)}</p>",
        _plots(rated, names),
        "<h2>Which to take</h2>",
        _table(rows.PARETO, rows.pareto_rows(rated, names), rated),
        "<h2>More of each</h2>",
        _table(rows.detail_columns(rated), rows.detail_rows(rated, names), rated) if rated else "",
    ]
    if failed:
        lines = "".join(
            f"<li>{shown(each.candidate.name)} {shown(each.candidate.format)}: {shown(each.error or '')}"
            for each in failed
        )
        body.append(f"<h2>What cannot run here</h2><ul>{lines}</ul>")
    write_text(path, page("Artifacts side by side", "".join(body), style=_STYLE))


def _versions(rated: Sequence[Rated]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in rated:
        found |= each.measured.versions
    return dict(sorted(found.items()))


def _plots(rated: Sequence[Rated], names: bool) -> str:
    drawings = []
    costs: list[tuple[str, Callable[[Measured], float]]] = [
        ("milliseconds for one picture", lambda m: m.one.median),
        ("megabytes of the files", lambda m: m.candidate.bytes / 1e6),
        ("megabytes of memory", lambda m: m.peak),
    ]
    known = [
        (number, each, each.accuracy.share)
        for number, each in enumerate(rated, 1)
        if each.accuracy is not None
    ]
    for title, cost in costs:
        places = [(cost(each.measured), share.value) for _, each, share in known]
        labels = _labels(places, [str(number) for number, _, _ in known])
        points = [
            Point(
                *place, share.interval, label or "", _is_front(place, places), label is not None,
                f"{rows.title(each, names)}: {rows.verdict(each, names)}",
            )
            for (_, each, share), place, label in zip(known, places, labels, strict=True)
        ]  # fmt: skip
        if points:
            drawings.append(draw_scatter(points, title, "accuracy"))
    if not drawings:
        return ""
    return (
        "<h2>Accuracy against what it costs</h2><p class=soft>Numbers are those of the table. Green: "
        "in this plot none is both cheaper and better; the table says which differences are more than "
        "noise. Bars are 95 % intervals of the accuracy.</p>"
        f"<div class=plots>{''.join(drawings)}</div>"
    )


def _is_front(place: tuple[float, float], places: Sequence[tuple[float, float]]) -> bool:
    cost, value = place
    return not any(c <= cost and v >= value and (c, v) != place for c, v in places)


def _labels(places: Sequence[tuple[float, float]], names: Sequence[str]) -> list[str | None]:
    """Return what stands beside each point; of points that are close, one has the names of all."""
    costs = [cost for cost, _ in places]
    # As wide as a number: the axis is by orders of magnitude where costs span some, or from 0 on.
    log = max(costs, default=1) > 8 * min(costs, default=1) > 0
    scale = [math.log(cost) if log else cost for cost in costs]
    across = 0.1 * (max(scale) - (min(scale) if log else 0)) if scale else 0
    values = [value for _, value in places]
    up = max(0.06 * (max(values) - min(values)), 0.01) if values else 0
    labels: list[str | None] = [None] * len(places)
    order = sorted(range(len(places)), key=lambda i: scale[i])
    while order:
        first = order[0]
        near = [
            i for i in order
            if scale[i] - scale[first] <= across and abs(values[i] - values[first]) <= up
        ]  # fmt: skip
        labels[first] = ", ".join(names[i] for i in sorted(near))
        order = [i for i in order if i not in near]
    return labels


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]], rated: Sequence[Rated]) -> str:
    head = "".join(f"<th>{shown(name)}" for name in columns)
    body = "".join(
        f"<tr{' class=beaten' if each.beaten_by else ''}>"
        f"<td>{number}&ensp;{''.join(f'<td>{shown(c)}' for c in line).removeprefix('<td>')}</tr>"
        for number, (each, line) in enumerate(zip(rated, lines, strict=True), 1)
    )
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"
