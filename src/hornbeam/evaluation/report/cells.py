"""What is behind the cells of a confusion matrix: the pictures, by name, for the page's script."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.evaluation.judged import Judged
from hornbeam.evaluation.report.pictures import Shots

_MOST_NAMES = 20_000
"""Names in a page: about 1 MB."""

_MOST_WRONG, _MOST_RIGHT = 60, 12
"""Names in a cell of wrong answers, and in one of right ones."""

_WRONG_SHOTS, _RIGHT_SHOTS = 6, 3
"""Pictures of a cell that get a thumbnail of their own, while there are any left."""


@dataclasses.dataclass
class Names:
    """Paths of pictures, each once, by the numbers that the script knows them by."""

    numbers: dict[str, int] = dataclasses.field(default_factory=dict)

    def number(self, path: str) -> int:
        """Return the number of a path, which is added if it is new."""
        return self.numbers.setdefault(path, len(self.numbers))

    @property
    def free(self) -> int:
        """How many may be added still."""
        return max(0, _MOST_NAMES - len(self.numbers))


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of one task's matrix that have pictures.

    Attributes:
        cell: int64 `[cells]`: truth times the number of classes, plus answer.
        count: int64 `[cells]`: pictures.
        rows: of those that are named, int64 `[named]`, cell by cell, the most confident first.
        of: int64 `[named]`: the place of each one's cell in `cell`.
    """

    cell: NDArray[np.int64]
    count: NDArray[np.int64]
    rows: NDArray[np.int64]
    of: NDArray[np.int64]


def find_cells(answers: Judged, names: int) -> Cells:
    """Return the cells of a single-label task, and which of their pictures are named.

    Each cell gets one before any gets two, and so on.

    Args:
        answers: to the task.
        names: how many pictures may be named.
    """
    classes = len(answers.task.classes)
    rows = np.flatnonzero(answers.known)
    cell = answers.labels[rows].astype(np.int64) * classes + answers.answers[rows]
    order = np.lexsort((-answers.confidence[rows], cell))
    rows, cell = rows[order], cell[order]
    cells, first, of, count = np.unique(
        cell, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.arange(len(rows)) - first[of]
    most = np.where(cells // classes == cells % classes, _MOST_RIGHT, _MOST_WRONG)
    chosen = np.flatnonzero(rank < most[of])
    chosen = np.sort(chosen[np.argsort(rank[chosen], kind="stable")][:names])
    return Cells(cells, count, rows[chosen], of[chosen])


def want_pictures(cells: Cells, answers: Judged, shots: Shots, paths: list[str], most: int) -> None:
    """Ask for thumbnails of the fullest cells: of wrong answers first, one of each before the next.

    Args:
        cells: of the task.
        answers: to it.
        shots: gets the wishes.
        paths: of all pictures.
        most: how many may be asked for.
    """
    if not len(cells.rows):
        return
    classes = len(answers.task.classes)
    right = (cells.cell // classes == cells.cell % classes)[cells.of]
    starts = np.flatnonzero(np.diff(cells.of, prepend=-1))
    rank = np.arange(len(cells.of)) - starts[np.cumsum(np.diff(cells.of, prepend=-1) != 0) - 1]
    order = np.lexsort((-cells.count[cells.of], rank, right))
    for place in order.tolist():
        if rank[place] < (_RIGHT_SHOTS if right[place] else _WRONG_SHOTS):
            if most <= 0 or not shots.want(paths[cells.rows[place]]):
                return
            most -= 1


def cells_for_script(
    cells: Cells, answers: Judged, names: Names, paths: list[str]
) -> list[list[Any]]:
    """Return `[truth, answer, pictures, names, percentages]` of each cell."""
    classes = len(answers.task.classes)
    ends = np.searchsorted(cells.of, np.arange(len(cells.cell) + 1)).tolist()
    rows = cells.rows.tolist()
    numbers = [names.number(paths[row]) for row in rows]
    percent = np.rint(100 * answers.confidence[cells.rows]).astype(int).tolist()
    truth, answer = (part.tolist() for part in np.divmod(cells.cell, classes))
    return [
        [truth[i], answer[i], count, numbers[ends[i] : ends[i + 1]], percent[ends[i] : ends[i + 1]]]
        for i, count in enumerate(cells.count.tolist())
    ]
