"""Suspected labels as a CSV file: written for a person to edit, read back as it was edited."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hornbeam.errors import DataError, did_you_mean, listing
from hornbeam.storage import write_bytes

COLUMNS = (
    "path", "split", "task", "label", "suggested", "probability_label", "probability_suggested",
    "score", "new_label",
)  # fmt: skip
"""Of `labels.csv`; the last is empty, for whoever reviews them."""

HAS, LACKS, ADD, REMOVE = "has ", "lacks ", "add ", "remove "
"""What stands before a class in the cells of a multi-label task, where each class is judged alone."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
"""What a spreadsheet takes a cell for a formula by, and the quote that says it is none."""


@dataclasses.dataclass(frozen=True)
class Suspect:
    """A label that is probably wrong, or a suggestion for one that is missing.

    Attributes:
        path: of the picture, relative to the dataset's root.
        split: of the picture.
        task: name of the question.
        given: the class that the picture has; empty where its label is missing. Of a multi-label
            task `has CLASS` or `lacks CLASS`.
        suggested: the class that it probably should have; of a multi-label task `add CLASS` or
            `remove CLASS`.
        probability_given: of that, by a model that has not seen the picture's label, in [0, 1];
            0 where the label is missing.
        probability_suggested: the same of the suggestion.
        score: how suspicious, in [0, 1]; the list is sorted by it, 1 first.
    """

    path: str
    split: str
    task: str
    given: str
    suggested: str
    probability_given: float
    probability_suggested: float
    score: float


class Row(NamedTuple):
    """A line of a file of labels that somebody may have edited.

    Attributes:
        line: number in the file, from 1.
        path: as it stands there.
        task: name; empty where the file has no such column.
        label: the picture's label when the file was written.
        new_label: what was entered, without blanks around it.
    """

    line: int
    path: str
    task: str
    label: str
    new_label: str


def write_suspects(path: Path, suspects: Sequence[Suspect]) -> None:
    """Write a CSV file with an empty column `new_label`.

    UTF-8 with a byte order mark, which spreadsheets want; cells that they would run as formulas
    begin with an apostrophe.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([*cells_of(suspect), ""] for suspect in suspects)
    write_bytes(path, text.getvalue().encode("utf-8-sig", "surrogateescape"))


def cells_of(suspect: Suspect) -> list[str]:
    """Return what the file says of a suspect, but for `new_label`."""
    numbers = (suspect.probability_given, suspect.probability_suggested, suspect.score)
    words = (suspect.path, suspect.split, suspect.task, suspect.given, suspect.suggested)
    return [*map(cell, words), *(f"{number:.4f}" for number in numbers)]


def read_suspects(path: Path) -> list[Suspect]:
    """Read what of `write_suspects` nobody has looked at yet, the most suspicious first.

    A line whose `new_label` is filled in, be it with `-` for a label that is right, was looked at.

    Raises:
        DataError: the file cannot be read, or lacks columns.
    """
    found = []
    for line, row in _lines(path, COLUMNS[:-1]):
        if row.get("new_label", "").strip():
            continue
        try:
            given, suggested, score = (float(row[name]) for name in COLUMNS[5:8])
        except ValueError:
            raise DataError(
                f"{path}, line {line}: {listing(COLUMNS[5:8])} should be numbers."
            ) from None
        path_, split, task, label, other = (plain(row[name]) for name in COLUMNS[:5])
        found.append(Suspect(path_, split, task, label, other, given, suggested, score))
    return found


def read_reviewed(path: Path) -> list[Row]:
    """Read a file of suspects that somebody has edited.

    Raises:
        DataError: the file cannot be read, or lacks columns.
    """
    return [
        Row(
            line, plain(row["path"]), plain(row.get("task", "")), plain(row["label"]),
            plain(row["new_label"].strip()),
        )
        for line, row in _lines(path, ("path", "label", "new_label"))
    ]  # fmt: skip


def read_fixes(path: Path) -> list[tuple[str, str]]:
    """Read the picture and the action of each line of a list of `hornbeam check --fix-list`.

    Raises:
        DataError: the file cannot be read, or lacks columns.
    """
    return [
        (row["path"], row["action"].strip())
        for _, row in _lines(path, ("path", "action"))
    ]  # fmt: skip


def cell(text: str) -> str:
    """Return text as a cell that no spreadsheet runs; `plain` undoes it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def plain(text: str) -> str:
    """Return the text of a cell that `cell` made."""
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text


def header_of(path: Path) -> list[str]:
    """Return the names of a CSV file's columns.

    Raises:
        DataError: the file cannot be read.
    """
    return _parse(path)[0]


def _lines(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the number of each line with its cells by column; empty lines are left out."""
    header, rows = _parse(path)
    missing = [name for name in needed if name not in header]
    if missing:
        raise DataError(
            f"{path} has no column {listing(missing)}; expected a file that `hornbeam labels` wrote, "
            f"and found {listing(header)}.{did_you_mean(missing[0], header)}"
        )
    short = [line for line, cells in rows if len(cells) != len(header)]
    if short:
        raise DataError(
            f"{path}, line {short[0]}: expected {len(header)} cells, as in the first line."
        )
    return [(line, dict(zip(header, cells, strict=True))) for line, cells in rows]


def _parse(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig", "strict")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; save it as CSV in UTF-8.") from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)  # spreadsheets of some countries write semicolons
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for cells in reader:
            if any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from None
    if not rows:
        raise DataError(f"{path} is empty.")
    return [name.strip() for name in rows[0][1]], rows[1:]
