"""How sure the answers are: log-odds and losses, in float64, some pictures at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.tasks import Task

Doubles = NDArray[np.float64]

_ROWS = 2048
"""Pictures at a time: float64 of a thousand classes are 16 MiB."""


class Odds:
    """The logits of a task, and what follows from all those of a picture.

    Attributes:
        logits: float32 `[pictures, classes]`.
        answers: the most probable class, int64 `[pictures]`; of equal ones, the first.
        top: its logit, float64 `[pictures]`.
        total: sum of exp(logit - top), float64 `[pictures]`.
        squares: sum of squared probabilities, float64 `[pictures]`.
    """

    def __init__(self, logits: NDArray[np.floating], task: Task) -> None:
        """Sum over the classes.

        Args:
            logits: of the classes, calibrated.
            task: theirs; the classes of a multi-label task have nothing to do with each other.
        """
        self.logits, self._alone = logits, task.multi_label or logits.shape[1] < 2
        self.top, self.total, self.squares, self._besides = np.zeros((4, len(logits)))
        self.answers = np.zeros(len(logits), np.int64)
        if not task.multi_label:
            for start in range(0, len(logits), _ROWS):
                self._sum(slice(start, start + _ROWS))

    def _sum(self, rows: slice) -> None:
        logits = self.logits[rows].astype(np.float64)
        here = np.arange(len(logits))
        best = self.answers[rows] = logits.argmax(axis=1)
        top = self.top[rows] = logits[here, best]
        logits -= top[:, None]
        powers = np.exp(logits)
        self.total[rows] = powers.sum(axis=1)
        self.squares[rows] = np.einsum("ij,ij->i", powers, powers) / self.total[rows] ** 2
        if self._alone:
            return
        # All but the best class, added up without it: it may be all of the sum.
        logits[here, best] = -np.inf
        second = logits.max(axis=1)
        powers[here, best] = 0
        others = powers.sum(axis=1)
        tiny = second < -30
        others[tiny] = np.exp(logits[tiny] - second[tiny, None]).sum(axis=1)
        self._besides[rows] = np.log(others) + np.where(tiny, second, 0)

    def of_classes(self, start: int, stop: int) -> Doubles:
        """Return log(p / (1 - p)) of some classes' probabilities p, float64 `[stop - start, pictures]`.

        They have the order of the probabilities, and keep it where those are all but 0 or 1.
        """
        logits = self.logits[:, start:stop].T.astype(np.float64)
        if self._alone:
            return logits
        logits -= self.top
        others = np.exp(logits)
        # The others of any but the best class hold the best, whose power is 1: nothing is lost.
        np.subtract(self.total, others, out=others)
        best = np.flatnonzero((self.answers >= start) & (self.answers < stop))
        others[self.answers[best] - start, best] = 1
        np.log(others, out=others)
        logits -= others
        logits[self.answers[best] - start, best] = -self._besides[best]
        return logits


def cross_entropies(odds: Odds, labels: NDArray[np.integer]) -> Doubles:
    """Return -log p of each picture's true class, `[pictures]`."""
    own = odds.logits[np.arange(len(labels)), labels].astype(np.float64)
    return np.asarray(np.log(odds.total) + odds.top - own)


def brier_scores(odds: Odds, labels: NDArray[np.integer]) -> Doubles:
    """Return the sum over classes of (p - y)², y being 1 for the true one and 0 else (Brier 1950)."""
    own = odds.logits[np.arange(len(labels)), labels].astype(np.float64)
    chance = np.exp(own - odds.top) / odds.total
    return np.asarray(odds.squares - 2 * chance + 1)


def better_classes(odds: Odds, labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return how many classes come before the true one, `[pictures]`: of equal ones, the first ones."""
    result = np.zeros(len(labels), np.int64)
    each = np.arange(odds.logits.shape[1])
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        logits, own = odds.logits[rows], labels[rows][:, None]
        mine = np.take_along_axis(logits, own, axis=1)
        result[rows] = (logits > mine).sum(axis=1) + ((logits == mine) & (each < own)).sum(axis=1)
    return result


def losses_of_marks(
    logits: NDArray[np.floating], marks: NDArray[np.bool_]
) -> tuple[Doubles, Doubles]:
    """Return the mean over the classes of -log p of what is true, and of (p - y)², each `[pictures]`."""
    entropies, squares = np.zeros((2, len(logits)))
    for start in range(0, len(logits), _ROWS):
        rows = slice(start, start + _ROWS)
        # log(1 + exp(-x)) of the right sign, without overflow.
        right = np.where(marks[rows], logits[rows], -logits[rows]).astype(np.float64)
        loss = np.logaddexp(0, -right)
        entropies[rows] = loss.mean(axis=1)
        squares[rows] = (np.expm1(-loss) ** 2).mean(axis=1)
    return entropies, squares
