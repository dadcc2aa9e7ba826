"""The answers of a model to pictures: computed once, kept as a table."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.special
from numpy.typing import ArrayLike, NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.pictures import Preprocess
from hornbeam.data.pixels.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.data.tasks import Task
from hornbeam.errors import RunError
from hornbeam.models.penultimate import FEATURES, with_features
from hornbeam.storage import write_table

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]


_VIEWS_KEY = b"views"
"""In the metadata of the Parquet file: by split, how many views of a picture its answers are of."""

_ROWS = 4096
"""Pictures at a time, so that what is computed in float64 does not take a multiple of the result."""


class Scaling(Protocol):
    """What makes the probabilities of a task mean what they say; see `trust/calibration.py`."""

    def apply(self, logits: Floats) -> Floats:
        """Return logits whose probabilities are calibrated: float32 `[examples, classes]`."""


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The logits of every example of a dataset, in its order.

    Attributes:
        dataset: the examples, with or without labels.
        tasks: what was asked.
        logits: float32 `[examples, classes]` by task, as the network gave them.
        features: what reached the last layers, float32 `[examples, features]`; `None` where that was
            not asked for, or there is no such thing.
        scalings: by task, what calibrates its logits; a task without one keeps them.
        views: of each picture, whose answers were averaged.
    """

    dataset: Dataset
    tasks: tuple[Task, ...]
    logits: dict[str, Floats]
    features: Floats | None = None
    scalings: Mapping[str, Scaling] = dataclasses.field(default_factory=dict)
    views: int = 1

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, rows: ArrayLike) -> Predictions:
        """Return the predictions of the examples at these rows, in this order."""
        rows = np.asarray(rows, np.int64)
        return dataclasses.replace(
            self,
            dataset=self.dataset.take(rows),
            logits={name: logits[rows] for name, logits in self.logits.items()},
            features=None if self.features is None else self.features[rows],
        )

    def calibrated(self, task: Task) -> Floats:
        """Return the logits after the task's scaling: float32 `[examples, classes]`."""
        logits, scaling = self.logits[task.name], self.scalings.get(task.name)
        return logits if scaling is None else scaling.apply(logits)

    def probabilities(self, task: Task) -> Floats:
        """Return the probability of every class: float32 `[examples, classes]`.

        They sum to 1 (softmax), but for multi-label tasks, where each stands alone (sigmoid).
        """
        logits = self.calibrated(task)
        result = np.empty(logits.shape, np.float32)
        for start in range(0, len(logits), _ROWS):
            rows = slice(start, start + _ROWS)
            result[rows] = probabilities_of(logits[rows], task)
        return result

    def predicted(self, task: Task) -> NDArray[Any]:
        """Return what the model says of every example.

        The index of the most probable class, int64 `[examples]`; of a multi-label task, which classes
        have a probability of at least one half, bool `[examples, classes]`.
        """
        if task.multi_label:
            return np.asarray(self.calibrated(task) >= 0)
        return np.asarray(self.calibrated(task).argmax(axis=1))

    def best(self, task: Task, count: int) -> NDArray[np.int64]:
        """Return the indices of the `count` most probable classes: int64 `[examples, count]`."""
        return np.argsort(-self.calibrated(task), axis=1, kind="stable")[:, :count]

    def table(self) -> pa.Table:
        """Return one row per example.

        Columns: `path`, `split`, `group` where there are groups and, for each task of name T: `T` (the
        true class, where known), `T_prediction`, `T_correct`, `T_probability` (of the prediction),
        `T_logits` (as the network gave them) and `T_probabilities` (calibrated, where that was done),
        lists in the order of the classes. Of a multi-label task `T` and
        `T_prediction` are lists of classes, `T_correct` says whether they are the same, and there is
        no `T_probability`. `T` and `T_correct` are null where a picture lacks the label.
        """
        columns: dict[str, Any] = {
            "path": self.dataset.table["path"],
            "split": self.dataset.table["split"],
        }
        if "group" in self.dataset.table.column_names:
            columns["group"] = self.dataset.table["group"]
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
        self._write(path, self.table(), {})

    def add_to(self, path: Path) -> None:
        """Write the table to a Parquet file, which keeps what it has of other splits."""
        table, views = self.table(), {}
        # A damaged file is made anew, and so is that of a network of other classes.
        with contextlib.suppress(pa.ArrowException, ValueError):
            if path.is_file() and pq.read_schema(path).names == table.schema.names:
                there = pq.read_table(path)
                other = pc.is_in(there["split"], pa.array(self.dataset.splits, pa.string()))
                there = there.filter(pc.invert(other)).cast(table.schema)
                views = self.views_of(path)
                table = pa.concat_tables([there, table])
        self._write(path, table, views)

    def _write(self, path: Path, table: pa.Table, views: Mapping[str, int]) -> None:
        views = {**views, **dict.fromkeys(self.dataset.splits, self.views)}
        write_table(path, table.replace_schema_metadata({_VIEWS_KEY: json.dumps(views)}))

    @staticmethod
    def views_of(path: Path) -> dict[str, int]:
        """Return of how many views the answers of each split in a file are; a missing one is of one."""
        metadata = pq.read_schema(path).metadata or {}
        return dict(json.loads(metadata.get(_VIEWS_KEY, b"{}")))

    @classmethod
    def load(
        cls, path: Path, dataset: Dataset, tasks: tuple[Task, ...],
        scalings: Mapping[str, Scaling] | None = None, split: str | None = None,
    ) -> Predictions:  # fmt: skip
        """Read what `save` or `add_to` wrote.

        Args:
            path: of the Parquet file.
            dataset: that its pictures are of; those that are not in the file are left out.
            tasks: the network's outputs.
            scalings: see the attribute.
            split: read this one only.

        Raises:
            RunError: the file is missing, damaged, or about other pictures or classes.
        """
        names = ["path", "split", *(f"{task.name}_logits" for task in tasks)]
        try:
            table = pq.read_table(path, columns=names)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise RunError(
                f"{path} cannot be read ({error}); hornbeam evaluate makes it."
            ) from None
        if split is not None:
            table = table.filter(pc.equal(table["split"], split))
        rows = dict(zip(_keys(dataset.table), range(len(dataset)), strict=True))
        found = [rows.get(key, -1) for key in _keys(table)]
        logits = {}
        for task in tasks:
            column = table[f"{task.name}_logits"].combine_chunks()
            if column.type.list_size != len(task.classes) or -1 in found:
                raise RunError(
                    f"{path} is about other pictures or classes than the run; hornbeam evaluate makes "
                    "it anew."
                )
            values = column.flatten().to_numpy(zero_copy_only=False)
            logits[task.name] = values.reshape(len(table), len(task.classes))
        views = cls.views_of(path)
        most = max((views.get(split, 1) for split in set(table["split"].to_pylist())), default=1)
        return cls(dataset.take(found), tasks, logits, scalings=scalings or {}, views=most)


def _keys(table: pa.Table) -> list[tuple[str, str, int]]:
    """Return split, path and how often that came before: in shards several records may have one path."""
    seen: Counter[tuple[str, str]] = Counter()
    result = []
    for key in zip(table["split"].to_pylist(), table["path"].to_pylist(), strict=True):
        result.append((*key, seen[key]))
        seen[key] += 1
    return result


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
    features: bool = False,
    scalings: Mapping[str, Scaling] | None = None,
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
            those of the mean, with the mean logsumexp of the views.
        resize_mode: how the model's training pictures got their shape.
        preprocess: the recipe's function, see `Loader`.
        features: keep what reaches the last layers, too, where that is one tensor; of several views
            their mean.
        scalings: by task, what calibrates its logits.
    """
    from hornbeam.backend import compiles_with_xla
    from hornbeam.data.feed import feed, plain_errors

    if features:
        model = with_features(model, tasks) or model
    model.jit_compile = compiles_with_xla()
    total: dict[str, Any] = {}
    sizes: dict[str, Any] = {}
    for view in range(views):
        loader = Loader(
            dataset, batch_size=batch_size, image_size=image_size, seed=view,
            augment=_VIEWS[min(view, len(_VIEWS) - 1)], resize_mode=resize_mode,
            preprocess=preprocess,
        )  # fmt: skip
        steps = loader.steps_per_epoch
        with plain_errors():
            outputs = model.predict(feed(loader, steps, threads=threads), steps=steps, verbose=0)
        if FEATURES in outputs:
            kept = np.asarray(outputs[FEATURES], np.float32)[: len(dataset)]
            total[FEATURES] = total.get(FEATURES, 0) + kept / views
        for task in tasks:
            logits = np.asarray(outputs[task.name], np.float32)[: len(dataset)]
            if views == 1:
                total[task.name] = logits
                continue
            total[task.name] = total.get(task.name, 0) + probabilities_of(logits, task)
            sizes[task.name] = sizes.get(task.name, 0) + _size(logits, task)
    kept = total.pop(FEATURES, None)
    if views > 1:
        total = {
            task.name: _logits(total[task.name] / views, sizes[task.name] / views, task)
            for task in tasks
        }
    return Predictions(dataset, tasks, total, kept, scalings or {}, views)


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


def _size(logits: Floats, task: Task) -> NDArray[np.float64] | float:
    """Return what softmax takes away: the logsumexp of each picture, `[examples, 1]`."""
    if task.multi_label:
        return 0.0
    return np.asarray(scipy.special.logsumexp(logits.astype(np.float64), axis=1, keepdims=True))


def _logits(
    probabilities: NDArray[np.float64], size: NDArray[np.float64] | float, task: Task
) -> Floats:
    """Return logits that have these probabilities, and of one label this logsumexp.

    What tells unknown pictures by their energy, minus the logsumexp, would else find none or all.
    """
    tiny = np.finfo(np.float64).tiny
    result = np.log(np.maximum(probabilities, tiny))
    if task.multi_label:
        result -= np.log(np.maximum(1 - probabilities, np.finfo(np.float64).epsneg))
    return np.asarray(result + size, np.float32)


def _names(task: Task, labels: NDArray[Any]) -> pa.Array:
    """Return class names of indices, or lists of them for marks `[examples, classes]`."""
    names = pa.array(task.classes, pa.string())
    if not task.multi_label:
        return names.take(pa.array(labels, mask=labels < 0))
    offsets = np.concatenate([[0], labels.sum(axis=1).cumsum()]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(labels.nonzero()[1])))


def _lists(values: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
