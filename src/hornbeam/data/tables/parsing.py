"""The bytes of a manifest become columns of strings. Every fault is told with its line.

Each parser takes the content and the file's name, and returns the columns (string arrays, or list
arrays of strings) and a function that says which line a row came from.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hornbeam.data.pixels.images import EXTENSIONS
from hornbeam.errors import DataError

Parsed = tuple[dict[str, Any], Callable[[int], str]]

csv.field_size_limit(2**31 - 1)  # its default, 128 KiB, is less than what Arrow reads

_LONGEST_LINE = 16 << 20
"""Bytes of a line of CSV; a missing quote makes the rest of a file one line."""


def require_utf8(content: bytes, name: str) -> bytes:
    """Return the content without a byte order mark.

    Raises:
        DataError: it is empty, or not UTF-8; the message names the line.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name} is in UTF-16; save it as UTF-8.")
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content.strip():
        raise DataError(f"{name} is empty.")
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise DataError(
            f"{name}, line {line}, column {column}: not UTF-8; save it as UTF-8."
        ) from None
    return content


def parse_csv(content: bytes, name: str) -> Parsed:
    """Parse CSV with a header; without one, if its first row names a picture."""
    first_line = content[:_LONGEST_LINE].splitlines()[0].decode(errors="replace")
    delimiter = max("\t;,", key=first_line.count) if any(d in first_line for d in "\t;,") else ","
    try:
        header = next(csv.reader(io.StringIO(first_line), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{name}, line 1: {error}.") from None
    except StopIteration:
        raise DataError(
            f"{name}, line 1: the line is empty; expected the names of the columns."
        ) from None
    has_header = not any(_names_picture(cell) for cell in header)
    names = [cell.strip() for cell in header] if has_header else _invent_names(header)
    for place, column in enumerate(names):
        if column in names[:place]:
            raise DataError(f"{name}, line 1, column {place + 1}: a second column '{column}'.")
    line = _csv_lines(content, delimiter, has_header)
    try:
        table = pa_csv.read_csv(
            io.BytesIO(content),
            read_options=pa_csv.ReadOptions(
                column_names=names, skip_rows=int(has_header), block_size=_LONGEST_LINE
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=b'"' in content
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(_csv_fault(content, name, delimiter, len(names), str(error))) from None
    return {column: _whole(table[column]) for column in names}, line


def parse_json(content: bytes, name: str) -> Parsed:
    """Parse a list of records, or an object that maps a path to its label, labels, or a record."""
    try:
        found = json.loads(content, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DataError(_json_fault(error, name)) from None
    if isinstance(found, dict):
        records = [
            {"path": path, **(label if isinstance(label, dict) else {"label": label})}
            for path, label in found.items()
        ]
        keys = list(found)
        return _columns(records, name, lambda row: f"entry '{keys[row]}'")
    if not isinstance(found, list):
        raise DataError(f"{name}: expected a list of records, or an object of paths and labels.")
    return _columns(found, name, lambda row: f"record {row + 1}")


def parse_json_lines(content: bytes, name: str) -> Parsed:
    """Parse one record a line."""
    records, numbers = [], []
    for number, text in enumerate(content.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            records.append(json.loads(text, object_pairs_hook=_unique_keys))
        except (ValueError, RecursionError) as error:
            raise DataError(_json_fault(error, name, number)) from None
        numbers.append(number)
    return _columns(records, name, lambda row: f"line {numbers[row]}")


def parse_parquet(content: bytes, name: str) -> Parsed:
    """Parse a Parquet file; numbers and dictionaries become strings."""
    try:
        table = pq.read_table(io.BytesIO(content))
        columns = {column: _as_strings(_whole(table[column])) for column in table.column_names}
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{name}: this is no whole Parquet file ({reason}).") from None
    return {k: v for k, v in columns.items() if v is not None}, lambda row: f"row {row + 1}"


def parse_text(content: bytes, name: str) -> Parsed:
    """Parse lines of `path label`; with a tab between them, both may have blanks inside."""
    paths, labels, numbers = [], [], []
    for number, text in enumerate(content.decode().splitlines(), 1):
        if not text.strip():
            continue
        parts = text.strip().split("\t") if "\t" in text.strip() else text.strip().rsplit(None, 1)
        if len(parts) != 2:
            raise DataError(f"{name}, line {number}: expected `path label`, found {_short(text)}.")
        paths.append(parts[0])
        labels.append(parts[1])
        numbers.append(number)
    columns = {"path": pa.array(paths, pa.string()), "label": pa.array(labels, pa.string())}
    return columns, lambda row: f"line {numbers[row]}"


def _names_picture(cell: str) -> bool:
    return os.path.splitext(cell.strip())[1].lower() in EXTENSIONS


def _invent_names(cells: list[str]) -> list[str]:
    """Name the columns of a CSV without a header: `path` is the first that names a picture."""
    image = next(i for i, cell in enumerate(cells) if _names_picture(cell))
    names, others = [], 0
    for place in range(len(cells)):
        if place == image:
            names.append("path")
            continue
        others += 1
        names.append("label" if others == 1 else f"column{place + 1}")
    return names


def _csv_lines(content: bytes, delimiter: str, has_header: bool) -> Callable[[int], str]:
    """Return a function from row to line; it reads the file anew, as only errors ask."""

    def line(row: int) -> str:
        reader = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
        before, index = 0, -1 - has_header
        try:
            for cells in reader:
                index += bool(cells)
                if index == row:
                    return f"line {before + 1}"
                before = reader.line_num
        except csv.Error:
            pass
        return f"row {row + 1}"

    return line


def _csv_fault(content: bytes, name: str, delimiter: str, width: int, reason: str) -> str:
    """Say which line of a CSV file is at fault, and how."""
    reader = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
    before = 0
    try:
        for cells in reader:
            size = reader.line_num - before
            if cells and len(cells) != width:
                hint = " Is a quote missing?" if size > 1 else ""
                return (
                    f"{name}, line {before + 1}, column {min(len(cells), width)}: "
                    f"{len(cells)} cells; the first line has {width}.{hint}"
                )
            before = reader.line_num
    except csv.Error as error:
        return f"{name}, line {before + 1}: {error}; is a quote missing?"
    if "straddling" in reason:
        return f"{name}: a line is longer than {_LONGEST_LINE >> 20} MB; is a quote missing?"
    return f"{name}: {' '.join(reason.split())}."


class _RepeatedKeyError(ValueError):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _RepeatedKeyError(f"'{twice}' stands there twice")
    return found


def _json_fault(error: Exception, name: str, line: int | None = None) -> str:
    if isinstance(error, json.JSONDecodeError):
        where = f"{name}, line {line or error.lineno}, column {error.colno}"
        return f"{where}: this is not JSON ({error.msg})."
    place = f", line {line}" if line else ""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return f"{name}{place}: {reason}."


def _columns(records: list[Any], name: str, line: Callable[[int], str]) -> Parsed:
    """Return the columns of records: strings; lists of strings where any record has a list."""
    if not records:
        raise DataError(f"{name} has no rows; expected one for each picture.")
    names: dict[str, None] = {}
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise DataError(f"{name}, {line(row)}: expected a record, found {_short(record)}.")
        names.update(dict.fromkeys(record))
    columns: dict[str, Any] = {}
    for column in names:
        cells = [record.get(column) for record in records]
        listed = any(isinstance(cell, list) for cell in cells)
        texts: list[Any] = []
        for row, cell in enumerate(cells):
            where = f"{name}, {line(row)}, column '{column}'"
            if listed:
                many = cell if isinstance(cell, list) else [] if cell is None else [cell]
                texts.append([_text(part, where) for part in many])
            else:
                texts.append(_text(cell, where))
        columns[column] = pa.array(texts, pa.list_(pa.string()) if listed else pa.string())
    return columns, line


def _text(cell: Any, where: str) -> str:
    """Return a scalar of JSON as a string; whole numbers without a point."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: {cell!r} is not valid Unicode.") from None
        return cell
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, (int, float)):
        return str(cell)
    raise DataError(f"{where}: expected text or a number, found {_short(cell)}.")


def _as_strings(column: Any) -> Any:
    """Return an Arrow array as strings, or lists of strings; `None` for kinds that cannot be."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        column = column.cast(pa.list_(kind.value_type))
        flat = _as_strings(column.flatten())
        if flat is None or pa.types.is_list(flat.type):
            return None
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        offsets = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int32()), lengths]))
        return pa.ListArray.from_arrays(offsets, pc.fill_null(flat, ""))
    if pa.types.is_floating(kind):
        # Beyond 2**53 a float64 is no longer each whole number, and infinity is none.
        whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**53))
        column = column.cast(pa.int64()) if pc.all(whole).as_py() else column
    try:
        return column.cast(pa.string())
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return None


def _whole(column: Any) -> Any:
    """Return a column as one array."""
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _short(value: Any) -> str:
    text = re.sub(r"\s+", " ", value if isinstance(value, str) else json.dumps(value, default=str))
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
