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
import re
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
from hornbeam.data.tables.folders import SPLIT_NAMES, UNSPLIT
from hornbeam.data.tables.labels import Rows, task_name
from hornbeam.data.tables.numbers import require_distinct, to_numbers
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError, did_you_mean, listing

IMAGE_COLUMNS = (
    "path",
    "image",
    "image_path",
    "filepath",
    "file",
    "filename",
    "file_name",
    "image_file",
)
"""Names by which a column of pictures is known, where `--image-column` does not name one."""

LABEL_COLUMNS = (
    "label",
    "labels",
    "class",
    "class_name",
    "classname",
    "category",
    "target",
    "tags",
)

SPLIT_COLUMN, GROUP_COLUMN = "split", "group"


@dataclasses.dataclass(frozen=True)
class Table:
    """The cells of a manifest.

    Attributes:
        name: of the file, for messages.
        columns: strings, or lists of strings, by their name.
        line: returns what a message calls row `i`: `line 5`, `record 5`.
    """

    name: str
    columns: dict[str, Any]
    line: Callable[[int], str]

    def where(self, row: int, column: str) -> str:
        """Say where a cell is."""
        return f"{self.name}, {self.line(row)}, column '{column}'"


_PARSERS: dict[str, Callable[..., tuple[dict[str, Any], Callable[[int], str]]]] = {
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
    image = _choose(
        table, options.image_column, IMAGE_COLUMNS, "--image-column", "the pictures' paths"
    )
    split = _optional(table, options.split_column, SPLIT_COLUMN, "--split-column")
    group = _optional(table, options.group_column, GROUP_COLUMN, "--group-column")
    if tasks is not None:
        _require_features(table, options.feature_columns)
    numbers = [
        _choose(table, name, (), "--feature-columns", "") for name in options.feature_columns
    ]
    labels = _label_columns(table, options, tasks, taken={image, split, group, *numbers})
    require_distinct(numbers, labels)
    if not len(table.columns[image]):
        raise DataError(f"{location} has no rows; expected one for each picture.")
    root: Path | str = parent(location) if is_remote(location) else Path(location).parent
    paths = _paths(table, image, root, options.allow_outside)
    columns = {"path": paths, "split": _splits(table, split)}
    if group:
        columns["group"] = _scalars(table, group)
    columns |= _features(table, numbers)
    separators = _separators(table, options.label_separator, labels, tasks)
    values = {name: _labels(table, name, separators[name]) for name in labels}
    return _without_repetitions(Rows(root, columns, values, table.where), image)


def read_unlabelled(
    location: str, image_column: str | None, features: Sequence[str], allow_outside: bool
) -> tuple[Path | str, dict[str, Any]]:
    """Return what the paths of a manifest are relative to, and its columns but for labels.

    All rows, in their order, repetitions too: a picture may be asked about with several numbers.

    Args:
        location: a path, or a remote address.
        image_column: of the paths; else one with a usual name.
        features: columns of numbers.
        allow_outside: whether it may name files outside its own folder.

    Raises:
        ConfigError, DataError: see `read_manifest`.
    """
    table = _read(location)
    image = _choose(table, image_column, IMAGE_COLUMNS, "--image-column", "the pictures' paths")
    _require_features(table, features)
    if not len(table.columns[image]):
        raise DataError(f"{location} has no rows; expected one for each picture.")
    root: Path | str = parent(location) if is_remote(location) else Path(location).parent
    columns = {"path": _paths(table, image, root, allow_outside), "split": _splits(table, None)}
    return root, columns | _features(table, features)


def read_places(location: str) -> tuple[Path | str, list[str], list[str]]:
    """Return what the paths of a manifest are relative to, the paths, and their splits; no labels.

    Raises:
        ConfigError, DataError: see `read_manifest`.
    """
    table = _read(location)
    image = _choose(table, None, IMAGE_COLUMNS, "--image-column", "the pictures' paths")
    split = _optional(table, None, SPLIT_COLUMN, "--split-column")
    root: Path | str = parent(location) if is_remote(location) else Path(location).parent
    paths = _paths(table, image, root, allow_outside=True)
    return root, paths.to_pylist(), _splits(table, split).to_pylist()


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


def _choose(table: Table, wanted: str | None, usual: Sequence[str], option: str, what: str) -> str:
    """Return the column of the pictures: the named one, or the first with a usual name."""
    names = list(table.columns)
    if wanted is not None:
        if wanted not in names:
            raise ConfigError(
                f"{option} {wanted}: {table.name} has no such column; it has {listing(names)}."
                + did_you_mean(wanted, names)
            )
        return wanted
    lower = {name.strip().lower(): name for name in reversed(names)}
    for name in usual:
        if name in lower:
            return lower[name]
    raise ConfigError(
        f"{table.name}: which column has {what}? It has {listing(names)}; say with {option}."
    )


def _optional(table: Table, wanted: str | None, usual: str, option: str) -> str | None:
    if wanted is not None:
        return _choose(table, wanted, (), option, "")
    return next((name for name in table.columns if name.strip().lower() == usual), None)


def _label_columns(
    table: Table, options: TableOptions, tasks: tuple[Task, ...] | None, taken: set[str | None]
) -> list[str]:
    if options.label_columns:
        repeated = {name for name in options.label_columns if options.label_columns.count(name) > 1}
        if repeated:
            raise ConfigError(f"--label-columns names {listing(sorted(repeated))} twice.")
        return [_choose(table, name, (), "--label-columns", "") for name in options.label_columns]
    named = {task_name(name): name for name in table.columns if name not in taken}
    if tasks and all(task.name in named for task in tasks):
        return [named[task.name] for task in tasks]
    if tasks and len(tasks) > 1:
        missing = [task.name for task in tasks if task.name not in named]
        raise ConfigError(
            f"{table.name} has no column {listing(missing)}, which the model tells; it has "
            f"{listing(table.columns)}."
        )
    lower = {name.strip().lower(): name for name in reversed(table.columns)}
    for name in LABEL_COLUMNS:
        if name in lower and lower[name] not in taken:
            return [lower[name]]
    others = [name for name in table.columns if name not in taken]
    if len(others) == 1:
        return others
    return [_choose(table, None, (), "--label-columns", "the labels")]


def _require_features(table: Table, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ConfigError(
            f"{table.name} has no column {listing(missing)}, which the model takes beside the picture; "
            f"it has {listing(table.columns)}.{did_you_mean(missing[0], table.columns)}"
        )


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


def _paths(table: Table, name: str, root: Path | str, allow_outside: bool) -> Any:
    """Return the column of paths, with `/`, those inside the folder relative to it."""
    column = pc.fill_null(_scalars(table, name), "")
    row = pc.index(pc.equal(pc.utf8_trim_whitespace(column), ""), True).as_py()
    if row >= 0:
        raise DataError(f"{table.where(row, name)}: the path is empty.")
    # Only unusual paths are looked at one by one: there may be millions of the others.
    unusual = pc.match_substring_regex(
        column, r"^/|\\|^[A-Za-z][A-Za-z0-9+.-]*:|(^|/)\.{1,2}(/|$)|//|[\x00-\x1f]"
    )
    rows = (
        [i for i, odd in enumerate(unusual.to_pylist()) if odd] if pc.any(unusual).as_py() else []
    )
    if not rows:
        return column
    values = column.to_pylist()
    for row in rows:
        values[row] = _inside(
            values[row], root, allow_outside, functools.partial(table.where, row, name)
        )
    return pa.array(values, pa.string())


def _inside(path: str, root: Path | str, allow_outside: bool, where: Callable[[], str]) -> str:
    """Return a path relative to `root`; refuse one that leaves it, unless that is allowed."""
    if re.search(r"[\x00-\x1f]", path):
        raise DataError(f"{where()}: the path {path!r} has a control character.")
    if is_remote(path):
        prefix = f"{str(root).rstrip('/')}/"
        if is_remote(root) and path.startswith(prefix) and ".." not in path.split("/"):
            return path.removeprefix(prefix)
        if allow_outside:
            return path
        raise DataError(_leaves(path, root, where))
    if "\\" in path and (is_remote(root) or not os.path.lexists(os.path.join(root, path))):
        path = path.replace("\\", "/")  # written on Windows
    if is_remote(root):
        plain = os.path.normpath(path)
        if plain.startswith(("..", "/")):
            if allow_outside and not plain.startswith("/"):
                return path
            raise DataError(_leaves(path, root, where))
        return plain
    whole = os.path.normpath(os.path.join(os.path.abspath(root), path))
    relative = os.path.relpath(whole, os.path.abspath(root))
    if relative == ".." or relative.startswith("../"):
        if allow_outside:
            return whole
        raise DataError(_leaves(path, root, where))
    return relative


def _leaves(path: str, root: Path | str, where: Callable[[], str]) -> str:
    return (
        f"{where()}: '{path}' is outside the manifest's folder {root}; pass --allow-outside if you "
        "trust the manifest."
    )


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
