"""The table of examples: where the bytes are, their labels and split. It never holds pixels."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from hornbeam.data.pixels.images import Pixels, decode, measure, shrink, with_channels
from hornbeam.data.remote import join, read_bytes
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError, did_you_mean, listing
from hornbeam.limits import MAX_PIXELS
from hornbeam.storage import write_table

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)

COLUMNS = ("path", "split", "group", "digest", "shard", "offset", "length", "example")
"""Names of columns that are not labels; a task cannot be called so."""

FEATURE = "feature:"
"""What the names of side features begin with in the table; no task can, whatever its column."""


class Reader(Protocol):
    """Where the bytes of pictures are: files, shards of records, or a user's own object."""

    def read(self, dataset: Dataset, row: int) -> bytes | Pixels:
        """Return the encoded bytes of one picture, or its pixels, uint8 `[height, width, channels]`.

        Raises:
            DataError: it cannot be read; the message names it.
        """


class Files:
    """Each picture is a file of its own, here or at a remote address."""

    def read(self, dataset: Dataset, row: int) -> bytes:
        """Return the bytes of a file; a remote one is kept in the local cache."""
        return read_bytes(dataset.location(row))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A table of examples.

    Attributes:
        root: directory, or remote address (a string with `://`), that the paths are relative to.
        table: columns `path` (string, with `/`), `split` (string) and, for each task, one of its
            name: the index into its classes (int32), or a list of them for multi-label tasks.
            `digest` (string) is there once it was verified; `group` (string) where pictures belong
            together; `shard` (string), `offset` and `length` (int64) where they are records of shards.
            `feature:NAME` (float32) is a side feature: a number that the model takes beside the
            picture. A label of one class is null where the picture has none for that task.
        tasks: what is asked; empty for pictures without labels.
        reader: gets the bytes.
        max_pixels: a picture of more is refused, undecoded.
    """

    root: Path | str
    table: pa.Table
    tasks: tuple[Task, ...] = ()
    reader: Reader = dataclasses.field(default_factory=Files)
    max_pixels: int = MAX_PIXELS

    @classmethod
    def from_columns(
        cls,
        root: Path | str,
        paths: Any,
        splits: Any,
        labels: dict[Task, Any] | None = None,
        **others: Any,
    ) -> Dataset:
        """Make a dataset from a column of paths, one of splits, and one of labels a task.

        Labels are class indices; of a multi-label task, a list of them for each example.
        """
        labels = labels or {}
        columns: dict[str, Any] = {"path": _strings(paths), "split": _strings(splits)}
        for task, values in labels.items():
            kind = pa.list_(pa.int32()) if task.multi_label else pa.int32()
            columns[task.name] = values if _is_arrow(values) else pa.array(values, kind)
        columns |= others
        return cls(root, pa.table(columns).combine_chunks(), tuple(labels))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @functools.cached_property
    def paths(self) -> list[str]:
        """Paths relative to the root, in the order of the table."""
        return list(self.table["path"].to_pylist())

    def location(self, row: int) -> str:
        """Return where the file of one picture is: a path, or a remote address."""
        return join(self.root, self.table["path"][row].as_py())

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have examples, in the order train, validation, test, others."""
        present = set(pc.unique(self.table["split"]).to_pylist())
        return tuple(name for name in (*SPLITS, *sorted(present - set(SPLITS))) if name in present)

    def labels(self, task: Task) -> NDArray[Any]:
        """Return the label of every example for `task`.

        Class indices, int32 `[examples]`, -1 where there is none; of a multi-label task bool
        `[examples, classes]`.
        """
        column = self.table[task.name]
        if not task.multi_label:
            return np.asarray(pc.fill_null(column, -1).to_numpy(), np.int32)
        marks = np.zeros((len(self), len(task.classes)), bool)
        marks[pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column).to_numpy()] = True
        return marks

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the side features, in the order in which a model takes them."""
        names = self.table.column_names
        return tuple(name.removeprefix(FEATURE) for name in names if name.startswith(FEATURE))

    def feature_values(self) -> NDArray[np.float32]:
        """Return the side features of every example: float32 `[examples, features]`."""
        values = np.zeros((len(self), len(self.features)), np.float32)
        for place, name in enumerate(self.features):
            values[:, place] = self.table[FEATURE + name].to_numpy()
        return values

    def with_features(self, names: Sequence[str]) -> Dataset:
        """Return the dataset with these of its side features, in this order, and no others.

        Raises:
            ConfigError: it lacks one.
        """
        missing = [name for name in names if name not in self.features]
        if missing:
            raise ConfigError(
                f"{self.root} has no numbers {listing(missing)} beside its pictures; it has "
                f"{listing(self.features) or 'none, but a manifest may have such columns'}."
                + did_you_mean(missing[0], self.features)
            )
        others = [name for name in self.table.column_names if not name.startswith(FEATURE)]
        table = self.table.select([*others, *(FEATURE + name for name in names)])
        return dataclasses.replace(self, table=table)

    def label_names(self, task: Task) -> pa.Array:
        """Return the class name of every example for `task`; of a multi-label task, lists of them.

        Null where a picture has none.
        """
        column = self.table[task.name].combine_chunks()
        names = pa.array(task.classes, pa.string())
        if task.multi_label:
            return lists_like(column, names.take(column.flatten()))
        return names.take(column)

    def where(self, split: str) -> NDArray[np.int64]:
        """Return the rows of one split."""
        return np.flatnonzero(pc.equal(self.table["split"], split).to_numpy(zero_copy_only=False))

    def only(self, split: str) -> Dataset:
        """Return the examples of one split.

        Raises:
            DataError: there are none.
        """
        chosen = self.take(self.where(split))
        if not len(chosen):
            there = ", ".join(filter(None, self.splits)) or "none"
            raise DataError(
                f"{self.root} has no '{split}' split; it has {there}."
                + did_you_mean(split, self.splits)
            )
        return chosen

    def take(self, rows: ArrayLike) -> Dataset:
        """Return the examples at these rows, in this order."""
        rows = pa.array(np.asarray(rows, np.int64))
        return dataclasses.replace(self, table=self.table.take(rows).combine_chunks())

    def with_column(self, name: str, values: Any) -> Dataset:
        """Return the dataset with a column added or replaced: of strings, or any Arrow array."""
        column = values if _is_arrow(values) else pa.array(values, pa.string())
        if name not in self.table.column_names:
            return dataclasses.replace(self, table=self.table.append_column(name, column))
        index = self.table.column_names.index(name)
        return dataclasses.replace(self, table=self.table.set_column(index, name, column))

    def read(self, row: int) -> bytes | Pixels:
        """Return the encoded bytes of one picture; its pixels, where a user's reader gives those.

        Raises:
            DataError: it is gone or cannot be read.
        """
        return self.reader.read(self, row)

    def name(self, row: int) -> str:
        """Return what a message calls one picture: its path, or its shard and place in it."""
        if "shard" in self.table.column_names:
            shard, offset = self.table["shard"][row].as_py(), self.table["offset"][row].as_py()
            return f"{join(self.root, shard)}, record at byte {offset} ({self.table['path'][row]})"
        return self.location(row)

    def decode(
        self, row: int, data: bytes | Pixels, channels: int = 3, reduction: int = 1
    ) -> Pixels:
        """Return the pixels in the bytes of one picture: uint8 `[height, width, channels]`.

        Args:
            row: of the picture.
            data: what `read` returned.
            channels: 1 for grey, 3 for RGB, 4 for RGBA.
            reduction: 1, 2, 4 or 8: decode at that part of the scale, see `images.decode`.

        Raises:
            DataError: they are no whole picture, or one of too many pixels; the message names it.
        """
        if not isinstance(data, bytes):
            self._check_pixels(row, data)
            return shrink(with_channels(data, channels), reduction)
        try:
            return decode(data, channels, reduction, self.max_pixels)
        except DataError as error:
            raise DataError(f"{self.name(row)}: {error}.") from None

    def preview(self, row: int, side: int) -> tuple[Pixels, tuple[int, int]]:
        """Return a picture that is read and decoded no larger than a thumbnail needs, and its size.

        Args:
            row: of the picture.
            side: of the thumbnail, in pixels; the shorter side is at least that, if it was.

        Returns:
            Pixels, uint8 `[height, width, 3]`, and (height, width) of the whole picture.

        Raises:
            DataError: it is gone, or no whole picture; the message names it.
        """
        data = self.read(row)
        size = self.measure(row, data)
        reduction = max(r for r in (1, 2, 4, 8) if r == 1 or min(size) // r >= side)
        return self.decode(row, data, 3, reduction), size

    def measure(self, row: int, data: bytes | Pixels) -> tuple[int, int]:
        """Return (height, width) of one picture in pixels, upright, without decoding it.

        Raises:
            DataError: it is no picture; the message names it.
        """
        if not isinstance(data, bytes):
            self._check_pixels(row, data)
            return data.shape[0], data.shape[1]
        try:
            return measure(data)
        except DataError as error:
            raise DataError(f"{self.name(row)}: {error}.") from None

    def _check_pixels(self, row: int, data: Any) -> None:
        if not isinstance(data, np.ndarray):
            raise DataError(
                f"{self.name(row)}: the reader gave a {type(data).__name__}; expected the bytes of a "
                "file, or an array of uint8."
            )
        shape = data.shape
        fits = data.ndim == 2 or (data.ndim == 3 and shape[2] in (1, 3, 4))
        if data.dtype != np.uint8 or not fits or not data.size:
            raise DataError(
                f"{self.name(row)}: the reader gave {data.dtype} {list(shape)}; expected uint8 "
                "[height, width, 1, 3 or 4]."
            )

    def counts(self, task: Task) -> dict[str, dict[str, int]]:
        """Return how many examples each split has of each class: `{split: {class: count}}`."""
        labels = self.labels(task)
        classes = len(task.classes)
        result = {}
        for split in self.splits:
            chosen = labels[self.where(split)]
            chosen = chosen if task.multi_label else chosen[chosen >= 0]
            sums = (
                chosen.sum(axis=0) if task.multi_label else np.bincount(chosen, minlength=classes)
            )
            result[split] = dict(zip(task.classes, sums.tolist(), strict=True))
        return result

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change when a path, label, split or picture does.

        The order of the rows and the place of the root do not matter. Pictures count by their
        digest, which is known once the dataset was verified.
        """
        content = hashlib.sha256(repr(self.tasks).encode())
        names = sorted(self.table.column_names)
        total = 0
        for batch in self.table.select(names).to_batches(max_chunksize=65536):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                digest = hashlib.blake2b(repr(row).encode(), digest_size=16).digest()
                total += int.from_bytes(digest, "big")
        # A sum does not depend on the order, and needs no sorting of millions of rows.
        content.update(repr((names, total)).encode())
        return content.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the table to a Parquet file, with class names in place of indices."""
        table = self.table
        for task in self.tasks:
            if task.multi_label:
                column = self.label_names(task)
            else:
                names = pa.array(task.classes, pa.string())
                column = pa.DictionaryArray.from_arrays(table[task.name].combine_chunks(), names)
            table = table.set_column(table.column_names.index(task.name), task.name, column)
        write_table(path, table)

    @classmethod
    def load(
        cls, path: Path, root: Path | str, tasks: tuple[Task, ...], reader: Reader | None = None
    ) -> Dataset:
        """Read a table that `save` wrote.

        Raises:
            DataError: the file is missing, damaged, or has other classes than `tasks`.
        """
        try:
            table = pq.read_table(path).combine_chunks()
            for task in tasks:
                column = table[task.name].combine_chunks()
                names = column.flatten() if task.multi_label else column.cast(pa.string())
                labels = pc.index_in(names, value_set=pa.array(task.classes, pa.string()))
                if labels.null_count > names.null_count:
                    raise DataError(f"{path}: column '{task.name}' has a class that the run lacks.")
                if task.multi_label:
                    labels = lists_like(column, labels)
                index = table.column_names.index(task.name)
                table = table.set_column(index, task.name, labels)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DataError(f"{path}: the table of examples cannot be read ({error}).") from None
        return cls(root, table, tasks, reader or Files())


def _strings(values: Any) -> Any:
    return values if _is_arrow(values) else pa.array(values, pa.string())


def _is_arrow(values: Any) -> bool:
    return isinstance(values, (pa.Array, pa.ChunkedArray))


def lists_like(lists: Any, values: Any) -> Any:
    """Return a list array divided as `lists` is, which may be a slice, with other flat values."""
    offsets = lists.offsets.to_numpy()
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0], pa.int32()), values)
