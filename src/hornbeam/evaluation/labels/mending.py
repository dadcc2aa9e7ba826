"""What somebody entered into a list of suspects, applied to the table of examples; not to pictures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError, did_you_mean
from hornbeam.evaluation.labels.labels_file import (
    ADD,
    HAS,
    LACKS,
    REMOVE,
    Row,
    header_of,
    read_fixes,
    read_reviewed,
)

DELETE = "DELETE"
"""Leaves a picture out; in capitals, so that a class may be called `delete`."""

KEEP = ("", "-")
"""Leave a label as it is; `-` says that somebody has looked."""

_FIXES = {"path", "problem", "action", "detail"}
"""Columns of a list of `hornbeam check --fix-list`."""

_MOST_TOLD = 20
"""Mistakes that are told of one file."""


@dataclasses.dataclass(frozen=True)
class Applied:
    """A dataset with other labels.

    Attributes:
        dataset: without the deleted pictures, otherwise in the order of before.
        changed: how many labels became another, by (task, old class, new class); of a multi-label
            task (task, `lacks CLASS`, `add CLASS`) and so on. A label that was missing is empty.
        deleted: pictures that were left out.
        kept: labels that were looked at and kept, marked by `-`.
        skipped: lines about files or about what is not in the table, which change nothing here.
    """

    dataset: Dataset
    changed: dict[tuple[str, str, str], int]
    deleted: int
    kept: int
    skipped: int


def apply_file(dataset: Dataset, path: Path) -> Applied:
    """Apply an edited list of suspects, or a list that `hornbeam check --fix-list` wrote.

    Raises:
        DataError: the file cannot be read; or lines of it are mistaken, all of which are told.
    """
    if set(header_of(path)) >= _FIXES:
        return _apply_fixes(dataset, path)
    return apply_rows(dataset, read_reviewed(path), str(path))


def apply_rows(dataset: Dataset, rows: Iterable[Row], name: str) -> Applied:
    """Apply what was entered.

    Args:
        dataset: with labels.
        rows: of the file.
        name: of the file, for messages.

    Raises:
        DataError: lines are mistaken, all of which are told: a picture or class that there is not, a
            label that is no longer what it was, two lines that contradict each other.
    """
    sheet = _Sheet(dataset)
    kept = 0
    for row in rows:
        kept += row.new_label == "-"
        if row.new_label not in KEEP:
            sheet.enter(row)
    sheet.refuse_mistakes(name)
    return dataclasses.replace(sheet.result(), kept=kept)


class _Sheet:
    """What is to become of each picture, and what is wrong with that."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._rows = _Places(dataset)
        self._tasks = {task.name: task for task in dataset.tasks}
        self._labels = {task.name: dataset.labels(task) for task in dataset.tasks}
        self._entered: dict[tuple[int, str, str], tuple[int, str]] = {}
        self._deleted: dict[int, int] = {}
        self._mistakes: list[tuple[int, str]] = []
        self._changes: list[tuple[int, Task, int, bool, str]] = []

    def enter(self, row: Row) -> None:
        """Note one line."""
        place = self._rows.find(row.path)
        if place is None:
            self._mistake(row, f"there is no picture '{row.path}'.{self._rows.nearest(row.path)}")
        elif row.new_label == DELETE:
            self._deleted.setdefault(place, row.line)
        elif (task := self._task_of(row)) is not None:
            self._label(row, place, task)

    def _task_of(self, row: Row) -> Task | None:
        if row.task in self._tasks:
            return self._tasks[row.task]
        if not row.task and len(self._tasks) == 1:
            return next(iter(self._tasks.values()))
        hint = did_you_mean(row.task, self._tasks)
        self._mistake(row, f"there is no task '{row.task}'.{hint}")
        return None

    def _label(self, row: Row, place: int, task: Task) -> None:
        verb, name = _verb(row.new_label) if task.multi_label else ("", row.new_label)
        if name not in task.classes or (task.multi_label and not verb):
            expected = f"; expected '{ADD}CLASS' or '{REMOVE}CLASS'" if task.multi_label else ""
            hint = did_you_mean(name, [*task.classes, DELETE])
            self._mistake(row, f"there is no class '{row.new_label}'{expected}.{hint}")
            return
        index = task.classes.index(name)
        key = (place, task.name, name if task.multi_label else "")
        earlier = self._entered.setdefault(key, (row.line, row.new_label))
        if earlier[1] != row.new_label:
            self._mistake(row, f"line {earlier[0]} has '{earlier[1]}' for the same picture.")
            return
        if earlier[0] != row.line:
            return  # the same once more
        now = self._name_of(task, place, index)
        wanted = (HAS if verb == ADD else LACKS) + name if task.multi_label else name
        if now == wanted:
            return  # it was changed by an earlier list
        if now != row.label and not (task.multi_label and row.label not in _states(name)):
            self._mistake(
                row, f"'{row.path}' is no longer {_quoted(row.label)}, but {_quoted(now)}."
            )
            return
        self._changes.append((place, task, index, verb != REMOVE, now))

    def _name_of(self, task: Task, place: int, index: int) -> str:
        label = self._labels[task.name][place]
        if task.multi_label:
            return (HAS if label[index] else LACKS) + task.classes[index]
        return task.classes[label] if label >= 0 else ""

    def _mistake(self, row: Row, sentence: str) -> None:
        self._mistakes.append((row.line, f"line {row.line}: {sentence}"))

    def refuse_mistakes(self, name: str) -> None:
        """Raise if any line was mistaken."""
        for (place, _, _), (line, entered) in self._entered.items():
            if place in self._deleted:
                first, second = sorted([(line, entered), (self._deleted[place], DELETE)])
                sentence = f"line {first[0]} has '{first[1]}' for the same picture."
                self._mistakes.append((second[0], f"line {second[0]}: {sentence}"))
        if self._mistakes:
            told = [sentence for _, sentence in sorted(self._mistakes)]
            more = len(told) - _MOST_TOLD
            end = f" And {more} more mistakes." if more > 0 else ""
            raise DataError(f"{name}, {' '.join(told[:_MOST_TOLD])}{end} Nothing was written.")

    def result(self) -> Applied:
        """Return the dataset as it is wanted."""
        dataset = self._dataset
        counts: Counter[tuple[str, str, str]] = Counter()
        for task in dataset.tasks:
            mine = [change for change in self._changes if change[1] is task]
            if not mine:
                continue
            labels = self._labels[task.name].copy()
            for place, _, index, there, now in mine:
                if task.multi_label:
                    labels[place, index] = there
                else:
                    labels[place] = index
                new = task.classes[index]
                said = (ADD if there else REMOVE) + new if task.multi_label else new
                counts[task.name, now, said] += 1
            dataset = dataset.with_column(task.name, _column(task, labels))
        kept = np.setdiff1d(np.arange(len(dataset)), list(self._deleted))
        return Applied(dataset.take(kept), dict(counts.most_common()), len(self._deleted), 0, 0)


class _Places:
    """Rows of pictures by their paths, as lists write them."""

    def __init__(self, dataset: Dataset) -> None:
        self._rows = {path: row for row, path in enumerate(dataset.paths)}
        self._root = str(dataset.root).rstrip("/")

    def find(self, path: str) -> int | None:
        """Return the row of a picture."""
        for name in (path, path.removeprefix("./"), path.removeprefix(f"{self._root}/")):
            if name in self._rows:
                return self._rows[name]
        return None

    def nearest(self, path: str) -> str:
        """Return the likeliest path that was meant, as a question, or nothing."""
        name = path.rsplit("/", 1)[-1]
        same = [known for known in self._rows if known.rsplit("/", 1)[-1] == name]
        return (
            f" Did you mean '{same[0]}'?" if same else did_you_mean(path, list(self._rows)[:2000])
        )


def _apply_fixes(dataset: Dataset, path: Path) -> Applied:
    """Leave out what a list of `hornbeam check` says to delete; other actions are about files."""
    places = _Places(dataset)
    deleted: set[int] = set()
    skipped = 0
    for picture, action in read_fixes(path):
        place = places.find(picture)
        if action == "delete" and place is not None:
            deleted.add(place)
        else:
            skipped += 1
    kept = np.setdiff1d(np.arange(len(dataset)), list(deleted))
    return Applied(dataset.take(kept), {}, len(deleted), 0, skipped)


def _column(task: Task, labels: Any) -> pa.Array:
    if not task.multi_label:
        return pa.array(labels.astype(np.int32), pa.int32(), mask=labels < 0)
    return pa.array([np.flatnonzero(row).tolist() for row in labels], pa.list_(pa.int32()))


def _verb(text: str) -> tuple[str, str]:
    """Return (`add ` or `remove `, the class) of what was entered for a multi-label task."""
    verb = next((verb for verb in (ADD, REMOVE) if text.startswith(verb)), "")
    return verb, text.removeprefix(verb)


def _states(name: str) -> Sequence[str]:
    return HAS + name, LACKS + name


def _quoted(label: str) -> str:
    return f"'{label}'" if label else "without a label"


def sentences_of(applied: Applied) -> Iterator[str]:
    """Yield what was changed, in words."""
    several = len(applied.dataset.tasks) > 1
    for (task, old, new), count in applied.changed.items():
        of_task = f"{task}: " if several else ""
        yield f"{of_task}{_quoted(old)} to '{new}': {count}"
