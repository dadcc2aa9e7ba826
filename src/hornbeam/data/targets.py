"""The labels of a batch, made of a compact column when they are needed."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task


class Labels(Protocol):
    """The labels of all examples for one task."""

    def rows(self, rows: NDArray[np.int64], soft: bool) -> NDArray[Any]:
        """Return the targets of some examples.

        Args:
            rows: of the dataset.
            soft: give shares of classes, float32 `[rows, classes]`, even where indices would do.
        """

    def known(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which examples have a label; the targets of the others are those of padding."""

    def empty(self, count: int, soft: bool) -> NDArray[Any]:
        """Return the targets of padding."""


def labels_of(dataset: Dataset, task: Task) -> Labels:
    """Return the labels of a dataset for one of its tasks."""
    return _Marks(dataset, task) if task.multi_label else _Indices(dataset, task)


class _Indices:
    """One class an example: int32 `[batch]`, or one-hot float32 `[batch, classes]`."""

    def __init__(self, dataset: Dataset, task: Task) -> None:
        self._indices: NDArray[np.int32] = dataset.labels(task)
        self._classes = len(task.classes)

    def rows(self, rows: NDArray[np.int64], soft: bool) -> NDArray[Any]:
        chosen = np.maximum(self._indices[rows], 0)
        if not soft:
            return chosen
        return np.eye(self._classes, dtype=np.float32)[chosen] * self.known(rows)[:, None]

    def known(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.asarray(self._indices[rows] >= 0)

    def empty(self, count: int, soft: bool) -> NDArray[Any]:
        if soft:
            return np.zeros((count, self._classes), np.float32)
        return np.zeros(count, np.int32)


class _Marks:
    """Any number of classes an example: multi-hot float32 `[batch, classes]`.

    The classes of all examples stand in one array, with the place where each one's begin: millions
    of examples of thousands of classes fit, which as a matrix would not.
    """

    def __init__(self, dataset: Dataset, task: Task) -> None:
        column = dataset.table[task.name].combine_chunks()
        self._starts: NDArray[np.int32] = column.offsets.to_numpy()
        self._values: NDArray[np.int32] = column.values.to_numpy()
        self._classes = len(task.classes)

    def rows(self, rows: NDArray[np.int64], soft: bool) -> NDArray[Any]:
        result = self.empty(len(rows), soft)
        for slot, row in enumerate(rows):
            result[slot, self._values[self._starts[row] : self._starts[row + 1]]] = 1
        return result

    def known(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.ones(len(rows), bool)

    def empty(self, count: int, soft: bool) -> NDArray[Any]:
        return np.zeros((count, self._classes), np.float32)
