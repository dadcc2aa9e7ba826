"""Columns of numbers beside the pictures (side features): their cells become float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hornbeam.data.tables.labels import more_rows
from hornbeam.errors import ConfigError, DataError


def require_distinct(names: Sequence[str], labels: Sequence[str]) -> None:
    """Check that columns are named once, and that none has the labels as well.

    Raises:
        ConfigError: one is.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ConfigError(f"--feature-columns names '{name}' twice.")
        if name in labels:
            raise ConfigError(
                f"--feature-columns: '{name}' has the labels; a model that is given the answer learns "
                "nothing. Leave it out, or name another column with --label-columns."
            )


def to_numbers(column: Any, where: Callable[[int], str]) -> Any:
    """Return the cells of a column as an Arrow array of float32.

    Args:
        column: strings, or lists of them, as manifests are parsed to.
        where: says where row `i` stands: `m.csv, line 5, column 'age'`.

    Raises:
        DataError: a cell is empty, no number, or not finite in float32; the message says where.
    """
    if pa.types.is_list(column.type):
        raise DataError(f"{where(0)}: expected a number, found a list.")
    cells = pc.utf8_trim_whitespace(pc.fill_null(column, ""))
    try:
        values = pc.cast(cells, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        values = np.array([_number(cell) for cell in cells.to_pylist()])
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        row = int(bad[0])
        raise DataError(f"{where(row)}: {_fault(cells[row].as_py())}{more_rows(len(bad) - 1)}")
    return pa.array(numbers, pa.float32())


def _number(cell: str) -> float:
    """Return what Arrow would, and NaN for what is no number (Python alone takes `1_000`)."""
    try:
        return float("nan") if "_" in cell else float(cell)
    except ValueError:
        return float("nan")


def _fault(cell: str) -> str:
    if not cell:
        return "the number is missing; give one, or take the row out."
    if not np.isnan(_number(cell)):
        return f"'{cell}' is not a finite number in float32; give one, or take the row out."
    hint = ""
    if cell.lower() in ("true", "false"):
        hint = " (1 for true, 0 for false)"
    elif cell.count(",") == 1 and not np.isnan(_number(cell.replace(",", "."))):
        hint = " with a point, not a comma"
    return f"'{cell}' is no number; give one{hint}, or take the row out."
