"""Two or more models on the same pictures: which is better, by how much, and whether that is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.tasks import Task
from hornbeam.evaluation.comparison.differences import Difference, differences_of_measures
from hornbeam.evaluation.comparison.paired import LEVEL, Paired, PairedTest, holm
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.odds import Odds
from hornbeam.evaluation.scoring.shares import Share
from hornbeam.evaluation.scoring.units import Units

SAME, STAYED_WRONG, OTHER_WRONG, LOST, GAINED = range(5)
"""right both times, the same wrong one, another wrong one, wrong now, right now."""


@dataclasses.dataclass(frozen=True)
class ClassDifference:
    """Two models on the pictures of one class; of a multi-label task, on one mark of all pictures.

    Attributes:
        name: of the class.
        pictures: of it.
        right: share that was named right: the recall; of a mark, of pictures on which it is right.
        gained: pictures that the second alone names right.
        lost: pictures that the first alone names right.
        p_value: of the difference, corrected for the number of classes (Holm).
        precision: share of right answers among those of this name, of the first and the second.
    """

    name: str
    pictures: int
    right: Difference
    gained: int
    lost: int
    p_value: float
    precision: tuple[float, float]

    @property
    def shown(self) -> bool:
        """Whether the models differ here."""
        return self.p_value < LEVEL and self.right.shown


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A model beside the first one, for one task.

    Attributes:
        task: what was asked.
        names: of the first model and of this one.
        rows: of the pictures with a label, in the predictions, int64 `[pictures]`.
        changes: what became of each answer, int8 `[pictures]`: `SAME`, …, `GAINED`.
        paired: right answers of both.
        accuracy: of both; of a multi-label task, the share of pictures whose labels are all right.
        shares: the accuracies, each with an interval of its own.
        test: whether chance alone explains the difference of the accuracies.
        p_value: its mid-p, corrected for the number of models that are compared with the first (Holm).
        models: how many those are.
        grouped: whether whole groups of pictures were taken as one.
        measures: other differences, see `differences_of_measures`.
        classes: each.
        confusions: how many answers changed: `[classes, classes]` by truth and answer, second less
            first; `None` of a multi-label task.
    """

    task: Task
    names: tuple[str, str]
    rows: NDArray[np.int64]
    changes: NDArray[np.int8]
    paired: Paired
    accuracy: Difference
    shares: tuple[Share, Share]
    test: PairedTest
    p_value: float
    models: int
    grouped: bool
    measures: dict[str, Difference]
    classes: tuple[ClassDifference, ...]
    confusions: NDArray[np.int64] | None

    @property
    def pictures(self) -> int:
        """Pictures that both were asked about, with a label."""
        return self.paired.pictures

    @property
    def shown(self) -> bool:
        """Whether one of them is better, beyond chance."""
        return self.p_value < LEVEL and self.accuracy.shown

    @property
    def worse(self) -> bool:
        """Whether this model is shown to be worse than the first."""
        return self.shown and self.accuracy.value < 0

    def count(self, change: int) -> int:
        """Return how many answers became what `change` says."""
        return int((self.changes == change).sum())

    @property
    def largest(self) -> float:
        """What the true difference of the accuracies is likely below, either way."""
        return max(abs(self.accuracy.low), abs(self.accuracy.high))


def compare_all(
    predictions: Sequence[Predictions], task: Task, names: Sequence[str]
) -> list[Comparison]:
    """Compare every other model with the first, for one task.

    Args:
        predictions: of the models, for the same pictures with the same classes; the labels are those
            of the first.
        task: one of theirs.
        names: of the models.
    """
    found = [
        _compare(predictions[0], other, task, (names[0], name))
        for other, name in zip(predictions[1:], names[1:], strict=True)
    ]
    corrected = holm([comparison.test.mid_p for comparison in found])
    return [
        dataclasses.replace(comparison, p_value=float(p), models=len(found))
        for comparison, p in zip(found, corrected, strict=True)
    ]


def _compare(
    first: Predictions, second: Predictions, task: Task, names: tuple[str, str]
) -> Comparison:
    labels, units = first.dataset.labels(task), Units.of(first.dataset)
    logits = [model.calibrated(task) for model in (first, second)]
    rows = np.arange(len(labels)) if task.multi_label else np.flatnonzero(labels >= 0)
    if len(rows) < len(labels):
        labels, units, logits = labels[rows], units.take(rows), [x[rows] for x in logits]
    odds = [Odds(x, task) for x in logits]
    answers = [x >= 0 for x in logits] if task.multi_label else [o.answers for o in odds]
    right = [_whole(labels == said) for said in answers]
    same = _whole(answers[0] == answers[1])
    changes = np.select(
        [right[0] & right[1], right[0], right[1], same], [SAME, LOST, GAINED, STAYED_WRONG], OTHER_WRONG
    ).astype(np.int8)  # fmt: skip
    paired = Paired.of(right[0], right[1], units.codes)
    test = paired.test
    return Comparison(
        task, names, rows, changes, paired, _difference(paired, right),
        (units.share(right[0]), units.share(right[1])), test, test.mid_p, 1, units.grouped,
        differences_of_measures(task, labels, odds, answers, units),
        _classes(task, labels, answers, units),
        None if task.multi_label else _confused(labels, answers, len(task.classes)),
    )  # fmt: skip


def _whole(equal: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which pictures agree in all, `[pictures]`."""
    return equal if equal.ndim == 1 else np.asarray(equal.all(axis=1))


def _difference(paired: Paired, right: Sequence[NDArray[np.bool_]]) -> Difference:
    shares = [float(r.mean()) if len(r) else math.nan for r in right]
    return Difference(shares[0], shares[1], *paired.interval)


def _classes(
    task: Task, labels: NDArray[Any], answers: Sequence[NDArray[Any]], units: Units
) -> tuple[ClassDifference, ...]:
    everywhere = np.arange(len(labels))
    order = everywhere if task.multi_label else np.argsort(labels, kind="stable")
    ends = np.zeros(0, np.int64)
    if not task.multi_label:
        ends = np.searchsorted(labels[order], np.arange(len(task.classes) + 1))
    found = []
    for i, name in enumerate(task.classes):
        if task.multi_label:
            own, truth, said = everywhere, labels[:, i], [a[:, i] for a in answers]
        else:
            own, truth, said = order[ends[i] : ends[i + 1]], labels == i, [a == i for a in answers]
        right = [(truth == s)[own] for s in said]
        paired = Paired.of(right[0], right[1], None if units.codes is None else units.codes[own])
        precision = [float((truth & s).sum() / s.sum()) if s.any() else math.nan for s in said]
        found.append(
            ClassDifference(
                name, paired.pictures, _difference(paired, right), paired.gained, paired.lost,
                paired.test.mid_p, (precision[0], precision[1]),
            )
        )  # fmt: skip
    tested = [i for i, c in enumerate(found) if c.pictures]  # others are no tests
    for i, p in zip(tested, holm([found[i].p_value for i in tested]), strict=True):
        found[i] = dataclasses.replace(found[i], p_value=float(p))
    return tuple(found)


def _confused(
    labels: NDArray[Any], answers: Sequence[NDArray[Any]], classes: int
) -> NDArray[np.int64]:
    """Return how much more often each class was given each name: int64 `[classes, classes]`."""
    counts = [np.bincount(labels * classes + a, minlength=classes * classes) for a in answers]
    return np.asarray((counts[1] - counts[0]).reshape(classes, classes))
