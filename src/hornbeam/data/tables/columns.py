"""Which column of a manifest is what: the one that an option names, or the first with a usual name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hornbeam.config import TableOptions
from hornbeam.data.tables.labels import task_name
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, did_you_mean, listing

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


def image_column(table: Table, wanted: str | None) -> str:
    """Return the column of the pictures' paths.

    Raises:
        ConfigError: it is not there, or none has a usual name.
    """
    return _choose(table, wanted, IMAGE_COLUMNS, "--image-column", "the pictures' paths")


def split_column(table: Table, wanted: str | None) -> str | None:
    """Return the column of splits; `None` where there is none and none is wanted.

    Raises:
        ConfigError: the wanted one is not there.
    """
    return _optional(table, wanted, SPLIT_COLUMN, "--split-column")


def group_column(table: Table, wanted: str | None) -> str | None:
    """Return the column of what belongs together; see `split_column`."""
    return _optional(table, wanted, GROUP_COLUMN, "--group-column")


def number_columns(table: Table, options: TableOptions, has_model: bool) -> list[str]:
    """Return the columns of numbers beside the pictures: those that the options name.

    Args:
        table: of the manifest.
        options: for a model they name what it takes.
        has_model: whether there is one.

    Raises:
        ConfigError: one is not there.
    """
    if has_model:
        require_numbers(table, options.feature_columns)
    return [_named(table, name, "--feature-columns") for name in options.feature_columns]


def require_numbers(table: Table, names: Sequence[str]) -> None:
    """Check that there are the columns that a model takes beside the picture.

    Raises:
        ConfigError: one is not there.
    """
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ConfigError(
            f"{table.name} has no column {listing(missing)}, which the model takes beside the picture; "
            f"it has {listing(table.columns)}.{did_you_mean(missing[0], table.columns)}"
        )


def label_columns(
    table: Table,
    wanted: Sequence[str],
    tasks: tuple[Task, ...] | None,
    taken: Collection[str | None],
) -> list[str]:
    """Return the columns of labels, one a task.

    Args:
        table: of the manifest.
        wanted: those that the options name, if any.
        tasks: what a model can tell; columns of these names have the labels.
        taken: columns that are something else.

    Raises:
        ConfigError: one is not there or is named twice, or it cannot be told which is meant.
    """
    if wanted:
        repeated = {name for name in wanted if wanted.count(name) > 1}
        if repeated:
            raise ConfigError(f"--label-columns names {listing(sorted(repeated))} twice.")
        return [_named(table, name, "--label-columns") for name in wanted]
    others = [name for name in table.columns if name not in taken]
    named = {task_name(name): name for name in others}
    if tasks and all(task.name in named for task in tasks):
        return [named[task.name] for task in tasks]
    if tasks and len(tasks) > 1:
        missing = [task.name for task in tasks if task.name not in named]
        raise ConfigError(
            f"{table.name} has no column {listing(missing)}, which the model tells; it has "
            f"{listing(table.columns)}."
        )
    usual = _usual(table, LABEL_COLUMNS, taken)
    if usual is not None:
        return [usual]
    if len(others) == 1:
        return others
    raise _unclear(table, "--label-columns", "the labels")


def _choose(table: Table, wanted: str | None, usual: Sequence[str], option: str, what: str) -> str:
    found = _usual(table, usual) if wanted is None else _named(table, wanted, option)
    if found is None:
        raise _unclear(table, option, what)
    return found


def _optional(table: Table, wanted: str | None, usual: str, option: str) -> str | None:
    return _usual(table, (usual,)) if wanted is None else _named(table, wanted, option)


def _named(table: Table, wanted: str, option: str) -> str:
    if wanted not in table.columns:
        raise ConfigError(
            f"{option} {wanted}: {table.name} has no such column; it has {listing(table.columns)}."
            + did_you_mean(wanted, table.columns)
        )
    return wanted


def _usual(table: Table, usual: Sequence[str], taken: Collection[str | None] = ()) -> str | None:
    """Return the first column with the first of the usual names, whatever its case."""
    lower = {name.strip().lower(): name for name in reversed(table.columns)}
    return next((lower[name] for name in usual if name in lower and lower[name] not in taken), None)


def _unclear(table: Table, option: str, what: str) -> ConfigError:
    return ConfigError(
        f"{table.name}: which column has {what}? It has {listing(table.columns)}; say with {option}."
    )
