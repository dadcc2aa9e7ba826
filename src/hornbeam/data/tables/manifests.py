"""Tables that name pictures and their labels: CSV, JSON, Parquet, text lists.

.csv .tsv              a header, then a row a picture; `,`, `;` or a tab between the cells
.json                  a list of records, or an object `{path: label}`
.jsonl .ndjson         a record a line
.parquet               any columns
.txt .lst .list        `path label` a line
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hornbeam import console
from hornbeam.config import TableOptions
from hornbeam.data.dataset import FEATURE
from hornbeam.data.remote import is_remote, parent, read_bytes
from hornbeam.data.tables import parsing
from hornbeam.data.tables.columns import (
    Table,
    group_column,
    image_column,
    label_columns,
    number_columns,
    require_numbers,
    split_column,
)
from hornbeam.data.tables.folders import SPLIT_NAMES, UNSPLIT
from hornbeam.data.tables.labels import Rows, task_name
from hornbeam.data.tables.numbers import require_distinct, to_numbers
from hornbeam.data.tables.paths import relative_paths
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError, did_you_mean

_PARSERS: dict[str, Callable[[bytes, str], parsing.Parsed]] = {
    ".csv": parsing.parse_csv,
    ".tsv": parsing.parse_csv,
    ".json": parsing.parse_json,
    ".jsonl": parsing.parse_json_lines,
    ".ndjson": parsing.parse_json_lines,
    ".parquet": parsing.parse_parquet,
    ".txt": parsing.parse_text,
    ".lst": parsing.parse_text,
    ".list": parsing.parse_text,
}


def is_manifest(location: str) -> bool:
    """Whether a location is a manifest, by its ending."""
    return os.path.splitext(location)[1].lower() in _PARSERS


def read_manifest(
    location: str, options: TableOptions, tasks: tuple[Task, ...] | None = None
) -> Rows:
    """Read a manifest. Paths in it are relative to its own folder.

    Args:
        location: a path, or a remote address.
        options: which columns are what.
        tasks: what a model can tell; columns of these names have the labels, unless options say.

    Raises:
        ConfigError: a column is not there, or it cannot be told which is meant.
        DataError: the file cannot be parsed, or a cell is not what it should be; the message names
            file, line and column.
    """
    table = _read(location)
    image = image_column(table, options.image_column)
    split = split_column(table, options.split_column)
    group = group_column(table, options.group_column)
    numbers = number_columns(table, options, has_model=tasks is not None)
    labels = label_columns(table, options.label_columns, tasks, {image, split, group, *numbers})
    require_distinct(numbers, labels)
    _require_rows(table)
    root = _root(location)
    paths = _paths(table, image, root, options.allow_outside)
    columns = {"path": paths, "split": _splits(table, split)}
    if group:
        columns["group"] = _scalars(table, group)
    columns |= _features(table, numbers)
    separators = _separators(table, options.label_separator, labels, tasks)
    values = {name: _labels(table, name, separators[name]) for name in labels}
    return _without_repetitions(Rows(root, columns, values, table.where), image)


def read_unlabelled(
    location: str, path_column: str | None, features: Sequence[str], allow_outside: bool
) -> tuple[Path | str, dict[str, Any]]:
    """Return what the paths of a manifest are relative to, and its columns but for labels.

    All rows, in their order, repetitions too: a picture may be asked about with several numbers.

    Args:
        location: a path, or a remote address.
        path_column: of the pictures; else one with a usual name.
        features: columns of numbers.
        allow_outside: whether it may name files outside its own folder.

    Raises:
        ConfigError, DataError: see `read_manifest`.
    """
    table = _read(location)
    image = image_column(table, path_column)
    require_numbers(table, features)
    _require_rows(table)
    root = _root(location)
    columns = {"path": _paths(table, image, root, allow_outside), "split": _splits(table, None)}
    return root, columns | _features(table, features)


def read_places(location: str) -> tuple[Path | str, list[str], list[str]]:
    """Return what the paths of a manifest are relative to, the paths, and their splits; no labels.

    Raises:
        ConfigError, DataError: see `read_manifest`.
    """
    table = _read(location)
    root = _root(location)
    paths = _paths(table, image_column(table, None), root, allow_outside=True)
    return root, paths.to_pylist(), _splits(table, split_column(table, None)).to_pylist()


def _read(location: str) -> Table:
    suffix = os.path.splitext(location)[1].lower()
    if not is_remote(location) and not Path(location).is_file():
        folder = Path(location).parent
        near = [p.name for p in folder.iterdir()] if folder.is_dir() else []
        raise ConfigError(
            f"The manifest {location} does not exist.{did_you_mean(Path(location).name, near)}"
        )
    content = read_bytes(location, cached=False)  # a remote one may have changed since
    if suffix != ".parquet":
        content = parsing.require_utf8(content, location)
    columns, line = _PARSERS[suffix](content, location)
    return Table(location, columns, line)


def _root(location: str) -> Path | str:
    """Return what the paths in a manifest are relative to."""
    return parent(location) if is_remote(location) else Path(location).parent


def _require_rows(table: Table) -> None:
    if not len(next(iter(table.columns.values()))):
        raise DataError(f"{table.name} has no rows; expected one for each picture.")


def _paths(table: Table, name: str, root: Path | str, allow_outside: bool) -> Any:
    column = pc.fill_null(_scalars(table, name), "")
    return relative_paths(column, root, allow_outside, functools.partial(table.where, column=name))


def _features(table: Table, names: Sequence[str]) -> dict[str, Any]:
    """Return columns of numbers, under the names that they have in a dataset."""
    return {
        FEATURE + name: to_numbers(table.columns[name], functools.partial(table.where, column=name))
        for name in names
    }


def _scalars(table: Table, name: str) -> Any:
    column = table.columns[name]
    if pa.types.is_list(column.type):
        raise DataError(f"{table.where(0, name)}: expected one value, found a list.")
    return column


def _splits(table: Table, name: str | None) -> Any:
    """Return the split of every row in our names; an empty cell is `UNSPLIT`."""
    if name is None:
        count = len(next(iter(table.columns.values())))
        return pa.repeat(pa.scalar(UNSPLIT, pa.string()), count)
    column = pc.utf8_lower(pc.utf8_trim_whitespace(pc.fill_null(_scalars(table, name), UNSPLIT)))
    ours = pc.index_in(column, value_set=pa.array([UNSPLIT, *SPLIT_NAMES], pa.string()))
    row = pc.index(pc.is_null(ours), True).as_py()
    if row >= 0:
        word = column[row].as_py()
        raise DataError(
            f"{table.where(row, name)}: '{word}' is no split; expected train, validation or test."
            + did_you_mean(word, SPLIT_NAMES)
        )
    return pa.array([UNSPLIT, *SPLIT_NAMES.values()], pa.string()).take(ours)


def _separators(
    table: Table, separator: str | None, labels: list[str], tasks: tuple[Task, ...] | None
) -> dict[str, str | None]:
    """Return what separates the labels in the cells of each column; `None` where a cell is one.

    Of several columns only those are multi-label that have a cell with several labels, or with none.
    """
    known = {task.name: task.multi_label for task in tasks or ()}
    result: dict[str, str | None] = {}
    for name in labels:
        divided = known.get(task_name(name), len(labels) == 1)
        column = table.columns[name]
        if (
            separator
            and not divided
            and task_name(name) not in known
            and pa.types.is_string(column.type)
        ):
            cells = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
            several = pc.or_(pc.match_substring(cells, separator), pc.equal(cells, ""))
            divided = bool(pc.any(several).as_py())
        result[name] = separator if divided else None
    return result


def _labels(table: Table, name: str, separator: str | None) -> Any:
    """Return the labels of a column: strings, or lists of them."""
    column = table.columns[name]
    if pa.types.is_list(column.type):
        return pc.fill_null(column, pa.scalar([], column.type)) if column.null_count else column
    column = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    if separator is None:
        return column
    lists = pc.split_pattern(column, separator)
    flat = pc.utf8_trim_whitespace(lists.flatten())
    kept = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)
    parents = pc.list_parent_indices(lists).to_numpy()[kept]
    offsets = np.concatenate([[0], np.bincount(parents, minlength=len(column)).cumsum()])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat.filter(pa.array(kept)))


def _without_repetitions(rows: Rows, image: str) -> Rows:
    """Leave out rows that repeat an earlier one; refuse those that contradict one."""
    paths = rows.columns["path"]
    if pc.count_distinct(paths).as_py() == len(paths):
        return rows
    first: dict[str, int] = {}
    kept, repeated = [], 0
    others = [*rows.columns.values(), *rows.labels.values()]
    for row, path in enumerate(paths.to_pylist()):
        earlier = first.setdefault(path, row)
        if earlier == row:
            kept.append(row)
            continue
        if any(column[row].as_py() != column[earlier].as_py() for column in others):
            raise DataError(
                f"{rows.where(row, image)}: '{path}' stands already in {rows.where(earlier, image)}, "
                "with another label, split or number; for several labels give a list, or use "
                "--label-separator."
            )
        repeated += 1
    count = "1 row repeats" if repeated == 1 else f"{repeated} rows repeat"
    console.warn(f"{count} an earlier one to the letter and will be left out.")
    indices = pa.array(kept, pa.int64())

    def where(row: int, column: str) -> str:
        return rows.where(kept[row], column)

    return dataclasses.replace(
        rows,
        columns={name: column.take(indices) for name, column in rows.columns.items()},
        labels={name: column.take(indices) for name, column in rows.labels.items()},
        where=where,
    )
