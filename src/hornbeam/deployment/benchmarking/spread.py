"""Medians with their spread, and whether two differ by more than noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

_LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Timed:
    """How long calls took, in rounds that were taken by turns with others'.

    Attributes:
        rounds: by round, the milliseconds of its calls.
    """

    rounds: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> tuple[float, ...]:
        """Of each round."""
        return tuple(float(np.median(each)) for each in self.rounds)

    @property
    def median(self) -> float:
        """Of the rounds' medians."""
        return float(np.median(self.medians))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the median, from the rounds."""
        return median_interval(self.medians)

    @property
    def calls(self) -> int:
        """How many were measured."""
        return sum(map(len, self.rounds))

    def percentile(self, percent: float) -> float:
        """Return that of all calls; NaN where there are too few to tell."""
        if self.calls * (1 - percent / 100) < 1:
            return math.nan
        return float(np.percentile([each for part in self.rounds for each in part], percent))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of what the values were drawn from, by their order.

    Exact for any distribution (order statistics and the binomial distribution); of fewer than six
    values their whole range, which holds it less often.
    """
    ordered = sorted(values)
    count = len(ordered)
    reach = 0
    below = 0.5**count  # probability that none lies below the median
    while below <= _LEVEL / 2:
        reach += 1
        below += math.comb(count, reach) * 0.5**count
    rank = max(0, reach - 1)
    return ordered[rank], ordered[count - 1 - rank]


def ratio_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of how many times as long the first takes, round by round."""
    return median_interval([a / b for a, b in zip(first, second, strict=True)])


def slower(first: Timed, second: Timed) -> int:
    """Return 1 if the first takes longer than the second, -1 if less, 0 if noise may explain it."""
    low, high = ratio_interval(first.medians, second.medians)
    return 1 if low > 1 else -1 if high < 1 else 0
