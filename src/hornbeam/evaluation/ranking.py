"""What follows from the order in which a probability puts pictures: exact, in float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Task
from hornbeam.evaluation.shares import Area, Share

_ROUNDING = 1e-9
"""By which a specificity may miss what was asked for: 1 - 0.1 is not 0.9 of ten pictures."""

_ROWS = 4096
"""Pictures at a time, as each step makes an array of its own."""


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
    average_precision: float
    sensitivities: dict[float, Share]


def rank(
    truth: NDArray[np.bool_], scores: NDArray[np.floating], specificities: Sequence[float] = ()
) -> Ranking:
    """Return what the order of scores is worth.

    Pictures of equal scores are on one side of any threshold, as in scikit-learn.

    Args:
        truth: which pictures are of the class, `[pictures]`.
        scores: rising with its probability, `[pictures]`.
        specificities: for which the sensitivities are wanted.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_equals = np.append(ordered[1:] != ordered[:-1], True)[: len(ordered)]
    found = np.append(0, np.cumsum(truth[order])[last_of_equals])
    false = np.append(0, np.cumsum(~truth[order])[last_of_equals])
    positives, negatives = int(found[-1]), int(false[-1])
    area, precision = math.nan, math.nan
    if positives and negatives:
        area = float((np.diff(false) * (found[1:] + found[:-1]) / 2).sum() / positives / negatives)
    if positives:
        precision = float((np.diff(found) * found[1:] / (found[1:] + false[1:])).sum() / positives)
    sensitivities = {}
    for specificity in specificities:
        allowed = false <= negatives * (1 - specificity) + _ROUNDING * negatives
        sensitivities[specificity] = Share(int(found[allowed].max()), positives if negatives else 0)
    return Ranking(Area(area, positives, negatives), precision, sensitivities)


def log_odds(logits: NDArray[np.floating], task: Task) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of each class's probability p, float64 `[pictures, classes]`.

    They have the order of the probabilities, and keep it where those are all but 0 or 1.
    """
    if task.multi_label or logits.shape[1] < 2 or not len(logits):
        return logits.astype(np.float64)
    if len(logits) > _ROWS:
        parts = [log_odds(logits[i : i + _ROWS], task) for i in range(0, len(logits), _ROWS)]
        return np.concatenate(parts)
    logits = logits.astype(np.float64)
    rows = np.arange(len(logits))
    best = logits.argmax(axis=1)
    shifted = logits - logits[rows, best][:, None]
    powers = np.exp(shifted)
    # Of all but the best class the others hold the best, whose power is 1: nothing is lost.
    others = np.log(np.maximum(powers.sum(axis=1, keepdims=True) - powers, 1e-300))
    besides = shifted.copy()
    besides[rows, best] = -np.inf
    top = besides.max(axis=1)
    others[rows, best] = top + np.log(np.exp(besides - top[:, None]).sum(axis=1))
    return np.asarray(shifted - others)
