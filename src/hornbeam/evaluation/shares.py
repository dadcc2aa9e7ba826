"""Estimates with their 95 % intervals: shares, areas, means over classes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""

_DRAWS = 1000
_MOST_CELLS = 1_000_000
"""Pictures times classes up to which means over classes get an interval; beyond, drawing takes many
seconds, and the intervals are narrow."""


class Estimate(Protocol):
    """A number, and how far off it may be."""

    @property
    def value(self) -> float:
        """The number; NaN of no pictures."""

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, in 95 of 100 cases around the truth; NaN where that is not known."""


@dataclasses.dataclass(frozen=True)
class Share:
    """A share of a number of trials, with its 95 % interval.

    The interval is Wilson's (1927), which holds its level for few trials and near 0 and 1, where
    the usual ± does not.
    """

    successes: int
    trials: int

    @property
    def value(self) -> float:
        """The share; NaN of no trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; (0, 1) of no trials."""
        n, z = self.trials, Z95
        if not n:
            return 0.0, 1.0
        centre = (self.successes + z * z / 2) / (n + z * z)
        reach = z / (n + z * z) * math.sqrt(self.successes * (n - self.successes) / n + z * z / 4)
        return max(0.0, centre - reach), min(1.0, centre + reach)

    def __str__(self) -> str:
        if not self.trials:
            return "–"
        low, high = self.interval
        return f"{self.value:.1%} ({low:.1%} to {high:.1%})"


@dataclasses.dataclass(frozen=True)
class Area:
    """An area under the receiver operating characteristic, with its 95 % interval.

    That is the probability that a picture of the class gets a higher probability of it than another
    picture. The interval is Newcombe's (2006, Statistics in Medicine 25:559, method 5): for areas
    what Wilson's is for shares, so that it holds for few pictures and near 1.

    Attributes:
        value: the area; NaN where there are only pictures of the class, or only others.
        positives: pictures of the class.
        negatives: other pictures.
    """

    value: float
    positives: int
    negatives: int

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; (0, 1) where there is no area."""
        if math.isnan(self.value):
            return 0.0, 1.0
        return self._end(0.0), self._end(1.0)

    def _end(self, outermost: float) -> float:
        """Return where the distance to the value is what chance makes of it, by halving."""
        inner, outer = self.value, outermost
        half = (self.positives + self.negatives) / 2 - 1
        for _ in range(60):
            area = (inner + outer) / 2
            spread = 1 + half * ((1 - area) / (2 - area) + area / (1 + area))
            variance = area * (1 - area) * spread / (self.positives * self.negatives)
            if abs(area - self.value) < Z95 * math.sqrt(variance):
                inner = area
            else:
                outer = area
        return (inner + outer) / 2


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over classes, with its 95 % interval where that was drawn."""

    value: float
    interval: tuple[float, float] = (math.nan, math.nan)


def number(value: float) -> str:
    """Return a number in three digits behind the point; a dash where it is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def mean_of(values: list[float]) -> Mean:
    """Return the mean of those that are numbers; NaN of none."""
    numbers = [value for value in values if not math.isnan(value)]
    return Mean(sum(numbers) / len(numbers) if numbers else math.nan)


def counted_means(there: NDArray[np.bool_], answered: NDArray[np.bool_]) -> dict[str, Mean]:
    """Return macro precision, recall and F1 over the classes that have pictures.

    Their intervals are those of a bootstrap (Efron 1979): the middle 95 % of what comes of pictures
    that are drawn anew, with replacement, from these.

    Args:
        there: which classes each picture has, `[pictures, classes]`.
        answered: which classes were answered.
    """
    sums = [marks.sum(axis=0) for marks in (there, answered, there & answered)]
    values = _macros(np.concatenate(sums)[None])[0]
    low, high = np.full((2, 3), math.nan)
    if 0 < there.size <= _MOST_CELLS:
        # Pictures of the same labels and answers are drawn together.
        both = np.concatenate([there, answered, there & answered], axis=1)
        kinds, counts = np.unique(both, axis=0, return_counts=True)
        if kinds.size <= _MOST_CELLS:
            rng = np.random.default_rng(0)
            drawn = rng.multinomial(len(there), counts / len(there), _DRAWS)
            macros = _macros(drawn.astype(np.float32) @ kinds.astype(np.float32))
            low, high = np.quantile(macros, [0.025, 0.975], axis=0)
    return {
        kind: Mean(float(values[i]), (float(low[i]), float(high[i])))
        for i, kind in enumerate(("precision", "recall", "f1"))
    }


def _macros(sums: NDArray[Any]) -> NDArray[np.float64]:
    """Return precision, recall and F1, `[samples, 3]`, of numbers there, answered and both."""
    there, answered, both = np.split(sums.astype(np.float64), 3, axis=1)
    has = there > 0
    totals = np.stack([answered, there, (there + answered) / 2])
    values = (both / np.maximum(totals, 1e-30) * has).sum(axis=2)
    count = has.sum(axis=1)
    means: NDArray[np.float64] = np.where(count > 0, values / np.maximum(count, 1), math.nan).T
    return means
