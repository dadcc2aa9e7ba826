"""How far two models are apart in what is measured, with intervals: both see the same pictures.

What is hard for both then widens no interval. There is no difference of calibration errors: its
bootstrap held the truth in 1 to 21 of 100 simulations of a calibrated model and one that is not
(docs/log.md). Cross-entropy and Brier score tell of calibration too, and are plain means.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend
from hornbeam.data.tasks import Task
from hornbeam.evaluation.scoring.bootstrap import Resampling
from hornbeam.evaluation.scoring.means import COUNTED, macros, marks_of
from hornbeam.evaluation.scoring.odds import Odds, brier_scores, cross_entropies, losses_of_marks
from hornbeam.evaluation.scoring.ranking import ranked
from hornbeam.evaluation.scoring.units import Units

LOWER_IS_BETTER = ("cross_entropy", "brier_score")
"""Measures of which less is better."""

_RANKED = ("auc", "average_precision")

_CLASSES = 16
"""Classes at a time, so that log-odds of 50,000 pictures take 6 MiB a thread."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A number of two models, and their difference, second less first, with its 95 % interval."""

    first: float
    second: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The difference."""
        return self.second - self.first

    @property
    def shown(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def differences_of_measures(
    task: Task, labels: NDArray[Any], odds: Sequence[Odds], answers: Sequence[NDArray[Any]], units: Units
) -> dict[str, Difference]:  # fmt: skip
    """Return the differences of other measures than the accuracy, by the names of `hornbeam.measures`.

    Args:
        task: what was asked.
        labels: of the pictures; all are known.
        odds: of both models.
        answers: of both models: class indices or marks.
        units: the groups of the pictures.
    """
    if not len(labels):
        return {}
    result = _of_means(task, labels, answers, units) | _of_rankings(task, labels, odds, units)
    if task.multi_label:
        losses = [losses_of_marks(o.logits, labels) for o in odds]
    else:
        losses = [(cross_entropies(o, labels), brier_scores(o, labels)) for o in odds]
    for name, first, second in zip(LOWER_IS_BETTER, *losses, strict=True):
        mean = units.mean(second - first)
        result[name] = Difference(float(first.mean()), float(second.mean()), *mean.interval)
    return {name: _without_false_certainty(difference) for name, difference in result.items()}


def _without_false_certainty(difference: Difference) -> Difference:
    """Return a difference without an interval, where no picture shows how much it may vary."""
    if difference.low < difference.high:
        return difference
    return dataclasses.replace(difference, low=math.nan, high=math.nan)


def _of_means(
    task: Task, labels: NDArray[Any], answers: Sequence[NDArray[Any]], units: Units
) -> dict[str, Difference]:
    """Return those of means over the classes, by a paired bootstrap: one draw of pictures for both."""
    count = len(task.classes)
    there, *given = (marks_of(values, count) for values in (labels, *answers))
    both = [there.multiply(marks).tocsr() for marks in given]

    def of_models(weights: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return `[draws, measures, models]`."""
        drawn = np.ascontiguousarray(weights.T)
        of_class = (there @ drawn).T
        found = [
            macros(of_class, (marks @ drawn).T, (right @ drawn).T)
            for marks, right in zip(given, both, strict=True)
        ]
        return np.stack(found, axis=-1)

    values = of_models(np.ones((1, len(labels)), np.float32))[0]
    resampling = Resampling(len(labels), units=units.codes)
    low, high = resampling.interval(lambda weights: np.diff(of_models(weights))[..., 0])
    return {
        name: Difference(float(values[i, 0]), float(values[i, 1]), float(low[i]), float(high[i]))
        for i, name in enumerate(COUNTED)
    }


def _of_rankings(
    task: Task, labels: NDArray[Any], odds: Sequence[Odds], units: Units
) -> dict[str, Difference]:
    """Return those of areas and average precisions, means over the classes.

    By what each picture adds to either: for areas that is the test of DeLong, DeLong and
    Clarke-Pearson (1988, Biometrics 44:837) for two curves of the same pictures.
    """
    count = len(task.classes)

    def some(start: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        values, numbers = np.zeros((2, 2)), np.zeros(2)
        moved = np.zeros((len(labels), 2))
        blocks = [o.of_classes(start, min(start + _CLASSES, count)) for o in odds]
        for i, scores in enumerate(zip(*blocks, strict=True), start):
            truth = labels[:, i] if task.multi_label else labels == i
            for model, of_model in enumerate(scores):
                ranking, influence = ranked(truth, of_model, (), units)
                found = np.array([ranking.auc.value, ranking.average_precision.value])
                values[model] += np.nan_to_num(found)
                moved += influence if model else -influence
            numbers += ~np.isnan(found)
        return values, numbers, moved

    with ThreadPoolExecutor(backend.cores()) as pool:
        parts = list(pool.map(some, range(0, count, _CLASSES)))
    values, numbers, moved = (np.sum([part[i] for part in parts], axis=0) for i in range(3))
    result = {}
    for i, name in enumerate(_RANKED):
        if not numbers[i]:
            continue
        first, second = (values[:, i] / numbers[i]).tolist()
        error = math.sqrt(units.variance(moved[:, i] / numbers[i]))
        far = units.reach * error if error else 0.0
        result[name] = Difference(first, second, second - first - far, second - first + far)
    return result
