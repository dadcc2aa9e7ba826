"""The answers to a coarser question: which group of classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.special

from hornbeam.data.dataset import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.groups import Grouping, groupings_of


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
    logits = predictions.logits[task.name].astype(np.float64)
    sums = np.stack(
        [scipy.special.logsumexp(logits[:, group_of == i], axis=1) for i in range(len(coarse.classes))],
        axis=1,
    )  # fmt: skip
    labels = predictions.dataset.labels(task)
    known = labels >= 0
    column = pa.array(group_of[np.maximum(labels, 0)].astype(np.int32), pa.int32(), mask=~known)
    dataset = dataclasses.replace(
        predictions.dataset.with_column(task.name, column), tasks=(coarse,)
    )
    return Predictions(dataset, (coarse,), {task.name: sums.astype(np.float32)}), coarse
