"""Answers in files that grow as they come: `.csv`, `.jsonl`, `.json`, `.parquet`.

The columns are those of `evaluation/answers.py`, which writes the answers of a run.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.deployment.predicting.answers import Answer

_ROWS = 4096
"""Of a row group of a Parquet file, which is what is held."""

Write = Callable[[Mapping[str, Any]], None]


def columns_of(manifest: Manifest, top: int) -> dict[str, type]:
    """Return the columns of a bundle's answers and the Python types of their values."""
    columns: dict[str, type] = {"path": str}
    for task in manifest.tasks:
        for place in range(1, min(top, len(task.classes)) + 1):
            columns[f"{task.name}_{place}"] = str
            columns[f"{task.name}_{place}_probability"] = float
        if task.name in manifest.abstain:
            columns[f"{task.name}_sure"] = bool
    if manifest.unknown is not None:
        columns.setdefault("unknown", bool)
        columns.setdefault("unknown_score", float)
    columns["error"] = str
    return columns


def row_of(answer: Answer, columns: Mapping[str, type], top: int) -> dict[str, Any]:
    """Return an answer by column; what is not known is `None`."""
    row: dict[str, Any] = dict.fromkeys(columns)
    row["path"], row["error"] = answer.picture, answer.error or ""
    if answer.error:
        return row
    for name, value in (("unknown", answer.unknown), ("unknown_score", answer.unknown_score)):
        if name in columns:
            row[name] = value
    for task in answer.tasks:
        for place, (name, probability) in enumerate(answer.best(task.name, top), 1):
            row[f"{task.name}_{place}"] = name
            row[f"{task.name}_{place}_probability"] = round(probability, 6)
        if task.name in answer.sure:
            row[f"{task.name}_sure"] = answer.sure[task.name]
    return row


def lines_of(answer: Answer, top: int) -> Iterator[str]:
    """Yield `picture: class 97.1%  class 2.0% …`, a line per task, as `evaluation.answer_lines`."""
    if answer.error:
        yield answer.error
        return
    for task in answer.tasks:
        words = [f"{name} {probability:.1%}" for name, probability in answer.best(task.name, top)]
        if not answer.sure.get(task.name, True):
            words.append("(unsure)")
        if answer.unknown:
            words.append("(unlike the known classes)")
        of_task = f" {task.name}" if len(answer.tasks) > 1 else ""
        yield f"{answer.picture}{of_task}: {'  '.join(words)}"


def unfinished(path: Path) -> Path:
    """Return where answers stand until all are there, and stay if something stops them."""
    return path.with_name(f"{path.stem}.unfinished{path.suffix}")


@contextlib.contextmanager
def answer_file(path: Path, columns: Mapping[str, type]) -> Iterator[Write]:
    """Yield what writes a row; the file gets its name when all are written.

    On an error, Ctrl-C too, what was written stays as `unfinished(path)`, a whole file of its kind.

    Args:
        path: of the file; its suffix chooses the format.
        columns: see `columns_of`.
    """
    temporary = unfinished(path)
    opener = _parquet if path.suffix == ".parquet" else _text
    with opener(temporary, columns) as write:
        yield write
    handle = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(path)


@contextlib.contextmanager
def _text(path: Path, columns: Mapping[str, type]) -> Iterator[Write]:
    kind = path.suffix
    with path.open("w", encoding="utf-8", newline="") as file:
        if kind == ".csv":
            file.write(_csv_line(dict(zip(columns, columns, strict=True)).values()))
        elif kind == ".json":
            file.write("[")
        first = True

        def write(row: Mapping[str, Any]) -> None:
            nonlocal first
            # One call a row, so that Ctrl-C leaves whole ones.
            if kind == ".csv":
                file.write(_csv_line(row.values()))
            elif kind == ".jsonl":
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                file.write(("\n " if first else ",\n ") + json.dumps(row, ensure_ascii=False))
            first = False

        try:
            yield write
        finally:
            if kind == ".json":
                file.write("\n]\n")


@contextlib.contextmanager
def _parquet(path: Path, columns: Mapping[str, type]) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    waiting: list[Mapping[str, Any]] = []
    with pq.ParquetWriter(path, schema) as file:

        def flush() -> None:
            file.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: Mapping[str, Any]) -> None:
            waiting.append(row)
            if len(waiting) == _ROWS:
                flush()

        try:
            yield write
        finally:
            if waiting:
                flush()


def _csv_line(values: Any) -> str:
    """Return a line as pyarrow writes it: text in quotes, nothing for what is not known."""
    return ",".join(map(_csv_cell, values)) + "\n"


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
