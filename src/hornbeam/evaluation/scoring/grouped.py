"""The answers to a coarser question: which group of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.groups import Grouping, groupings_of

_ROWS = 2048
"""Pictures at a time, as the sums are in float64."""


def groupings_for(tasks: Sequence[Task], groups: Mapping[str, Any] | None) -> dict[str, Grouping]:
    """Return the groups of the tasks that have some; see `hornbeam.groups`."""
    return groupings_of(groups, {task.name: task.classes for task in tasks if not task.multi_label})


def grouped(predictions: Predictions, task: Task, grouping: Grouping) -> tuple[Predictions, Task]:
    """Return the predictions of the groups of a task's classes, and that task.

    The probability of a group is the sum of those of its classes; so its logit is their logsumexp.

    Args:
        predictions: of the classes.
        task: one label a picture.
        grouping: of its classes.
    """
    coarse = Task(task.name, grouping.names)
    group_of = np.array(grouping.group_of)
    sums = _log_sums(predictions.calibrated(task), group_of, len(coarse.classes))
    labels = predictions.dataset.labels(task)
    known = labels >= 0
    column = pa.array(group_of[np.maximum(labels, 0)].astype(np.int32), pa.int32(), mask=~known)
    dataset = dataclasses.replace(
        predictions.dataset.with_column(task.name, column), tasks=(coarse,)
    )
    return Predictions(dataset, (coarse,), {task.name: sums}), coarse


def _log_sums(
    logits: NDArray[np.floating], group_of: NDArray[np.integer], groups: int
) -> NDArray[np.float32]:
    """Return the logarithm of each group's sum of exponentials, `[pictures, groups]`."""
    order = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of, minlength=groups)
    starts = np.cumsum(sizes) - sizes
    result = np.empty((len(logits), groups), np.float32)
    for start in range(0, len(logits), _ROWS):
        rows = slice(start, start + _ROWS)
        together = logits[rows, order].astype(np.float64)
        top = np.maximum.reduceat(together, starts, axis=1)
        together -= np.repeat(top, sizes, axis=1)
        result[rows] = np.log(np.add.reduceat(np.exp(together), starts, axis=1)) + top
    return result
