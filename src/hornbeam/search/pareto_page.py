"""The page of a search: accuracy against latency and size, the curves of all trials, and the table."""

from __future__ import annotations

import math
import platform
import shlex
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from hornbeam.drawing import Point, draw_curves, draw_scatter
from hornbeam.page import page
from hornbeam.search.rows import Row, cells, columns, shown
from hornbeam.storage import write_text

if TYPE_CHECKING:
    from hornbeam.search.study import Plan

_STYLE = """<style>
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
.best td { font-weight: 600; } .weak td { color: var(--soft); }
.share { display: inline-block; height: .7rem; background: var(--leaf); }
</style>"""


def write_page(plan: Plan, rows: Sequence[Row], importances: Mapping[str, float]) -> None:
    """Write `search.html`, complete in itself.

    Args:
        plan: of the search.
        rows: best first.
        importances: of the parameters, adding up to 1; empty where they are not known.
    """
    name = plan.directory.absolute().name
    body = [
        _STYLE, f"<h1>{escape(name)}</h1>", _summary(plan, rows), _fronts(rows),
        _curves(plan, rows), _importance(importances), _table(plan, rows),
    ]  # fmt: skip
    write_text(plan.directory / "search.html", page(name, "".join(body)))


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the Pareto front of (cost, value) pairs, by rising cost.

    A pair is on it if no other costs as little or less and is better, or is as good and costs less.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    best, kept = -math.inf, []
    for index in order:
        if points[index][1] > best:
            best = points[index][1]
            kept.append(index)
    return kept


def command_of_best(plan: Plan) -> str:
    """Return the command that trains with the best options again, as one can paste it."""
    return shlex.join(["hornbeam", "train", "--config", str(plan.directory / "best.yaml")])


def _summary(plan: Plan, rows: Sequence[Row]) -> str:
    states = [row.state for row in rows]
    told = ", ".join(
        f"{states.count(state)} {state}" for state in ("complete", "pruned", "failed", "running")
        if state in states
    )  # fmt: skip
    text = f"<p>{len(rows)} trials: {told}. The test pictures were not opened.</p>"
    best = rows[0] if rows and rows[0].state == "complete" else None
    if best is None:
        return text
    values = ", ".join(f"{k} {shown(v)}" for k, v in best.values.items())
    interval = ""
    if best.interval:
        low, high = best.interval
        within = sum(r.state == "complete" and r.accuracy >= low for r in rows) - 1
        interval = (
            f" (95 % interval {low:.1%} to {high:.1%}; of the other finished trials {within} lie above "
            "its lower end). "
            "It was chosen by these pictures among all trials, so on new ones it is likely lower"
        )
    accuracy = (
        "" if math.isnan(best.accuracy) else f": {best.accuracy:.1%} of the validation pictures"
    )
    return (
        f"{text}<p><strong>Trial {best.number} is the best{accuracy}</strong>{interval}. "
        f"{escape(values)}.</p><p>To train it again: "
        f"<code>{escape(command_of_best(plan))}</code></p>"
    )


def _fronts(rows: Sequence[Row]) -> str:
    """Accuracy against what it costs; the line joins trials that no other beats in both."""
    costs: list[tuple[str, Callable[[Row], float | None]]] = [
        ("milliseconds for one picture", lambda row: row.one),
        ("milliseconds for a batch of 32", lambda row: row.batch),
        ("megabytes of model.keras", lambda row: row.megabytes),
    ]
    drawings = []
    for title, cost in costs:
        chosen = [
            (row, value) for row in rows
            if row.state == "complete" and (value := cost(row)) is not None
            and not math.isnan(row.accuracy)
        ]  # fmt: skip
        if not chosen:
            continue
        on_front = set(front([(value, row.accuracy) for row, value in chosen]))
        points = []
        for index, (row, value) in enumerate(chosen):
            best = index in on_front
            named = best or row is rows[0]
            label = str(row.number)
            points.append(Point(value, row.accuracy, row.interval, label, best, named, _told(row)))
        drawings.append(draw_scatter(points, title, "validation accuracy"))
    if not drawings:
        return ""
    return (
        "<h2>Accuracy against latency and size</h2><p class=soft>Numbers are those of the trials; the "
        "line joins trials than which no other is both cheaper and better; bars are 95 % intervals. "
        f"Latency is the median of repeated calls of the Keras model on {escape(platform.node())}, from "
        f"pixels to logits.</p><div class=plots>{''.join(drawings)}</div>"
    )


def _curves(plan: Plan, rows: Sequence[Row]) -> str:
    curves = [(row.curve, row.state, _told(row)) for row in reversed(rows) if len(row.curve) > 1]
    if not curves:
        return ""
    drawing = draw_curves(curves, plan.objective.name)
    return (
        "<h2>Validations</h2><p class=soft>Each line is a trial, by the number of its validations; "
        f"those that were given up end early, with a cross.</p>{drawing}"
    )


def _importance(importances: Mapping[str, float]) -> str:
    if not importances:
        return ""
    lines = "".join(
        f"<tr><td>{escape(name)}<td>{share:.0%}"
        f'<td style="text-align:left"><span class=share style="width:{12 * share:.2f}rem"></span></tr>'
        for name, share in importances.items()
    )
    return (
        "<h2>What mattered</h2><p class=soft>How far the better trials' values differ from all trials' "
        f"(PED-ANOVA), in shares; of few trials a hint at most.</p><table>{lines}</table>"
    )


def _table(plan: Plan, rows: Sequence[Row]) -> str:
    names = [parameter.name for parameter in plan.space.parameters]
    head = "".join(f"<th>{escape(n)}" for n in ["trial", *names, *columns(plan.objective)])
    lines = []
    for index, row in enumerate(rows):
        style = "best" if index == 0 and row.state == "complete" else ""
        style = style or ("" if row.state == "complete" else "weak")
        values = [shown(row.values.get(name, "–")) for name in names]
        texts = [str(row.number), *values, *cells(row, plan.objective)]
        title = f' title="{escape(row.error)}"' if row.error else ""
        lines.append(
            f"<tr class='{style}'{title}>{''.join(f'<td>{escape(c)}' for c in texts)}</tr>"
        )
    return f"<h2>Trials</h2><div class=scroll><table><tr>{head}</tr>{''.join(lines)}</table></div>"


def _told(row: Row) -> str:
    values = ", ".join(f"{name} {shown(value)}" for name, value in row.values.items())
    return f"trial {row.number}: {values}"
