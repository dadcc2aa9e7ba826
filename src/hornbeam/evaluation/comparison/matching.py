"""What models can be compared on: pictures that none of them trained on, classes that all know."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.data.dataset import TEST, TRAIN, Dataset
from hornbeam.data.remote import absolute, join
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError, listing


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Pictures that no model trained on.

    Attributes:
        rows: of the first dataset, int64 `[pictures]`.
        theirs: for each dataset, the rows of the same pictures; -1 where it does not have one.
        candidates: how many pictures were looked at.
        trained: how many of those each model trained on, which are left out.
    """

    rows: NDArray[np.int64]
    theirs: tuple[NDArray[np.int64], ...]
    candidates: int
    trained: tuple[int, ...]


class _Index:
    """Where pictures are in a dataset: by place, and by what is in the files where that is known."""

    def __init__(self, dataset: Dataset) -> None:
        self.places = _places(dataset)
        known = "digest" in dataset.table.column_names
        self.digests = dataset.table["digest"].to_pylist() if known else [None] * len(dataset)

    def find(self, others: _Index, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where the pictures of `others` are among the chosen rows; -1 where they are not.

        A file that has been edited or replaced since is another picture: where both digests are known,
        they decide.
        """
        backwards = chosen[::-1].tolist()  # of equal ones the first
        places: dict[Any, int] = {self.places[row]: row for row in backwards}
        digests: dict[Any, int] = {self.digests[row]: row for row in backwards if self.digests[row]}

        def row_of(place: Any, digest: str | None) -> int:
            row = places.get(place, -1)
            if row < 0 or (digest and self.digests[row] and digest != self.digests[row]):
                return digests.get(digest, -1) if digest else -1
            return row

        rows = [row_of(*each) for each in zip(others.places, others.digests, strict=True)]
        return np.array(rows, np.int64)


def held_out_by_all(datasets: Sequence[Dataset], split: str = "auto") -> HeldOut:
    """Find the pictures that are held out from all trainings.

    See `match`. What another dataset does not have at all, its model did not train on.

    Args:
        datasets: all pictures of each training, with their splits; those of the first are looked for.
        split: `validation` or `test`: of every dataset that has the picture; `auto`: test, if there is
            any such picture, else whatever is held out.
    """
    splits = [np.array(dataset.table["split"].to_pylist(), object) for dataset in datasets]
    mine = np.flatnonzero(splits[0] != TRAIN)
    if split != "auto":
        mine = mine[splits[0][mine] == split]
    found = match(datasets[0].take(mine), datasets)
    there = np.ones(len(mine), bool)
    tested = splits[0][mine] == TEST
    for rows, parts in zip(found.theirs, splits, strict=True):
        known = rows >= 0
        if split != "auto":
            there &= ~known | (parts[rows] == split)
        tested &= ~known | (parts[rows] == TEST)
    there &= found.fresh
    if split == "auto" and (there & tested).any():
        there &= tested
    trained = tuple(int(trained.sum()) for trained in found.trained)
    return HeldOut(mine[there], tuple(r[there] for r in found.theirs), len(mine), trained)


@dataclasses.dataclass(frozen=True)
class Matched:
    """Pictures, found in the datasets of trainings.

    Attributes:
        pictures: how many were looked for.
        theirs: for each training, the row of each picture; -1 where it does not have it.
        trained: for each training, whether it trained on each picture, bool `[pictures]`.
    """

    pictures: int
    theirs: tuple[NDArray[np.int64], ...]
    trained: tuple[NDArray[np.bool_], ...]

    @property
    def fresh(self) -> NDArray[np.bool_]:
        """Which pictures no training had."""
        if not self.trained:
            return np.ones(self.pictures, bool)
        return np.asarray(~np.any(self.trained, axis=0))


def match(pictures: Dataset, datasets: Sequence[Dataset]) -> Matched:
    """Find pictures in the datasets of trainings.

    A picture is the same if what is in its file is (by digest); where one does not know that, if its
    file is (by place).
    """
    looked = _Index(pictures)
    theirs, trained = [], []
    for dataset in datasets:
        index, training = _Index(dataset), dataset.where(TRAIN)
        held = np.setdiff1d(np.arange(len(dataset)), training)
        theirs.append(index.find(looked, held))
        trained.append(index.find(looked, training) >= 0)
    return Matched(len(pictures), tuple(theirs), tuple(trained))


def _places(dataset: Dataset) -> list[Any]:
    """Return what names the bytes of each picture anywhere: a file, or a record of a shard."""
    table = dataset.table
    if "example" in table.column_names:
        return [("example", path) for path in dataset.paths]
    root = absolute(str(dataset.root)) if str(dataset.root) else absolute(".")
    if "shard" in table.column_names:
        shards = {name: join(root, name) for name in table["shard"].unique().to_pylist()}
        columns = table["shard"].to_pylist(), table["offset"].to_pylist()
        return [(shards[name], offset) for name, offset in zip(*columns, strict=True)]
    return [join(root, path) for path in dataset.paths]


@dataclasses.dataclass(frozen=True)
class CommonTask:
    """What several models can all be asked.

    Attributes:
        task: with the classes that all know, in the order of the first model.
        names: of the task in each model.
        columns: for each model, which of its logits those classes have.
        lacking: for each model, the classes of others that it lacks.
    """

    task: Task
    names: tuple[str, ...]
    columns: tuple[NDArray[np.int64], ...]
    lacking: tuple[tuple[str, ...], ...]


def common_tasks(all_tasks: Sequence[tuple[Task, ...]], names: Sequence[str]) -> list[CommonTask]:
    """Return the tasks that all models have, of one name and kind; single ones may have different names.

    Args:
        all_tasks: of each model.
        names: of the models, for the message.

    Raises:
        DataError: they have no task in common, or only one class of it.
    """
    result = []
    alone = all(len(tasks) == 1 for tasks in all_tasks)
    for task in all_tasks[0]:
        same = [next((t for t in tasks if _is_same(t, task, alone)), None) for tasks in all_tasks]
        there = [t for t in same if t is not None]
        if len(there) < len(same):
            continue
        shared = [c for c in task.classes if all(c in t.classes for t in there)]
        if len(shared) < (1 if task.multi_label else 2):
            continue
        every = dict.fromkeys(c for t in there for c in t.classes)
        columns = tuple(np.array([t.classes.index(c) for c in shared]) for t in there)
        lacking = tuple(tuple(c for c in every if c not in t.classes) for t in there)
        common = Task(task.name, tuple(shared), task.multi_label)
        result.append(CommonTask(common, tuple(t.name for t in there), columns, lacking))
    if not result:
        told = "; ".join(
            f"{name} tells {listing([c for t in tasks for c in t.classes])}"
            for name, tasks in zip(names, all_tasks, strict=True)
        )
        raise DataError(
            f"These models do not answer the same question, so they cannot be compared: {told}."
        )
    return result


def _is_same(one: Task, other: Task, alone: bool) -> bool:
    return (alone or one.name == other.name) and one.multi_label == other.multi_label


def with_common_classes(dataset: Dataset, tasks: Sequence[CommonTask], model: int) -> Dataset:
    """Return a dataset of a model with the common tasks: what is of another class has no label.

    Args:
        dataset: with the tasks of the model.
        tasks: the common ones.
        model: which of the models it is.
    """
    for common in tasks:
        task, columns = common.task, common.columns[model]
        own = next(t for t in dataset.tasks if t.name == common.names[model])
        labels = dataset.labels(own)
        if task.multi_label:
            marks = labels[:, columns]
            column = pa.array([np.flatnonzero(row) for row in marks], pa.list_(pa.int32()))
        else:
            places = np.full(len(own.classes) + 1, -1, np.int32)
            places[columns] = np.arange(len(columns))
            found = places[labels]  # that of -1 is the last, -1
            column = pa.array(found, pa.int32(), mask=found < 0)
        dataset = dataset.with_column(task.name, column)
    return dataclasses.replace(dataset, tasks=tuple(common.task for common in tasks))
