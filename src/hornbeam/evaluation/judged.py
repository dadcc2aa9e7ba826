"""The answers to one task beside the truth: which are wrong, and how sure each was."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions

_ROWS = 4096
"""Pictures at a time: probabilities of all pictures and classes may not fit beside the logits."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """The answers to one task.

    Attributes:
        task: the question.
        labels: of every picture, as `Dataset.labels` has them.
        answers: of every picture, as `Predictions.predicted` has them.
        confidence: float32 `[pictures]`: probability of the answer; of a multi-label task how far the
            probability of the worst label is from the truth.
        margin: float32 `[pictures]`: how much more probable the answer is than the next class; of a
            multi-label task how far from one half the least certain label is.
        second: int64 `[pictures]`: the next class; of a multi-label task the least certain one.
        known: bool `[pictures]`: there is a label.
        wrong: bool `[pictures]`: there is one, and the answer is another.
    """

    task: Task
    labels: NDArray[Any]
    answers: NDArray[Any]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    second: NDArray[np.int64]
    known: NDArray[np.bool_]
    wrong: NDArray[np.bool_]

    @classmethod
    def of(cls, predictions: Predictions, task: Task) -> Judged:
        """Compare the answers with the labels."""
        count = len(predictions)
        labels = predictions.dataset.labels(task)
        answers = np.zeros(labels.shape, bool if task.multi_label else np.int64)
        confidence, margin = np.zeros((2, count), np.float32)
        second = np.zeros(count, np.int64)
        for start in range(0, count, _ROWS):
            rows = np.arange(start, min(count, start + _ROWS))
            part = predictions.take(rows)
            probabilities = part.probabilities(task)
            answers[rows] = part.predicted(task)
            if task.multi_label:
                confidence[rows] = np.abs(labels[rows] - probabilities).max(axis=1, initial=0)
                doubt = np.abs(probabilities - 0.5)
                second[rows], margin[rows] = doubt.argmin(axis=1), doubt.min(axis=1)
                continue
            each = np.arange(len(rows))
            confidence[rows] = probabilities[each, answers[rows]]
            margin[rows] = confidence[rows]
            if len(task.classes) > 1:
                probabilities[each, answers[rows]] = -1
                second[rows] = probabilities.argmax(axis=1)
                margin[rows] -= probabilities[each, second[rows]]
        known = np.ones(count, bool) if task.multi_label else labels >= 0
        differs = (labels != answers).any(axis=1) if task.multi_label else labels != answers
        return cls(task, labels, answers, confidence, margin, second, known, known & differs)

    def mistakes(self) -> NDArray[np.int64]:
        """Return the rows of wrong answers, the most confident first."""
        rows = np.flatnonzero(self.wrong)
        return rows[np.argsort(-self.confidence[rows], kind="stable")]

    def uncertain(self) -> NDArray[np.int64]:
        """Return all rows, those with the least margin first."""
        return np.argsort(self.margin, kind="stable")

    def label_in_words(self, row: int) -> str:
        """Return the name of a picture's class, or the names of its labels."""
        return _in_words(self.task, self.labels[row])

    def answer_in_words(self, row: int) -> str:
        """Return the name of what a picture was taken for."""
        return _in_words(self.task, self.answers[row])


def _in_words(task: Task, label: Any) -> str:
    if not task.multi_label:
        return task.classes[int(label)] if label >= 0 else "no label"
    names = [name for name, mark in zip(task.classes, label, strict=True) if mark]
    return ", ".join(names) or "nothing"
