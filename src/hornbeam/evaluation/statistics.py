"""How good the answers are, and how sure one can be of that."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam.config import SPECIFICITIES, TOPS
from hornbeam.data.dataset import Task
from hornbeam.evaluation.grouped import grouped
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.ranking import Ranking, log_odds, rank
from hornbeam.evaluation.shares import Z95, Estimate, Mean, Share, counted_means, mean_of
from hornbeam.groups import Grouping
from hornbeam.measures import parse_measures


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """What is known of one class.

    Attributes:
        name: of the class.
        recall: share of its pictures that were recognised.
        precision: share of the answers of its name that were right.
        ranking: how well its probability tells it from the others.
    """

    name: str
    recall: Share
    precision: Share
    ranking: Ranking

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 where nothing was right."""
        total = self.recall.trials + self.precision.trials
        return 2 * self.recall.successes / total if total else math.nan


@dataclasses.dataclass(frozen=True)
class Scores:
    """What is known of one task.

    Attributes:
        task: it.
        accuracy: share of right answers; of a multi-label task, of pictures whose labels are all
            right.
        cross_entropy: mean negative log probability of the true class, in nats; of a multi-label
            task, the mean of those of all classes.
        cross_entropy_error: 95 % reach of it, either way.
        classes: scores of each.
        confusion: int64 `[classes, classes]`; rows are truth, columns are answers; `None` of a
            multi-label task.
        measures: by the names of `hornbeam.measures`: the first few answers, means over the classes.
        groups: the same of its groups of classes, where it has some.
    """

    task: Task
    accuracy: Share
    cross_entropy: float
    cross_entropy_error: float
    classes: tuple[ClassScores, ...]
    confusion: NDArray[np.int64] | None
    measures: dict[str, Estimate]
    groups: Scores | None = None

    @property
    def advice(self) -> str:
        """A sentence on what the number of pictures allows to tell."""
        low, high = self.accuracy.interval
        return (
            f"With {self.accuracy.trials} pictures, the true accuracy lies between {low:.1%} and "
            f"{high:.1%} (95 % interval); smaller differences between models say nothing."
        )


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

    Args:
        predictions: of the pictures that judge.
        task: one of theirs.
        tops: numbers of answers among which the class is looked for, where there are more classes.
        specificities: for which sensitivities are told.
    """
    labels, answers = predictions.dataset.labels(task), predictions.predicted(task)
    logits = predictions.logits[task.name].astype(np.float64)
    if task.multi_label:
        there, answered, confusion = labels, answers, None
        # log(1 + exp(-x)) of the right sign, without overflow.
        losses = np.logaddexp(0, np.where(labels, -logits, logits)).mean(axis=1)
        measures: dict[str, Estimate] = {}
    else:
        known = labels >= 0
        labels, answers, logits = labels[known], answers[known], logits[known]
        count = len(task.classes)
        each = np.arange(count)
        there, answered = labels[:, None] == each, answers[:, None] == each
        confusion = np.bincount(labels * count + answers, minlength=count * count)
        confusion = confusion.reshape(count, count)
        own = logits[np.arange(len(labels)), labels]
        top = logits.max(axis=1)
        losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - own
        better = (logits > own[:, None]).sum(axis=1)
        # Of equal logits the first counts, as in `Predictions.best`.
        better += ((logits == own[:, None]) & (each < labels[:, None])).sum(axis=1)
        measures = {
            f"top_{k}": Share(int((better < k).sum()), len(labels)) for k in tops if k < count
        }
    right = (there == answered).all(axis=1)
    odds = log_odds(logits, task)
    sums = [marks.sum(axis=0).tolist() for marks in (there, answered, there & answered)]
    classes = tuple(
        ClassScores(
            name, Share(both, of_class), Share(both, named), rank(there[:, i], odds[:, i], specificities)
        )
        for i, (name, of_class, named, both) in enumerate(zip(task.classes, *sums, strict=True))
    )  # fmt: skip
    measures |= _means(classes, there, answered, specificities)
    accuracy = Share(int(right.sum()), len(right))
    return Scores(task, accuracy, _mean(losses), _reach(losses), classes, confusion, measures)


def _means(
    classes: Sequence[ClassScores], there: NDArray[np.bool_], answered: NDArray[np.bool_],
    specificities: Sequence[float],
) -> dict[str, Mean]:  # fmt: skip
    """Return the means over the classes, by the names of `hornbeam.measures`."""
    rankings = [c.ranking for c in classes]
    return {
        **{f"macro_{kind}": mean for kind, mean in counted_means(there, answered).items()},
        "auc": mean_of([ranking.auc.value for ranking in rankings]),
        "average_precision": mean_of([ranking.average_precision for ranking in rankings]),
        **{
            f"sensitivity_at_specificity={level:g}": mean_of(
                [ranking.sensitivities[level].value for ranking in rankings]
            )
            for level in specificities
        },
    }


def _mean(losses: NDArray[np.float64]) -> float:
    """Return the mean; NaN of no values, without numpy's warning."""
    return float(losses.mean()) if len(losses) else math.nan


def _reach(losses: NDArray[np.float64]) -> float:
    """Return the 95 % reach of a mean, either way; NaN of one value."""
    if len(losses) < 2:
        return math.nan
    return float(losses.std(ddof=1) / math.sqrt(len(losses)) * Z95)
