"""The table of examples: where the bytes are, their labels and split. It never holds pixels."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from hornbeam.data.images import Pixels, decode
from hornbeam.errors import DataError, did_you_mean
from hornbeam.storage import replacing

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


@dataclasses.dataclass(frozen=True)
class Task:
    """One question asked of every picture, with the classes that can answer it.

    Attributes:
        name: of the model's output and of the table's column.
        classes: names in the order of the logits.
    """

    name: str
    classes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A table of examples.

    Attributes:
        root: directory that the paths are relative to.
        table: columns `path` (string, with `/`), `split` (string) and, for each task, one of its
            name (int32, index into its classes). `digest` (string) is there once it was verified.
        tasks: what is asked; empty for pictures without labels.
    """

    root: Path
    table: pa.Table
    tasks: tuple[Task, ...] = ()

    @classmethod
    def from_columns(
        cls,
        root: Path,
        paths: Sequence[str],
        splits: Sequence[str],
        labels: dict[Task, ArrayLike] | None = None,
    ) -> Dataset:
        """Make a dataset from a column of paths, one of splits, and one of class indices a task."""
        labels = labels or {}
        columns: dict[str, Any] = {
            "path": pa.array(paths, pa.string()),
            "split": pa.array(splits, pa.string()),
        }
        for task, values in labels.items():
            columns[task.name] = pa.array(np.asarray(values, np.int32))
        return cls(root, pa.table(columns), tuple(labels))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @functools.cached_property
    def paths(self) -> list[str]:
        """Paths relative to the root, in the order of the table."""
        return list(self.table["path"].to_pylist())

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have examples, in the order train, validation, test, others."""
        present = set(pc.unique(self.table["split"]).to_pylist())
        return tuple(name for name in (*SPLITS, *sorted(present - set(SPLITS))) if name in present)

    def labels(self, task: Task) -> NDArray[np.int32]:
        """Return the class index of every example for `task`: int32 `[examples]`."""
        return np.asarray(self.table[task.name].to_numpy(), np.int32)

    def only(self, split: str) -> Dataset:
        """Return the examples of one split.

        Raises:
            DataError: there are none.
        """
        chosen = self.take(np.flatnonzero(np.asarray(self.table["split"].to_pylist()) == split))
        if not len(chosen):
            there = ", ".join(filter(None, self.splits)) or "none"
            raise DataError(
                f"{self.root} has no '{split}' split; it has {there}."
                + did_you_mean(split, self.splits)
            )
        return chosen

    def take(self, rows: ArrayLike) -> Dataset:
        """Return the examples at these rows, in this order."""
        return dataclasses.replace(
            self, table=self.table.take(pa.array(np.asarray(rows, np.int64)))
        )

    def with_column(self, name: str, values: Sequence[str]) -> Dataset:
        """Return the dataset with a string column added or replaced."""
        column = pa.array(values, pa.string())
        if name not in self.table.column_names:
            return dataclasses.replace(self, table=self.table.append_column(name, column))
        index = self.table.column_names.index(name)
        return dataclasses.replace(self, table=self.table.set_column(index, name, column))

    def read(self, row: int) -> bytes:
        """Return the bytes of one picture.

        Raises:
            DataError: the file is gone or cannot be read.
        """
        path = self.root / self.paths[row]
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: the picture cannot be read ({error.strerror}).") from None

    def decode(self, row: int, data: bytes) -> Pixels:
        """Return the pixels in the bytes of one picture: uint8 `[height, width, 3]`, RGB.

        Raises:
            DataError: they are no whole picture; the message names the file.
        """
        try:
            return decode(data)
        except DataError as error:
            raise DataError(f"{self.root / self.paths[row]}: {error}.") from None

    def counts(self, task: Task) -> dict[str, dict[str, int]]:
        """Return how many examples each split has of each class: `{split: {class: count}}`."""
        splits = np.asarray(self.table["split"].to_pylist())
        labels = self.labels(task)
        return {
            split: dict(
                zip(
                    task.classes,
                    np.bincount(labels[splits == split], minlength=len(task.classes)).tolist(),
                    strict=True,
                )
            )
            for split in self.splits
        }

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that change when a path, label, split or picture does.

        The order of the rows and the place of the root do not matter. Pictures count by their
        digest, which is known once the dataset was verified.
        """
        content = hashlib.sha256(repr(self.tasks).encode())
        columns = [self.table[name].to_pylist() for name in sorted(self.table.column_names)]
        for row in sorted(zip(*columns, strict=True)):
            content.update(repr(row).encode())
        return content.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write the table to a Parquet file, with class names in place of indices."""
        table = self.table
        for task in self.tasks:
            index = table.column_names.index(task.name)
            names = pa.DictionaryArray.from_arrays(
                table[task.name].combine_chunks(), pa.array(task.classes, pa.string())
            )
            table = table.set_column(index, task.name, names)
        with replacing(path) as temporary:
            pq.write_table(table, temporary)

    @classmethod
    def load(cls, path: Path, root: Path, tasks: tuple[Task, ...]) -> Dataset:
        """Read a table that `save` wrote.

        Raises:
            DataError: the file is missing, damaged, or has other classes than `tasks`.
        """
        try:
            table = pq.read_table(path)
            for task in tasks:
                names = table[task.name].cast(pa.string())
                labels = pc.index_in(names, value_set=pa.array(task.classes, pa.string()))
                if labels.null_count:
                    raise DataError(f"{path}: column '{task.name}' has a class that the run lacks.")
                index = table.column_names.index(task.name)
                table = table.set_column(index, task.name, labels)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DataError(f"{path}: the table of examples cannot be read ({error}).") from None
        return cls(root, table, tasks)


def natural_order(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key that puts `class2` before `class10`, and `cat` beside `Cat`."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts], name
