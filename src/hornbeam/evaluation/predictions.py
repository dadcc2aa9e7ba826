"""The answers of a model to pictures: computed once, kept as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset, Task
from hornbeam.data.loader import Loader
from hornbeam.data.pictures import Preprocess
from hornbeam.data.pixels.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.storage import write_table

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
        """Return the probability of every class: float32 `[examples, classes]`.

        They sum to 1 (softmax), but for multi-label tasks, where each stands alone (sigmoid).
        """
        return np.asarray(probabilities_of(self.logits[task.name], task), np.float32)

    def predicted(self, task: Task) -> NDArray[Any]:
        """Return what the model says of every example.

        The index of the most probable class, int64 `[examples]`; of a multi-label task, which classes
        have a probability of at least one half, bool `[examples, classes]`.
        """
        if task.multi_label:
            return np.asarray(self.logits[task.name] >= 0)
        return np.asarray(self.logits[task.name].argmax(axis=1))

    def best(self, task: Task, count: int) -> NDArray[np.int64]:
        """Return the indices of the `count` most probable classes: int64 `[examples, count]`."""
        return np.argsort(-self.logits[task.name], axis=1, kind="stable")[:, :count]

    def table(self) -> pa.Table:
        """Return one row per example.

        Columns: `path`, `split` and, for each task of name T: `T` (the true class, where known),
        `T_prediction`, `T_correct`, `T_probability` (of the prediction), `T_logits` and
        `T_probabilities` (lists, in the order of the classes). Of a multi-label task `T` and
        `T_prediction` are lists of classes, `T_correct` says whether they are the same, and there is
        no `T_probability`. `T` and `T_correct` are null where a picture lacks the label.
        """
        columns: dict[str, Any] = {
            "path": self.dataset.table["path"],
            "split": self.dataset.table["split"],
        }
        for task in self.tasks:
            predicted, probabilities = self.predicted(task), self.probabilities(task)
            if task in self.dataset.tasks:
                labels = self.dataset.labels(task)
                same = labels == predicted
                columns[task.name] = _names(task, labels)
                columns[f"{task.name}_correct"] = (
                    same.all(axis=1) if task.multi_label else pa.array(same, mask=labels < 0)
                )
            columns[f"{task.name}_prediction"] = _names(task, predicted)
            if not task.multi_label:
                columns[f"{task.name}_probability"] = pa.array(probabilities.max(axis=1))
            columns[f"{task.name}_logits"] = _lists(self.logits[task.name])
            columns[f"{task.name}_probabilities"] = _lists(probabilities)
        return pa.table(columns)

    def save(self, path: Path) -> None:
        """Write the table to a Parquet file."""
        write_table(path, self.table())


def predict(
    model: keras.Model,
    dataset: Dataset,
    tasks: tuple[Task, ...],
    *,
    image_size: tuple[int, ...],
    batch_size: int,
    threads: int,
    views: int = 1,
    resize_mode: ResizeMode = "crop",
    preprocess: Preprocess | None = None,
) -> Predictions:
    """Ask a classifier about every picture of a dataset.

    Args:
        model: from uint8 pixels, and the dataset's side features if it has some, to logits by task.
        dataset: with or without labels.
        tasks: the model's outputs.
        image_size: (height, width) or (height, width, channels) that the model takes.
        batch_size: pictures per forward pass; the last pass is padded, so that one size is compiled.
        threads: pictures decoded at a time.
        views: how many variations of each picture are asked about (test-time augmentation): as it
            is, mirrored, then random crops that keep most of it, the same in every call. Their
            probabilities are averaged, as in Krizhevsky et al. 2012, section 4.1, and the logits are
            those of the mean.
        resize_mode: how the model's training pictures got their shape.
        preprocess: the recipe's function, see `Loader`.
    """
    from hornbeam.backend import compiles_with_xla
    from hornbeam.data.feed import feed, plain_errors

    model.jit_compile = compiles_with_xla()
    total: dict[str, Any] = {}
    for view in range(views):
        loader = Loader(
            dataset, batch_size=batch_size, image_size=image_size, seed=view,
            augment=_VIEWS[min(view, len(_VIEWS) - 1)], resize_mode=resize_mode,
            preprocess=preprocess,
        )  # fmt: skip
        steps = loader.steps_per_epoch
        with plain_errors():
            outputs = model.predict(feed(loader, steps, threads=threads), steps=steps, verbose=0)
        for task in tasks:
            logits = np.asarray(outputs[task.name], np.float32)[: len(dataset)]
            found = probabilities_of(logits, task) if views > 1 else logits
            total[task.name] = total.get(task.name, 0) + found
    if views > 1:
        total = {task.name: _logits(total[task.name] / views, task) for task in tasks}
    return Predictions(dataset, tasks, total)


_VIEWS = (
    AUGMENTATIONS["none"],
    Augmentation(flip=1.0),
    Augmentation(area=(0.7, 1.0), aspect=1.1, flip=0.5),
)
"""The first view, the second, and all others."""


def probabilities_of(logits: Floats, task: Task) -> NDArray[np.float64]:
    """Return the probabilities that logits `[examples, classes]` stand for: softmax or sigmoid."""
    values = logits.astype(np.float64)
    if task.multi_label:
        # Never the exponential of a large number.
        small = np.exp(-np.abs(values))
        return np.asarray(np.where(values >= 0, 1, small) / (1 + small))
    exponents = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def _logits(probabilities: NDArray[np.float64], task: Task) -> Floats:
    """Return logits that have these probabilities."""
    tiny = np.finfo(np.float64).tiny
    result = np.log(np.maximum(probabilities, tiny))
    if task.multi_label:
        result -= np.log(np.maximum(1 - probabilities, np.finfo(np.float64).epsneg))
    return np.asarray(result, np.float32)


def _names(task: Task, labels: NDArray[Any]) -> pa.Array:
    """Return class names of indices, or lists of them for marks `[examples, classes]`."""
    names = pa.array(task.classes, pa.string())
    if not task.multi_label:
        return names.take(pa.array(labels, mask=labels < 0))
    offsets = np.concatenate([[0], labels.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(labels.nonzero()[1])))


def _lists(values: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
