"""From the names that a source gives to the classes and indices that a network is trained with."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hornbeam.config import TableOptions
from hornbeam.data.dataset import COLUMNS, Dataset, Files, Reader, lists_like
from hornbeam.data.tasks import Task
from hornbeam.data.walking import natural_key
from hornbeam.errors import ConfigError, DataError, did_you_mean, listing

BACKGROUND = "background"
"""The class that `--background-class` puts before all others."""

_LONGEST_NAME = 1000
"""Characters of a class name; what is longer was not meant as one."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a source says, before classes are known.

    Attributes:
        root: what the paths are relative to.
        columns: Arrow arrays by name: `path`, `split` and what else `Dataset.table` may have.
        labels: for each task the class name of every row (string array), or its names (list array of
            strings) where a picture may have any number.
        where: says where row `i` of a column stands: `m.csv, line 5, column 'label'`.
        classes: the order of a task's classes, where the source itself fixes it.
        reader: gets the bytes.
    """

    root: Path | str
    columns: dict[str, Any]
    labels: dict[str, Any]
    where: Callable[[int, str], str]
    classes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    reader: Reader = dataclasses.field(default_factory=Files)


def to_dataset(rows: Rows, options: TableOptions, tasks: tuple[Task, ...] | None = None) -> Dataset:
    """Make the dataset of what a source says.

    With several tasks a picture may lack the label of some, and then does not count for those.

    Args:
        rows: of the source.
        options: labels file, background class, expected number of classes.
        tasks: of a model, where there is one: they fix classes and order.

    Raises:
        ConfigError: the options do not fit the labels.
        DataError: a label is missing, or is none of the classes; the message says where.
    """
    names = _task_names(rows, tasks)
    labels: dict[Task, Any] = {}
    for column, name in names.items():
        values = rows.labels[column]
        known = next((task for task in tasks or () if task.name == name), None)
        multi_label = pa.types.is_list(values.type) or bool(known and known.multi_label)
        if multi_label and not pa.types.is_list(values.type):
            values = _one_each(values)
        elif known and not known.multi_label and multi_label:
            multi_label, values = False, _only_ones(rows, column, values)
        flat = values.flatten() if multi_label else values
        where = _finder(rows, column, values)
        if len(names) > 1 and not multi_label:
            flat = _null_where_empty(flat)
        else:
            _refuse_empty(flat, where)
        _refuse_long(flat, where)
        classes, flat = _classes_of(flat, rows.classes.get(column), options, known)
        indices = pc.index_in(flat, value_set=pa.array(classes, pa.string())).cast(pa.int32())
        if indices.null_count > flat.null_count:
            _refuse_unknown(flat, indices, classes, options, known, where)
        place = f"{rows.root}, column '{column}'," if len(names) > 1 else f"{rows.root}"
        _check_count(classes, options, known, multi_label, place)
        if multi_label:
            indices = lists_like(values, indices)
        labels[Task(name, classes, multi_label)] = indices
    _refuse_unlabelled(rows, labels)
    dataset = Dataset.from_columns(
        rows.root, rows.columns["path"], rows.columns["split"], labels,
        **{name: column for name, column in rows.columns.items() if name not in ("path", "split")},
    )  # fmt: skip
    return dataclasses.replace(dataset, reader=rows.reader, max_pixels=options.max_pixels)


def from_dataset(dataset: Dataset) -> Rows:
    """Return the rows of a dataset, with names in place of indices, to fit them to another model."""
    labels = {task.name: dataset.label_names(task) for task in dataset.tasks}
    columns = {
        name: dataset.table[name].combine_chunks()
        for name in dataset.table.column_names
        if name not in labels
    }

    def where(row: int, column: str) -> str:
        return dataset.name(row)

    classes = {task.name: task.classes for task in dataset.tasks}
    return Rows(dataset.root, columns, labels, where, classes, dataset.reader)


def read_labels_file(path: Path) -> tuple[str, ...]:
    """Return the class names of a labels file: one a line; slim's `0:daisy` is understood.

    Raises:
        ConfigError: it cannot be read, is empty, or names a class twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"--labels-file {path}: it cannot be read ({reason}).") from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [re.fullmatch(r"(\d+):(.+)", line) for line in lines]
    if lines and all(m and int(m[1]) == i for i, m in enumerate(numbered)):
        lines = [m[2].strip() for m in numbered if m]
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise ConfigError(f"--labels-file {path}, line {number}: the line is empty.")
        if line in seen:
            raise ConfigError(
                f"--labels-file {path}, line {number}: '{line}' stands in line {seen[line]} already."
            )
        seen[line] = number
    if not lines:
        raise ConfigError(f"--labels-file {path}: it is empty; expected a class name in each line.")
    return tuple(lines)


def _task_names(rows: Rows, tasks: tuple[Task, ...] | None) -> dict[str, str]:
    """Return which task each label column is: of the model's, by name, or by place if it is one."""
    named: dict[str, str] = {}
    for column in rows.labels:
        other = named.setdefault(task_name(column), column)
        if other != column:
            raise DataError(
                f"{rows.root}: the labels '{other}' and '{column}' would both be the task "
                f"'{task_name(column)}'; rename one of them."
            )
    if tasks is None:
        return {column: name for name, column in named.items()}
    if len(tasks) == 1 and len(named) == 1:
        return {next(iter(rows.labels)): tasks[0].name}
    missing = [task.name for task in tasks if task.name not in named]
    if missing:
        raise DataError(
            f"{rows.root} has no labels of {listing(missing)}, which the model tells; it has "
            f"{listing(rows.labels) or 'none'}."
        )
    return {named[task.name]: task.name for task in tasks}


def task_name(column: str) -> str:
    """Return a task's name made of a column's: ASCII letters, digits and `_`; none of our own columns.

    Layers are called by it, and TensorFlow takes no other letters there; accents are dropped.
    """
    letters = (c for c in unicodedata.normalize("NFKD", column) if not unicodedata.combining(c))
    name = re.sub(r"\W+", "_", "".join(letters), flags=re.ASCII).strip("_") or "label"
    return f"{name}_label" if name in COLUMNS else name


def _one_each(values: Any) -> Any:
    return pa.ListArray.from_arrays(pa.array(range(len(values) + 1), pa.int32()), values)


def _only_ones(rows: Rows, column: str, values: Any) -> Any:
    """Return lists of one label each as those labels; the model tells one of each picture."""
    counts = pc.fill_null(pc.list_value_length(values), 0)
    row = pc.index(pc.not_equal(counts, 1), True).as_py()
    if row >= 0:
        found = counts[row].as_py() or "no"
        raise DataError(
            f"{rows.where(row, column)}: expected one label, as the model tells one of each picture; "
            f"found {found}."
        )
    return values.flatten()


def _finder(rows: Rows, column: str, values: Any) -> Callable[[int], str]:
    """Return a function that says where the i-th of the flat labels stands."""

    def where(index: int) -> str:
        if pa.types.is_list(values.type):
            index = pc.list_parent_indices(values)[index].as_py()
        return rows.where(index, column)

    return where


def _refuse_empty(flat: Any, where: Callable[[int], str]) -> None:
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(flat), ""), True)
    row = pc.index(empty, True).as_py()
    if row >= 0:
        others = more_rows(pc.sum(empty).as_py() - 1)
        raise DataError(f"{where(row)}: the label is empty; give one, or take the row out.{others}")


def more_rows(count: int) -> str:
    """Say how many more rows lack the same as the one that was named; nothing for none."""
    if not count:
        return ""
    return f" ({count} more {'row has' if count == 1 else 'rows have'} none.)"


def _null_where_empty(flat: Any) -> Any:
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(flat), ""), True)
    return pc.if_else(empty, pa.scalar(None, pa.string()), flat) if pc.any(empty).as_py() else flat


def _refuse_unlabelled(rows: Rows, labels: dict[Task, Any]) -> None:
    """Refuse a row that has a label of no task."""
    if any(task.multi_label for task in labels) or not all(i.null_count for i in labels.values()):
        return
    none = np.logical_and.reduce([i.is_null().to_numpy(False) for i in labels.values()])
    if none.any():
        row = int(none.argmax())
        others = more_rows(int(none.sum()) - 1)
        columns = listing(rows.labels)
        place = rows.where(row, next(iter(rows.labels)))
        raise DataError(
            f"{place}: the row has a label in none of {columns}; give one, or take the row out.{others}"
        )


def _refuse_long(flat: Any, where: Callable[[int], str]) -> None:
    lengths = pc.utf8_length(flat)
    longest = pc.max(lengths).as_py() or 0
    if longest > _LONGEST_NAME:
        row = pc.index(lengths, longest).as_py()
        raise DataError(
            f"{where(row)}: the label has {longest} characters (it begins with "
            f"{flat[row].as_py()[:30]!r}); is this the right column, or a quote missing?"
        )


def _classes_of(
    flat: Any, order: tuple[str, ...] | None, options: TableOptions, known: Task | None
) -> tuple[tuple[str, ...], Any]:
    """Return the classes in their order, and the labels as their names."""
    if known is not None:
        return known.classes, flat
    if options.labels_file is not None:
        names = read_labels_file(options.labels_file)
        flat = _names_of_numbers(flat, names)
    else:
        found = pc.unique(flat.drop_null()).to_pylist()
        names = order or tuple(sorted(found, key=natural_key))
    if options.background_class and BACKGROUND not in names:
        names = (BACKGROUND, *names)
    return names, flat


def _names_of_numbers(flat: Any, names: tuple[str, ...]) -> Any:
    """Take labels for places in the labels file where all are numbers and none is a name there."""
    distinct = pc.unique(flat.drop_null()).to_pylist()
    if not all(label.isdecimal() for label in distinct) or set(distinct) & set(names):
        return flat
    if not all(int(label) < len(names) for label in distinct):
        return flat
    meant = pa.array([names[int(label)] for label in distinct], pa.string())
    return meant.take(pc.index_in(flat, value_set=pa.array(distinct, pa.string())))


def _refuse_unknown(
    flat: Any, indices: Any, classes: tuple[str, ...], options: TableOptions, known: Task | None,
    where: Callable[[int], str],
) -> None:  # fmt: skip
    row = pc.index(pc.and_(pc.is_null(indices), pc.is_valid(flat)), True).as_py()
    label = flat[row].as_py()
    if known is not None:
        several = " If these are several, give --label-separator." if known.multi_label else ""
        raise DataError(
            f"{where(row)}: a class '{label}' that the model does not know; it knows "
            f"{listing(classes)}.{did_you_mean(label, classes)}{several}"
        )
    file = f"--labels-file {options.labels_file}" if options.labels_file else "the list of classes"
    raise DataError(f"{where(row)}: '{label}' is not in {file}.{did_you_mean(label, classes)}")


def _check_count(
    classes: tuple[str, ...],
    options: TableOptions,
    known: Task | None,
    multi_label: bool,
    place: str,
) -> None:
    if options.num_classes is not None and options.num_classes != len(classes):
        raise ConfigError(
            f"--num-classes is {options.num_classes}, but {place} has {len(classes)} classes: "
            f"{listing(classes)}."
        )
    if len(classes) < 2 and not multi_label and known is None:
        found = f"one class, '{classes[0]}'" if classes else "no classes"
        deeper = f" If the folders in it are the classes: {place}/{classes[0]}." if (
            classes and _has_folders(Path(place, classes[0]))
        ) else ""  # fmt: skip
        raise DataError(f"{place} has {found}; a classifier needs at least two.{deeper}")


def _has_folders(path: Path) -> bool:
    """Whether a folder has two folders at least, as one of classes has."""
    try:
        return sum(entry.is_dir() and entry.name[0] != "." for entry in path.iterdir()) > 1
    except OSError:
        return False
