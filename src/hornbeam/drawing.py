"""Scatter plots and curves as inline SVG, for pages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from html import escape

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 16, 46


@dataclasses.dataclass(frozen=True)
class Point:
    """Something in a scatter plot.

    Attributes:
        x: cost, above 0.
        y: accuracy.
        interval: of it.
        label: what it is called.
        on_front: whether no other is both cheaper and better.
        named: whether the label is shown.
        title: what is told where the pointer rests.
    """

    x: float
    y: float
    interval: tuple[float, float] | None
    label: str
    on_front: bool
    named: bool
    title: str


def draw_scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Draw accuracy against a cost, which is laid out by orders of magnitude where it spans some."""
    xs = [point.x for point in points]
    ys = [y for point in points for y in (point.y, *(point.interval or ()))]
    log = max(xs) > 8 * min(xs) > 0
    # From zero, so that a difference of a few percent looks like one.
    x_axis = _Axis.over(xs if log else [0, *xs], _LEFT, _WIDTH - _RIGHT, log=log)
    y_axis = _Axis.over(ys, _HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(x_axis, y_axis, x_title, y_title, percent=True)]
    joined = sorted((point for point in points if point.on_front), key=lambda point: point.x)
    corners: list[tuple[float, float]] = []
    for point in joined:  # a staircase: what one gets for at most that cost
        if corners:
            corners.append((x_axis(point.x), corners[-1][1]))
        corners.append((x_axis(point.x), y_axis(point.y)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts.append(f'<polyline points="{path}" fill="none" stroke="var(--leaf)" stroke-width="1.5"/>')
    for point in sorted(points, key=lambda point: point.on_front):
        x, y = x_axis(point.x), y_axis(point.y)
        colour = "var(--leaf)" if point.on_front else "var(--soft)"
        bar = ""
        if point.interval and point.on_front:
            low, high = map(y_axis, point.interval)
            bar = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" opacity=".35"/>'
        label = ""
        if point.named:
            right = x > _WIDTH - 60
            label = (
                f'<text x="{x + (-8 if right else 8):.1f}" y="{y + 14:.1f}" fill="var(--ink)" '
                f'stroke="none" text-anchor="{"end" if right else "start"}">{escape(point.label)}</text>'
            )
        parts.append(
            f'<g fill="{colour}" stroke="{colour}"><title>{escape(point.title)}</title>{bar}'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{4 if point.on_front else 3}" stroke="none"/>'
            f"{label}</g>"
        )
    return _svg(f"{y_title} against {x_title}", parts)


def draw_curves(curves: Sequence[tuple[Sequence[float], str, str]], y_title: str) -> str:
    """Draw the validations of trials: values, state and title of each, the best last."""
    ys = [value for values, _, _ in curves for value in values if math.isfinite(value)] or [
        0.0,
        1.0,
    ]
    longest = max(len(values) for values, _, _ in curves)
    x_axis = _Axis.over([1, longest], _LEFT, _WIDTH - _RIGHT, margin=0, whole=True)
    y_axis = _Axis.over(ys, _HEIGHT - _BOTTOM, _TOP)
    percent = "accuracy" in y_title
    parts = [_frame(x_axis, y_axis, "validation", y_title, percent=percent)]
    for index, (values, state, title) in enumerate(curves):
        best = index == len(curves) - 1
        colour = "var(--leaf)" if best else "var(--clay)" if state == "pruned" else "var(--soft)"
        places = [
            (x_axis(i + 1), y_axis(value)) for i, value in enumerate(values) if math.isfinite(value)
        ]
        if not places:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        end = ""
        if state == "pruned":
            x, y = places[-1]
            end = (
                f'<path d="M{x - 3:.1f},{y - 3:.1f}l6,6m0,-6l-6,6" stroke="{colour}" '
                'stroke-width="1.5"/>'
            )
        parts.append(
            f'<g opacity="{1 if best else 0.6}"><title>{escape(title)}</title>'
            f'<polyline points="{path}" fill="none" stroke="{colour}" '
            f'stroke-width="{2.5 if best else 1.2}"/>{end}</g>'
        )
    return _svg(f"{y_title} by validation", parts)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """From values to pixels, along a line or by orders of magnitude."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    ticks: tuple[float, ...]

    @classmethod
    def over(
        cls, values: Sequence[float], start: float, end: float, *,
        log: bool = False, margin: float = 0.06, whole: bool = False,
    ) -> _Axis:  # fmt: skip
        """Make an axis that shows all values, with round numbers at its ticks."""
        low, high = min(values), max(values)
        if log:
            reach = (high / low) ** margin
            low, high = low / reach, high * reach
            steps = [m * 10.0**e for e in range(-6, 10) for m in (1, 2, 5)]
            return cls(low, high, start, end, True, tuple(t for t in steps if low <= t <= high))
        # What differs by rounding alone is one number: between such there are no ticks to be had.
        spread = high - low if high - low > 1e-9 * max(abs(low), abs(high)) else 0.0
        reach = spread * margin or abs(high) * 0.05 or 0.05
        low, high = (low, max(high, low + 1)) if whole else (low - reach, high + reach)
        low = max(low, 0.0) if min(values) >= 0 else low
        return cls(low, high, start, end, False, tuple(_round_numbers(low, high, whole)))

    def __call__(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _round_numbers(low: float, high: float, whole: bool) -> Iterator[float]:
    """Yield three to seven multiples of 1, 2 or 5 of some power of ten."""
    power = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(m * power for m in (1, 2, 5, 10) if (high - low) / (m * power) <= 6)
    step = max(1, step) if whole else step
    value = math.ceil(low / step - 1e-9) * step
    while value <= high + 1e-9 * step:
        yield round(value, 12)
        value += step


def _frame(x_axis: _Axis, y_axis: _Axis, x_title: str, y_title: str, percent: bool) -> str:
    bottom = _HEIGHT - _BOTTOM
    lines = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y_axis(t):.1f}" y2="{y_axis(t):.1f}" '
        f'stroke="var(--line)"/><text x="{_LEFT - 6}" y="{y_axis(t) + 4:.1f}" text-anchor="end">'
        f"{_percent(t, y_axis) if percent else f'{t:g}'}</text>"
        for t in y_axis.ticks
    ]
    lines += [
        f'<line x1="{x_axis(t):.1f}" x2="{x_axis(t):.1f}" y1="{bottom}" y2="{bottom + 4}" '
        f'stroke="var(--soft)"/><text x="{x_axis(t):.1f}" y="{bottom + 17}" text-anchor="middle">{t:g}'
        "</text>"
        for t in x_axis.ticks
    ]
    centre = (_LEFT + _WIDTH - _RIGHT) / 2
    lines.append(
        f'<text x="{centre}" y="{_HEIGHT - 8}" text-anchor="middle" fill="var(--ink)">'
        f"{escape(x_title)}</text>"
        f'<text transform="translate(12 {(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle" '
        f'fill="var(--ink)">{escape(y_title)}</text>'
    )
    return "".join(lines)


def _percent(value: float, axis: _Axis) -> str:
    return f"{value:.1%}" if axis.high - axis.low < 0.04 else f"{value:.0%}"


def _svg(label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" font-size="12" fill="var(--soft)" '
        f'role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )
