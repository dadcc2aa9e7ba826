"""A dataset written as a manifest that `manifests.py` reads back."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.data.dataset import FEATURE, SPLITS, Dataset
from hornbeam.data.remote import absolute, is_remote, join
from hornbeam.data.tables.manifests import read_places
from hornbeam.errors import ConfigError
from hornbeam.storage import write_table, write_text

_SEPARATORS = "|;,/ "


def write_manifest(dataset: Dataset, path: Path) -> list[str]:
    """Write paths, labels, numbers, splits and groups to a `.csv`, `.json`, `.jsonl` or `.parquet` file.

    Paths are relative to the manifest where the pictures lie below its folder, and whole elsewhere.

    Returns:
        What `hornbeam train` must be told to read it back: options with their values.

    Raises:
        ConfigError: the pictures are records of shards, or items of a user's reader; or names of
            columns or classes leave no way to write them.
    """
    if {"shard", "example"} & set(dataset.table.column_names):
        raise ConfigError(
            f"The pictures of {dataset.root} are no files of their own, which a manifest could name; "
            "split the pictures that they were made of."
        )
    others = {"path", "split", "group", *(task.name for task in dataset.tasks)}
    clashing = [name for name in dataset.features if name in others]
    if clashing:
        raise ConfigError(
            f"A manifest has a column '{clashing[0]}' of its own; give the numbers of that name another."
        )
    folder = path.absolute().parent
    places = [_relative(place, folder) for place in _locations(dataset)]
    needed = ["--allow-outside"] if any(map(_is_outside, places)) else []
    columns: dict[str, Any] = {"path": pa.array(places, pa.string())}
    separator = ""
    if path.suffix == ".csv" and any(task.multi_label for task in dataset.tasks):
        separator = _free_separator(dataset, path)
    for task in dataset.tasks:
        column = dataset.label_names(task)
        if separator and task.multi_label:
            column = pa.array([separator.join(names) for names in column.to_pylist()], pa.string())
        columns[task.name] = column
    if separator:
        needed.append(f"--label-separator '{separator}'")
    if len(dataset.tasks) > 1:
        needed.append(f"--label-columns {','.join(task.name for task in dataset.tasks)}")
    for name in dataset.features:
        columns[name] = dataset.table[FEATURE + name]
    if dataset.features:
        needed.append(f"--feature-columns {shlex.quote(','.join(dataset.features))}")
    columns["split"] = dataset.table["split"]
    if "group" in dataset.table.column_names:
        columns["group"] = dataset.table["group"]
    _write(pa.table(columns), path)
    return needed


def earlier_sides(dataset: Dataset, previous: Path) -> NDArray[np.int64]:
    """Return on which side of an earlier manifest each picture is: 0, 1, 2, or -1 for new ones.

    Raises:
        ConfigError, DataError: it cannot be read.
    """
    root, places, names = read_places(str(previous))
    sides = {name: side for side, name in enumerate(SPLITS)}
    known = {
        absolute(join(root, place)): sides.get(split, -1)
        for place, split in zip(places, names, strict=True)
    }
    found = [known.get(absolute(place), -1) for place in _locations(dataset)]
    return np.asarray(found, np.int64)


def _free_separator(dataset: Dataset, path: Path) -> str:
    """Return what stands in no class of any task: one separator divides the cells of all columns."""
    classes = [name for task in dataset.tasks for name in task.classes]
    for separator in _SEPARATORS:
        if not any(separator in name for name in classes):
            return separator
    raise ConfigError(
        f"{path}: each of {' '.join(_SEPARATORS.strip())} and the blank is in some class, so that "
        "nothing is left to separate labels by in a cell of CSV; write .json, .jsonl or .parquet."
    )


def _locations(dataset: Dataset) -> list[str]:
    return [join(dataset.root, place) for place in dataset.paths]


def _relative(place: str, folder: Path) -> str:
    if is_remote(place):
        return place
    relative = os.path.relpath(place, folder)
    return os.path.abspath(place) if relative.startswith("../") else relative


def _is_outside(place: str) -> bool:
    return is_remote(place) or os.path.isabs(place)


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix in (".json", ".jsonl"):
        lines = [json.dumps(row, ensure_ascii=False) for row in table.to_pylist()]
        if path.suffix == ".json":
            write_text(path, "[\n" + ",\n".join(lines) + "\n]\n")
        else:
            write_text(path, "".join(f"{line}\n" for line in lines))
        return
    write_table(path, table)
