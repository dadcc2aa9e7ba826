"""Estimates with their 95 % intervals: shares, areas, and whatever lies between 0 and 1."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

Z95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""

SLACK = 0.1
"""Part of the largest possible variance that is added to one that is estimated, see `bounded`."""


class Estimate(Protocol):
    """A number, and how far off it may be."""

    @property
    def value(self) -> float:
        """The number; NaN of no pictures."""

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end, in 95 of 100 cases around the truth; NaN where that is not known."""


@dataclasses.dataclass(frozen=True)
class Estimated:
    """A number with an interval that was found for it."""

    value: float
    interval: tuple[float, float] = (math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class Share:
    """A share of a number of trials, with its 95 % interval.

    The interval is Wilson's (1927), which holds its level for few trials and near 0 and 1, where
    the usual ± does not. Trials of groups that belong together count as fewer (Korn and Graubard 1998,
    Survey Methodology 24:193); see `units.Units.share`.

    Attributes:
        successes: number of trials that went well.
        trials: number of all.
        effective: how many independent trials tell as much; `None` where each of them is independent.
        reach: standard deviations to either side: more than 1.96 where there are few groups.
    """

    successes: int
    trials: int
    effective: float | None = None
    reach: float = Z95

    @property
    def value(self) -> float:
        """The share; NaN of no trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; (0, 1) of no trials."""
        trials = self.trials if self.effective is None else self.effective
        return wilson(self.value, trials, self.reach)

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
        effective: what part of them would vary as much, were they independent and their scores of a
            usual distribution.
        reach: standard deviations to either side.
    """

    value: float
    positives: int
    negatives: int
    effective: float = 1.0
    reach: float = Z95

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end; (0, 1) where there is no area."""
        if math.isnan(self.value) or math.isinf(self.reach):
            return 0.0, 1.0
        return self._end(0.0), self._end(1.0)

    def _end(self, outermost: float) -> float:
        """Return where the distance to the value is what chance makes of it, by halving."""
        inner, outer = self.value, outermost
        counts = self.positives * self.effective, self.negatives * self.effective
        for _ in range(60):
            area = (inner + outer) / 2
            if abs(area - self.value) < self.reach * math.sqrt(variance_of_area(area, *counts)):
                inner = area
            else:
                outer = area
        return (inner + outer) / 2


def variance_of_area(area: float, positives: float, negatives: float) -> float:
    """Return how much an area varies, if scores have a usual distribution (Hanley and McNeil 1982).

    With both numbers of pictures as their mean in one place, as Newcombe has it, since that holds the
    level where they differ much.
    """
    half = max(0.0, (positives + negatives) / 2 - 1)
    spread = 1 + half * ((1 - area) / (2 - area) + area / (1 + area))
    return area * (1 - area) * spread / (positives * negatives)


def wilson(value: float, trials: float, reach: float = Z95) -> tuple[float, float]:
    """Return the ends of Wilson's interval of a share; (0, 1) where nothing is known."""
    if math.isnan(value) or not trials or math.isinf(reach):
        return 0.0, 1.0
    square = reach * reach
    centre = (value * trials + square / 2) / (trials + square)
    root = math.sqrt(max(0.0, trials * value * (1 - value)) + square / 4)
    far = reach / (trials + square) * root
    return max(0.0, centre - far), min(1.0, centre + far)


def bounded(
    value: float, variance: float, trials: float, reach: float = Z95, slack: float = SLACK
) -> Estimated:
    """Return a number between 0 and 1 with Wilson's interval of a share that varies as much.

    That keeps inside of 0 and 1, is longer towards the middle, and does not vanish where all is right.
    A variance that is seen in few pictures is often too small; so a part of what it could be at most
    is added. In simulations (tests/evaluation/scoring/test_coverage.py) that is what holds 95 %.

    Args:
        value: mean of numbers between 0 and 1.
        variance: of that mean, estimated.
        trials: independent shares that it is a mean of, about; their variance is the largest possible.
        reach: standard deviations to either side.
        slack: that part.
    """
    if math.isnan(value):
        return Estimated(value)
    largest = value * (1 - value)
    if trials and largest > 0 and variance > 0:
        trials = largest / (variance + slack * largest / trials)
    return Estimated(value, wilson(value, trials, reach))


def number(value: float) -> str:
    """Return a number in three digits behind the point; a dash where it is none."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def with_interval(estimate: Estimate) -> str:
    """Return a number in three digits with the ends of its interval, where that is known."""
    ends = ends_in_words(estimate)
    return f"{number(estimate.value)} ({ends})" if ends else number(estimate.value)


def ends_in_words(estimate: Estimate) -> str:
    """Return `0.123 to 0.456`, the ends of an interval; nothing where that is not known."""
    low, high = estimate.interval
    return "" if math.isnan(low) else f"{low:.3f} to {high:.3f}"


def json_number(value: float) -> float | None:
    """Return a number as files for programs have it; `None` where it is none, as JSON knows no NaN."""
    return round(value, 9) if math.isfinite(value) else None
