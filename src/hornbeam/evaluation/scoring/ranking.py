"""What follows from the order in which a probability puts pictures: exact, in float64.

Each number comes with its influence function: how much a picture adds to it. The sum of their squares
is its variance (infinitesimal jackknife, Efron 1982), and their means over classes are those of the
means over classes. So no picture is drawn anew, which for 50,000 of 1,000 classes would take hours.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam.evaluation.scoring.shares import Area, Estimate, Estimated, bounded, variance_of_area
from hornbeam.evaluation.scoring.units import Units, reach

_ROUNDING = 1e-9
"""By which a specificity may miss what was asked for: 1 - 0.1 is not 0.9 of ten pictures."""

Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """How well the probability of one class tells its pictures from all others.

    Attributes:
        auc: area under the receiver operating characteristic.
        average_precision: mean of the precisions at each picture of the class; NaN without one.
        sensitivities: largest share of the class's pictures that a threshold finds which leaves out
            at least such a share of the others, by that share.
    """

    auc: Area
    average_precision: Estimate
    sensitivities: dict[float, Estimate]


def rank(
    truth: NDArray[np.bool_],
    scores: NDArray[np.floating],
    specificities: Sequence[float] = (),
    units: Units | None = None,
) -> Ranking:
    """Return what the order of scores is worth; see `ranked`."""
    return ranked(truth, scores, specificities, units or Units(len(truth)))[0]


def ranked(
    truth: NDArray[np.bool_],
    scores: NDArray[np.floating],
    specificities: Sequence[float],
    units: Units,
) -> tuple[Ranking, Doubles]:
    """Return what the order of scores is worth, and what each picture adds to that.

    The latter is float64 `[pictures, 2 + specificities]`: to the area, the average precision, the
    sensitivities; zeros where there is no number.
    Pictures of equal scores are on one side of any threshold, as in scikit-learn.

    Args:
        truth: which pictures are of the class, `[pictures]`.
        scores: rising with its probability, `[pictures]`.
        specificities: for which the sensitivities are wanted.
        units: the groups of the pictures.
    """
    ladder = _Ladder(truth, scores, units)
    area, precision = ladder.area(), ladder.average_precision()
    found = [ladder.sensitivity(level) for level in specificities]
    influence = ladder.influence([area, precision, *(step for step, _ in found)])
    variances = ladder.variances(influence[:, :2])
    ranking = Ranking(
        ladder.as_area(area, float(variances[0])),
        bounded(precision.value, float(variances[1]), ladder.independent, ladder.reach),
        {
            level: ladder.as_sensitivity(step, moved)
            for level, (step, moved) in zip(specificities, found, strict=True)
        },
    )
    return ranking, influence


@dataclasses.dataclass(frozen=True)
class _Step:
    """A number, and what a picture of either kind adds to it, by its place on the ladder."""

    value: float
    positive: Doubles
    negative: Doubles


class _Ladder:
    """Where pictures stand between the scores of those of the class.

    The different scores of the class's pictures are rungs, from the lowest. Place 2 i is below rung i,
    place 2 i + 1 on it; other pictures need no finer order. With r rungs there are 2 r + 1 places.
    """

    def __init__(
        self, truth: NDArray[np.bool_], scores: NDArray[np.floating], units: Units
    ) -> None:
        self._truth, self.units = truth, units
        rungs, self._on = np.unique(scores[truth], return_counts=True)
        order = np.argsort(scores)
        ordered = scores[order]
        ends = [np.searchsorted(ordered, rungs, side) for side in ("left", "right")]
        bounds = np.concatenate([[0], np.stack(ends, axis=1).ravel(), [len(truth)]])
        there = np.diff(bounds)
        self._place = np.empty(len(truth), np.int64)
        self._place[order] = np.repeat(np.arange(len(there)), there)
        self._yes = np.zeros(len(there), np.int64)
        self._yes[1::2] = self._on
        self._no = there - self._yes
        self.positives, self.negatives = int(self._yes.sum()), int(self._no.sum())
        # At each rung: how many of either kind a threshold there finds.
        self._found = np.cumsum(self._on[::-1])[::-1]
        self._false = np.cumsum(self._no[::-1])[::-1][1::2]
        self.independent, self.reach, self._part = float(self.positives), units.reach, 1.0
        if units.codes is not None and self.positives:
            rows = np.flatnonzero(truth)
            self.independent = units.independent(rows)
            self._part = self.independent / self.positives
            self.reach = reach(len(np.unique(units.codes[rows])))

    def area(self) -> _Step:
        """Area under the receiver operating characteristic; influence as in DeLong et al. (1988)."""
        if not (self.positives and self.negatives):
            return self._nothing()
        above = (np.cumsum(self._no) - self._no / 2) / self.negatives
        below = 1 - (np.cumsum(self._yes) - self._yes / 2) / self.positives
        value = float((self._yes * above).sum()) / self.positives
        return _Step(value, (above - value) / self.positives, (below - value) / self.negatives)

    def average_precision(self) -> _Step:
        """Mean precision at the class's pictures, differentiated by the weight of each picture."""
        if not self.positives:
            return self._nothing()
        every = self._found + self._false
        precisions = self._found / every
        value = float((self._on * precisions).sum()) / self.positives
        gain = np.append(0, np.cumsum(self._on / every))
        loss = np.append(0, np.cumsum(self._on * precisions / every))
        rungs = (np.arange(len(self._yes)) + 1) // 2  # that are not above a place
        own = np.zeros(len(self._yes))
        own[1::2] = precisions
        positive = (own + gain[rungs] - loss[rungs] - value) / self.positives
        return _Step(value, positive, -loss[rungs] / self.positives)

    def sensitivity(self, specificity: float) -> tuple[_Step, tuple[float, float]]:
        """Recall at a specificity, and the recalls if the threshold were off by its own 95 %.

        The second pair is what makes the interval honest: the threshold is chosen on these pictures.
        """
        if not (self.positives and self.negatives):
            return self._nothing(), (math.nan, math.nan)
        false = 1 - specificity
        first = self._first(false)
        value = self._recall(first)
        rungs = np.arange(len(self._yes)) > 2 * first
        wrong = self._false[first] / self.negatives if first < len(self._false) else 0.0
        away = self.reach * math.sqrt(false * specificity / self._independent_negatives(rungs))
        ends = max(0.0, false - away), min(1.0, false + away)
        moved = self._recall(self._first(ends[0])), self._recall(self._first(ends[1]))
        if false * self.negatives < 1:  # none may be found: how far up they go is not known
            moved = 0.0, moved[1]
        slope = (moved[1] - moved[0]) / (ends[1] - ends[0]) if ends[1] > ends[0] else 0.0
        step = _Step(
            value, (rungs - value) / self.positives, -slope * (rungs - wrong) / self.negatives
        )
        return step, moved

    def as_area(self, step: _Step, variance: float) -> Area:
        """Return the area with its interval, which is the longer, the more it varies than is usual.

        It does with groups, and with a few pictures of the class that are far from the others.
        """
        area, part = Area(step.value, self.positives, self.negatives), self._part
        if variance > 0:
            usual = variance_of_area(step.value, self.positives, self.negatives)
            part = min(1.0, usual / variance)
        return dataclasses.replace(area, effective=part, reach=self.reach)

    def as_sensitivity(self, step: _Step, moved: tuple[float, float]) -> Estimated:
        """Return a sensitivity with its interval: of the share, and of the threshold, squared and added.

        So intervals of parts are put together by Zou and Donner (2008, Statistics in Medicine 27:1693).
        """
        value = step.value
        if math.isnan(value):
            return Estimated(value, (0.0, 1.0))
        rows = np.flatnonzero(self._truth)
        found = (step.positive[self._place[rows]] > 0) | (value == 1)
        low, high = self.units.share(found, rows).interval
        below, above = max(0.0, value - moved[0]), max(0.0, moved[1] - value)
        ends = value - math.hypot(value - low, below), value + math.hypot(high - value, above)
        return Estimated(value, (max(0.0, ends[0]), min(1.0, ends[1])))

    def influence(self, steps: Sequence[_Step]) -> Doubles:
        """Return how much each picture adds to each number, `[pictures, numbers]`."""
        tables = np.empty((2, len(self._yes), len(steps)))
        for i, step in enumerate(steps):
            tables[0, :, i], tables[1, :, i] = step.negative, step.positive
            if self.positives == 1 and not math.isnan(step.value):
                # One picture does not show how others would vary: as much as they could.
                tables[1, :, i] = math.sqrt(step.value * (1 - step.value))
        # Means of few vary more than they show.
        tables *= np.sqrt([_bessel(self.negatives), _bessel(self.positives)])[:, None, None]
        rows = self._place + self._truth * len(self._yes)
        return np.asarray(tables.reshape(-1, len(steps)).take(rows, axis=0))

    def variances(self, influence: Doubles) -> Doubles:
        """Return the variance of each number, `[numbers]`."""
        if self.units.grouped:
            return np.array([self.units.variance(column) for column in influence.T])
        return np.asarray(np.einsum("ij,ij->j", influence, influence))

    def _first(self, false: float) -> int:
        """Return the lowest rung at which a threshold finds no more than a share of the others."""
        allowed = (false + _ROUNDING) * self.negatives
        return int(np.count_nonzero(self._false > allowed))

    def _recall(self, rung: int) -> float:
        return float(self._found[rung]) / self.positives if rung < len(self._found) else 0.0

    def _independent_negatives(self, above: NDArray[np.bool_]) -> float:
        """Return how many of the other pictures are, by how those above a threshold are grouped."""
        if not self.units.grouped:
            return float(self.negatives)
        rows = np.flatnonzero(~self._truth)
        return self.units.share(above[self._place[rows]], rows).effective or float(self.negatives)

    def _nothing(self) -> _Step:
        return _Step(math.nan, np.zeros(len(self._yes)), np.zeros(len(self._yes)))


def _bessel(count: int) -> float:
    return count / (count - 1) if count > 1 else 1.0
