"""The head of a classifier trained on features that were computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset, Task
from hornbeam.data.targets import labels_of
from hornbeam.training.features import Floats
from hornbeam.training.linear import LinearHead, solve_linear_head

if TYPE_CHECKING:
    import keras

LARGEST = 2**31
"""Pictures times features times classes up to which a linear head is solved; 40 s at 2**29 on two
cores. Beyond, steps of gradients are quicker."""


def solve_heads(
    layers: dict[str, keras.layers.Dense],
    tasks: Sequence[Task],
    training: tuple[Dataset, Floats],
    validation: tuple[Dataset, Floats],
    class_weights: dict[str, Floats] | None = None,
    label_smoothing: float = 0.0,
) -> dict[str, LinearHead]:
    """Set the last layer of each task to what fits the features best.

    Args:
        layers: the last layer of each task, from `models.cut.linear_layers`.
        tasks: what is asked.
        training: examples and their features, float32 `[views, examples, features]`.
        validation: others, which choose the strength of L2; of these only view 0 counts.
        class_weights: by task, float32 `[classes]`.
        label_smoothing: share of each target that is spread over all classes.
    """
    dataset, features = training
    held_out, held_out_features = validation
    flat = features.reshape(-1, features.shape[-1])
    heads = {}
    for task in tasks:
        shares, weights = _targets(dataset, task)
        judged_shares, judged_weights = _targets(held_out, task)
        if class_weights and task.name in class_weights:
            weights = weights * _weights_of(shares, class_weights[task.name], task)
        if label_smoothing:
            rest = 0.5 if task.multi_label else 1 / len(task.classes)
            shares = shares * (1 - label_smoothing) + rest * label_smoothing
        heads[task.name] = head = solve_linear_head(
            flat,
            np.tile(shares, (len(features), 1)),
            np.tile(weights, len(features)),
            held_out_features[0],
            judged_shares,
            judged_weights,
            multi_label=task.multi_label,
        )
        layers[task.name].set_weights([head.kernel, head.bias])
    return heads


def _targets(dataset: Dataset, task: Task) -> tuple[Floats, Floats]:
    """Return the share of each class, float32 `[examples, classes]`, and what each example counts."""
    rows = np.arange(len(dataset))
    labels = labels_of(dataset, task)
    weights = np.asarray(labels.known(rows), np.float32)
    shares: NDArray[Any] = labels.rows(rows, soft=True)
    return np.asarray(shares, np.float32) * weights[:, None], weights


def _weights_of(shares: Floats, class_weights: Floats, task: Task) -> Floats:
    counted = shares @ class_weights
    if task.multi_label:
        counted = counted / np.maximum(shares.sum(axis=1), 1)
    return np.asarray(counted, np.float32)
