"""How unlike the known classes a picture is: by its logits, or by where its features lie."""

from __future__ import annotations

import numpy as np
import scipy.special
from numpy.typing import NDArray

from hornbeam.data.tasks import Task

Floats = NDArray[np.float32]

_ROWS = 4096
"""Pictures at a time, as each step makes several arrays in float64."""

_TINY = 1e-12
"""Least length of a vector, as in Keras' `UnitNormalization`."""


def energy(logits: Floats, task: Task) -> Floats:
    """Return minus the logsumexp of the logits; of a multi-label task, minus the sum of log(1 + exp)
    (Wang et al. 2021, JointEnergy).
    """  # noqa: D205 - one sentence
    total = np.empty(len(logits), np.float32)
    for start in range(0, len(logits), _ROWS):
        exact = logits[start : start + _ROWS].astype(np.float64)
        total[start : start + _ROWS] = (
            np.logaddexp(0, exact).sum(axis=1)
            if task.multi_label
            else scipy.special.logsumexp(exact, axis=1)
        )
    return -total


def angle(features: Floats, origin: Floats, directions: Floats) -> Floats:
    """Return 1 minus the largest cosine between features and directions, float32 `[pictures]`."""
    result = np.empty(len(features), np.float32)
    for start in range(0, len(features), _ROWS):
        away = features[start : start + _ROWS] - origin
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), _TINY)
        result[start : start + _ROWS] = 1 - (away @ directions.T).max(axis=1)
    return result


def directions_of(
    features: Floats, labels: NDArray[np.integer]
) -> tuple[Floats, Floats]:  # fmt: skip
    """Return the mean of the class means, and the directions from there to each.

    Frequent classes weigh no more: seen from the mean of all pictures, the angle told 0.70 of the
    left-out classes of clothing, from that of the classes 0.74.
    """
    exact, names = features.astype(np.float64), np.unique(labels)
    means = np.stack([exact[labels == name].mean(axis=0) for name in names])
    origin = means.mean(axis=0)
    means -= origin
    lengths = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), _TINY)
    return np.asarray(origin, np.float32), np.asarray(means / lengths, np.float32)
