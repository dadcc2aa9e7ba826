"""How good the answers are, and how sure one can be of that."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Task
from hornbeam.evaluation.predictions import Predictions

_Z95 = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""


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
        n, z = self.trials, _Z95
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
class ClassScores:
    """What is known of one class.

    Attributes:
        name: of the class.
        recall: share of its pictures that were recognised.
        precision: share of the answers of its name that were right.
    """

    name: str
    recall: Share
    precision: Share

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
    """

    task: Task
    accuracy: Share
    cross_entropy: float
    cross_entropy_error: float
    classes: tuple[ClassScores, ...]
    confusion: NDArray[np.int64] | None

    @property
    def advice(self) -> str:
        """A sentence on what the number of pictures allows to tell."""
        low, high = self.accuracy.interval
        return (
            f"With {self.accuracy.trials} pictures, the true accuracy lies between {low:.1%} and "
            f"{high:.1%} (95 % interval); smaller differences between models say nothing."
        )


def score(predictions: Predictions, task: Task) -> Scores:
    """Compare the answers with the labels, for one task; pictures that lack its label do not count."""
    if task.multi_label:
        return _score_marks(predictions, task)
    labels, predicted = predictions.dataset.labels(task), predictions.predicted(task)
    known = labels >= 0
    labels, predicted = labels[known], predicted[known]
    count = len(task.classes)
    confusion = np.bincount(labels * count + predicted, minlength=count * count)
    confusion = confusion.reshape(count, count)
    logits = predictions.logits[task.name][known].astype(np.float64)
    top = logits.max(axis=1)
    log_total = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
    losses = log_total - logits[np.arange(len(labels)), labels]
    right = np.diag(confusion)
    classes = tuple(
        ClassScores(
            name,
            Share(int(right[i]), int(confusion[i].sum())),
            Share(int(right[i]), int(confusion[:, i].sum())),
        )
        for i, name in enumerate(task.classes)
    )
    accuracy = Share(int(right.sum()), len(labels))
    return Scores(task, accuracy, _mean(losses), _reach(losses), classes, confusion)


def _score_marks(predictions: Predictions, task: Task) -> Scores:
    """Compare the marks of a multi-label task: each class is a question of its own."""
    truth, answers = predictions.dataset.labels(task), predictions.predicted(task)
    logits = predictions.logits[task.name].astype(np.float64)
    # log(1 + exp(-x)) of the right sign, without overflow.
    losses = np.logaddexp(0, np.where(truth, -logits, logits)).mean(axis=1)
    both, of_class, answered = (truth & answers).sum(0), truth.sum(0), answers.sum(0)
    classes = tuple(
        ClassScores(
            name, Share(int(both[i]), int(of_class[i])), Share(int(both[i]), int(answered[i]))
        )
        for i, name in enumerate(task.classes)
    )
    accuracy = Share(int((truth == answers).all(axis=1).sum()), len(truth))
    return Scores(task, accuracy, float(losses.mean()), _reach(losses), classes, None)


def _mean(losses: NDArray[np.float64]) -> float:
    """Return the mean; NaN of no values, without numpy's warning."""
    return float(losses.mean()) if len(losses) else math.nan


def _reach(losses: NDArray[np.float64]) -> float:
    """Return the 95 % reach of a mean, either way; NaN of one value."""
    if len(losses) < 2:
        return math.nan
    return float(losses.std(ddof=1) / math.sqrt(len(losses)) * _Z95)
