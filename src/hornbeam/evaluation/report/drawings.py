"""Curves as drawings inside the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hornbeam.page import shown

_WIDTH, _HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 34, 44

_MOST_POINTS = 300
"""Of a line: more cannot be told apart."""

_MOST_DOTS = 60
"""Points up to which each gets a dot."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a drawing.

    Attributes:
        name: in the legend; empty for none.
        x: of its points, rising.
        y: of its points; what is not finite is left out.
        colour: CSS.
        low: lower ends of the 95 % intervals; empty for none.
        high: upper ends.
        band: draw the intervals as a band, else as whiskers.
        dashed: draw it so.
        dots: mark each point, if they are few.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    band: bool = False
    dashed: bool = False
    dots: bool = True


@dataclasses.dataclass(frozen=True)
class Axis:
    """A side of a drawing: what it measures, from where to where, and how its numbers are written."""

    name: str
    low: float
    high: float
    style: str = "g"

    @property
    def ticks(self) -> list[float]:
        """Round numbers, about five."""
        reach = self.high - self.low
        step = 10 ** math.floor(math.log10(reach / 4))
        step *= min((1, 2, 5, 10), key=lambda factor: abs(reach / (factor * step) - 5))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(step * i, 12) for i in range(first, last + 1)]

    def written(self, value: float) -> str:
        """Return a number as it stands beside the axis."""
        if self.style == "%":
            return f"{100 * value:g} %"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def draw(title: str, lines: Sequence[Line], across: Axis, up: Axis, alone: bool = False) -> str:
    """Return lines over two axes as an `<svg>`.

    Args:
        title: above the drawing; plain text.
        lines: drawn in this order.
        across: the horizontal axis.
        up: the vertical one.
        alone: leave out the legend.
    """

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - across.low) / (across.high - across.low)

    def y(value: float) -> float:
        value = min(max(value, up.low), up.high)
        return (
            _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - up.low) / (up.high - up.low)
        )

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width={_WIDTH} height={_HEIGHT} role=img '
        f'aria-label="{shown(title)}"><text x=4 y=16 class=title>{shown(title)}</text>'
    ]
    for value in up.ticks:
        at = y(value)
        parts.append(
            f"<line x1={_LEFT} x2={_WIDTH - _RIGHT} y1={at:.1f} y2={at:.1f} />"
            f"<text x={_LEFT - 6} y={at + 4:.1f} text-anchor=end>{up.written(value)}</text>"
        )
    for value in across.ticks:
        parts.append(
            f"<text x={x(value):.1f} y={_HEIGHT - _BOTTOM + 16} text-anchor=middle>"
            f"{across.written(value)}</text>"
        )
    parts.append(
        f"<text x={_WIDTH - _RIGHT} y={_HEIGHT - 8} text-anchor=end>{shown(across.name)}</text>"
    )
    legend = _WIDTH - _RIGHT
    for line in lines:
        parts.append(_drawn(line, x, y))
        if line.name and not alone:
            parts.append(
                f'<text x={legend} y=16 text-anchor=end style="fill:{line.colour}">'
                f"{shown(line.name)}</text>"
            )
            legend -= 8 * len(line.name) + 10
    return "".join([*parts, "</svg>"])


def _drawn(line: Line, x: object, y: object) -> str:
    assert callable(x)
    assert callable(y)
    kept = [i for i in range(len(line.x)) if math.isfinite(line.y[i]) and math.isfinite(line.x[i])]
    if len(kept) > _MOST_POINTS:
        kept = [kept[i] for i in np.linspace(0, len(kept) - 1, _MOST_POINTS).astype(int)]
    points = " ".join(f"{x(line.x[i]):.1f},{y(line.y[i]):.1f}" for i in kept)
    parts = []
    if len(line.low) and line.band:
        ends = [f"{x(line.x[i]):.1f},{y(line.low[i]):.1f}" for i in kept]
        ends += [f"{x(line.x[i]):.1f},{y(line.high[i]):.1f}" for i in reversed(kept)]
        parts.append(f'<polygon points="{" ".join(ends)}" />')
    elif len(line.low):
        parts += [
            f"<line x1={x(line.x[i]):.1f} x2={x(line.x[i]):.1f} y1={y(line.low[i]):.1f} "
            f"y2={y(line.high[i]):.1f} />"
            for i in kept
        ]
    dashed = ' stroke-dasharray="5 4"' if line.dashed else ""
    parts.append(f'<polyline points="{points}"{dashed} />')
    if line.dots and len(kept) <= _MOST_DOTS:
        parts += [f"<circle cx={x(line.x[i]):.1f} cy={y(line.y[i]):.1f} r=2.5 />" for i in kept]
    return f'<g style="--c:{line.colour}">{"".join(parts)}</g>'
