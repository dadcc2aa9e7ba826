"""How good the answers are, and how sure one can be of that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend
from hornbeam.config import SPECIFICITIES, TOPS
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.grouped import grouped
from hornbeam.evaluation.scoring.means import counted_means, independent, mean_of
from hornbeam.evaluation.scoring.odds import (
    Odds,
    better_classes,
    brier_scores,
    cross_entropies,
    losses_of_marks,
)
from hornbeam.evaluation.scoring.power import advice
from hornbeam.evaluation.scoring.ranking import Doubles, Ranking, ranked
from hornbeam.evaluation.scoring.shares import SLACK, Estimate, Estimated, Share
from hornbeam.evaluation.scoring.units import Units
from hornbeam.groups import Grouping
from hornbeam.measures import parse_measures

_AREA_SLACK = 0.05
"""For means of areas, which vary less than shares do; see `shares.bounded`."""

_CLASSES = 16
"""Classes at a time, so that log-odds of 50,000 pictures take 6 MiB a thread."""


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """What is known of one class.

    Attributes:
        name: of the class.
        recall: share of its pictures that were recognised.
        precision: share of the answers of its name that were right.
        f1: harmonic mean of recall and precision; 0 where nothing was right.
        ranking: how well its probability tells it from the others.
    """

    name: str
    recall: Share
    precision: Share
    f1: Estimate
    ranking: Ranking


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is known of one task.

    Attributes:
        task: it.
        accuracy: share of right answers; of a multi-label task, of pictures whose labels are all
            right.
        cross_entropy: mean negative log probability of the true class, in nats; of a multi-label
            task, the mean of those of all classes.
        brier_score: mean sum over the classes of the squared difference between probability and truth;
            of a multi-label task, the mean over them.
        classes: scores of each.
        confusion: int64 `[classes, classes]`; rows are truth, columns are answers; `None` of a
            multi-label task.
        measures: by the names of `hornbeam.measures`: the first few answers, means over the classes.
        units: how many independent witnesses there are: groups of pictures, or pictures.
        grouped: whether they are groups, so that all intervals are those of whole groups.
        groups: the same of its groups of classes, where it has some.
    """

    task: Task
    accuracy: Share
    cross_entropy: Estimate
    brier_score: Estimate
    classes: tuple[ClassScores, ...]
    confusion: NDArray[np.int64] | None
    measures: dict[str, Estimate]
    units: int
    grouped: bool = False
    groups: Scores | None = None

    @property
    def advice(self) -> str:
        """A sentence or two on what the number of pictures allows to tell."""
        return advice(self.accuracy, self.units if self.grouped else None)


def score_all(
    predictions: Predictions, metrics: Sequence[str], groupings: Mapping[str, Grouping]
) -> list[Scores]:
    """Compare the answers with the labels, for each task.

    Args:
        predictions: of the pictures that judge.
        metrics: what the training was asked to report, which may be more than is usual.
        groupings: of classes, by task; see `groupings_for`.
    """
    asked = parse_measures(metrics)
    tops = {int(m.number) for m in asked if m.kind == "top"}
    levels = {m.number for m in asked if m.kind == "sensitivity_at_specificity"}
    result = []
    for task in predictions.tasks:
        scores = score(
            predictions, task, sorted(tops | set(TOPS)), sorted(levels | set(SPECIFICITIES))
        )
        if task.name in groupings:
            coarse = score(*grouped(predictions, task, groupings[task.name]))
            scores = dataclasses.replace(scores, groups=coarse)
        result.append(scores)
    return result


def score(
    predictions: Predictions,
    task: Task,
    tops: Sequence[int] = TOPS,
    specificities: Sequence[float] = SPECIFICITIES,
) -> Scores:
    """Compare the answers with the labels, for one task; pictures that lack its label do not count.

    All intervals are of whole groups where the dataset has a `group` column; see docs/metrics.md.

    Args:
        predictions: of the pictures that judge.
        task: one of theirs.
        tops: numbers of answers among which the class is looked for, where there are more classes.
        specificities: for which sensitivities are told.
    """
    labels, logits = predictions.dataset.labels(task), predictions.calibrated(task)
    units, count = Units.of(predictions.dataset), len(task.classes)
    measures: dict[str, Estimate] = {}
    confusion = None
    if task.multi_label:
        answers: NDArray[Any] = logits >= 0
        right = (labels == answers).all(axis=1)
        losses, squares = losses_of_marks(logits, labels)
        odds = Odds(logits, task)
    else:
        if (labels < 0).any():
            known = np.flatnonzero(labels >= 0)
            labels, logits, units = labels[known], logits[known], units.take(known)
        odds = Odds(logits, task)
        answers = odds.answers
        right = labels == answers
        losses, squares = cross_entropies(odds, labels), brier_scores(odds, labels)
        confusion = np.bincount(labels * count + answers, minlength=count * count)
        confusion = confusion.reshape(count, count)
        better = better_classes(odds, labels)
        measures = {f"top_{k}": units.share(better < k) for k in tops if k < count}
    rankings, influence = _rankings(odds, labels, count, specificities, units)
    classes = tuple(
        _of_class(name, *rows, ranking, units)
        for name, rows, ranking in zip(
            task.classes, _rows_of_classes(labels, answers, count), rankings, strict=True
        )
    )
    measures |= counted_means(labels, answers, count, units)
    measures |= _ranked_means(classes, influence, specificities, units)
    return Scores(
        task, units.share(right), units.mean(losses), units.mean(squares), classes, confusion,
        measures, units.count, units.grouped,
    )  # fmt: skip


def _rankings(
    odds: Odds, labels: NDArray[Any], count: int, specificities: Sequence[float], units: Units
) -> tuple[list[Ranking], Doubles]:
    """Return those of all classes, and the sum of what each picture adds to them."""

    def some(start: int) -> tuple[list[Ranking], Doubles]:
        stop = min(start + _CLASSES, count)
        total = np.zeros((len(labels), 2 + len(specificities)))
        result = []
        for i, scores in enumerate(odds.of_classes(start, stop), start):
            truth = labels[:, i] if labels.ndim == 2 else labels == i
            ranking, influence = ranked(truth, scores, specificities, units)
            result.append(ranking)
            total += influence
        return result, total

    rankings: list[Ranking] = []
    total = np.zeros((len(labels), 2 + len(specificities)))
    # Sorting and counting release the interpreter's lock.
    with ThreadPoolExecutor(backend.cores()) as pool:
        for found, influence in pool.map(some, range(0, count, _CLASSES)):
            rankings += found
            total += influence
    return rankings, total


def _rows_of_classes(
    labels: NDArray[Any], answers: NDArray[Any], count: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield for each class the rows of its pictures, and of its answers."""
    if labels.ndim == 2:
        for i in range(count):
            yield np.flatnonzero(labels[:, i]), np.flatnonzero(answers[:, i])
        return
    orders = [
        np.split(np.argsort(of, kind="stable"), np.bincount(of, minlength=count).cumsum()[:-1])
        for of in (labels, answers)
    ]
    yield from zip(*orders, strict=True)


def _of_class(
    name: str, there: NDArray[np.int64], answered: NDArray[np.int64], ranking: Ranking, units: Units
) -> ClassScores:
    """Return the scores of a class from the rows of its pictures and of its answers."""
    recall = units.share(np.isin(there, answered, assume_unique=True), there)
    precision = units.share(np.isin(answered, there, assume_unique=True), answered)
    either = np.union1d(there, answered)
    both = np.isin(either, np.intersect1d(there, answered, assume_unique=True), assume_unique=True)
    return ClassScores(name, recall, precision, _f1(units.share(both, either)), ranking)


def _f1(overlap: Share) -> Estimated:
    """Return F1 by the share J of pictures of the class or answered so that are both: 2 J / (1 + J).

    J (Jaccard's) is a share of trials as any other, so its interval is Wilson's, and F1 rises with it
    (Hand, Christen and Kirielle 2021, Machine Learning 110:451).
    """
    ends = [2 * share / (1 + share) for share in (overlap.value, *overlap.interval)]
    return Estimated(ends[0], (ends[1], ends[2]))


def _ranked_means(
    classes: Sequence[ClassScores], influence: Doubles, specificities: Sequence[float], units: Units
) -> dict[str, Estimate]:
    """Return the means over the classes, by the names of `hornbeam.measures`."""
    rankings = [c.ranking for c in classes]
    values = {
        "auc": [ranking.auc.value for ranking in rankings],
        "average_precision": [ranking.average_precision.value for ranking in rankings],
        **{
            f"sensitivity_at_specificity={level:g}": [
                ranking.sensitivities[level].value for ranking in rankings
            ]
            for level in specificities
        },
    }
    trials = independent(np.array([c.recall.trials for c in classes], np.float64), units)
    return {
        name: mean_of(
            of_classes, influence[:, place], trials, units, _AREA_SLACK if name == "auc" else SLACK
        )
        for place, (name, of_classes) in enumerate(values.items())
    }
