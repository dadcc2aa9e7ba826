"""How the training went: its metrics against its steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hornbeam.evaluation.report.drawings import Axis, Line, draw
from hornbeam.page import shown

_SHARES = ("accuracy", "top_", "precision", "recall", "f1", "auc", "sensitivity")
"""Parts of the names of metrics that lie between 0 and 1."""

_OTHERS = ("epoch", "step", "pictures", "seconds", "pictures_per_second")
"""Columns of `metrics.csv` that are drawn by none of their own."""


def curves(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the drawings of all metrics, or a sentence where there are none.

    Args:
        rows: lines of `metrics.csv`.
    """
    if not rows:
        return "<p>There are no curves.</p>"
    columns = {name: [number(row.get(name)) for row in rows] for name in rows[0]}
    names = [name for name in columns if name not in _OTHERS and not name.startswith("val_")]
    if "loss" in names and _same(columns, "loss", "cross_entropy"):
        names.remove("cross_entropy")
    if len(rows) < 2:
        return _one(columns, names)
    drawings = [_drawing(name, columns) for name in names if name != "learning_rate"]
    if len(set(columns.get("learning_rate", []))) > 1:
        drawings.append(_drawing("learning_rate", columns))
    best = _best(columns)
    said = f"<p class=soft>{best}</p>" if best else ""
    return f"{said}<div class=drawings>{''.join(filter(None, drawings))}</div>"


def number(text: str | None) -> float:
    """Return the number of a cell; NaN where it is empty or none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _best(columns: Mapping[str, Sequence[float]]) -> str:
    """Say where the validation loss was least."""
    losses = columns.get("val_loss", ())
    finite = [(loss, place) for place, loss in enumerate(losses) if math.isfinite(loss)]
    if not finite:
        return ""
    loss, place = min(finite)
    after = (
        ", the last validation" if place == len(losses) - 1 else f" of {len(losses)} validations"
    )
    return (
        f"The validation loss was least, {loss:.4g}, at step {columns['step'][place]:,.0f}, "
        f"validation {place + 1}{after}."
    )


def _one(columns: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """What a single validation can tell."""
    said = "There are no curves: the model was validated once"
    if not columns.get("step", [0])[0]:
        said = "There are no curves: the head was solved at once"
    rows = "".join(
        f"<tr><td>{shown(name)}<td>{columns[name][0]:.4g}<td>{columns[f'val_{name}'][0]:.4g}"
        for name in names
        if f"val_{name}" in columns
    )
    table = f"<table><tr><th><th>training<th>validation{rows}</table>" if rows else ""
    return f"<p>{said}.</p>{table}"


def _drawing(name: str, columns: Mapping[str, Sequence[float]]) -> str:
    steps, training = columns.get("step", ()), columns[name]
    validation = columns.get(f"val_{name}", ())
    finite = [v for v in (*training, *validation) if math.isfinite(v)]
    if not finite or not math.isfinite(max(steps, default=math.nan)):
        return ""
    low, high = min(finite), max(finite)
    if any(part in name for part in _SHARES) and low >= 0 and high <= 1:
        high = 1.0
    low = 0.0 if 0 <= low < 0.7 * high else low
    if high - low < 1e-12:
        low, high = low - abs(low) / 2 - 1e-9, high + abs(high) / 2 + 1e-9
    lines = [Line("training", steps, training, "var(--clay)")]
    if len(validation):
        lines.append(Line("validation", steps, validation, "var(--leaf)"))
    first, last = min(steps), max(steps)
    across = Axis("step", min(0.0, first) if first < 0.3 * last else first, max(last, first + 1))
    return draw(name.replace("_", " "), lines, across, Axis("", low, high), alone=len(lines) < 2)


def _same(columns: Mapping[str, Sequence[float]], one: str, other: str) -> bool:
    """Whether two metrics are the same numbers, as loss and cross-entropy are by default."""
    pairs = zip(columns[one], columns.get(other, ()), strict=False)
    return other in columns and all(abs(a - b) < 0.01 * abs(a) for a, b in pairs)
