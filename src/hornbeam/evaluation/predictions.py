"""The answers of a model to pictures: computed once, kept as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset, Task
from hornbeam.data.loader import Loader
from hornbeam.storage import replacing

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The logits of every example of a dataset, in its order.

    Attributes:
        dataset: the examples, with or without labels.
        tasks: what was asked.
        logits: float32 `[examples, classes]` by task.
    """

    dataset: Dataset
    tasks: tuple[Task, ...]
    logits: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.dataset)

    def probabilities(self, task: Task) -> Floats:
        """Return the softmax of the logits: float32 `[examples, classes]`."""
        logits = self.logits[task.name].astype(np.float64)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)

    def predicted(self, task: Task) -> NDArray[np.int64]:
        """Return the index of the most probable class of every example."""
        return np.asarray(self.logits[task.name].argmax(axis=1))

    def best(self, task: Task, count: int) -> NDArray[np.int64]:
        """Return the indices of the `count` most probable classes: int64 `[examples, count]`."""
        return np.argsort(-self.logits[task.name], axis=1, kind="stable")[:, :count]

    def table(self) -> pa.Table:
        """Return one row per example.

        Columns: `path`, `split` and, for each task of name T: `T` (the true class, where known),
        `T_prediction`, `T_correct`, `T_probability` (of the prediction), `T_logits` and
        `T_probabilities` (lists, in the order of the classes).
        """
        columns: dict[str, Any] = {
            "path": self.dataset.table["path"],
            "split": self.dataset.table["split"],
        }
        for task in self.tasks:
            names = pa.array(task.classes, pa.string())
            predicted, probabilities = self.predicted(task), self.probabilities(task)
            if task in self.dataset.tasks:
                labels = self.dataset.labels(task)
                columns[task.name] = names.take(pa.array(labels))
                columns[f"{task.name}_correct"] = pa.array(labels == predicted)
            columns[f"{task.name}_prediction"] = names.take(pa.array(predicted))
            columns[f"{task.name}_probability"] = pa.array(probabilities.max(axis=1))
            columns[f"{task.name}_logits"] = _lists(self.logits[task.name])
            columns[f"{task.name}_probabilities"] = _lists(probabilities)
        return pa.table(columns)

    def save(self, path: Path) -> None:
        """Write the table to a Parquet file."""
        with replacing(path) as temporary:
            pq.write_table(self.table(), temporary)


def predict(
    model: keras.Model,
    dataset: Dataset,
    tasks: tuple[Task, ...],
    *,
    image_size: tuple[int, int],
    batch_size: int,
    threads: int,
) -> Predictions:
    """Ask a classifier about every picture of a dataset.

    Args:
        model: from uint8 pixels to logits by task.
        dataset: with or without labels.
        tasks: the model's outputs.
        image_size: (height, width) that the model takes.
        batch_size: pictures per forward pass; the last pass is padded, so that one size is compiled.
        threads: pictures decoded at a time.
    """
    from hornbeam.backend import compiles_with_xla
    from hornbeam.data.feed import feed

    loader = Loader(dataset, batch_size=batch_size, image_size=image_size)
    steps = loader.steps_per_epoch
    model.jit_compile = compiles_with_xla()
    outputs = model.predict(feed(loader, steps, threads=threads), steps=steps, verbose=0)
    logits = {
        task.name: np.asarray(outputs[task.name], np.float32)[: len(dataset)] for task in tasks
    }
    return Predictions(dataset, tasks, logits)


def _lists(values: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
