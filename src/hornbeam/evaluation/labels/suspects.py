"""Which labels are probably wrong, by what other pictures' labels teach.

Every picture is judged by models that have not seen its label, nor those of its copies; then the
judgements and the labels are explained together, see `noise.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import listing
from hornbeam.evaluation.labels.doubts import FEWEST, JudgedLabels, judge
from hornbeam.evaluation.labels.folds import units_of
from hornbeam.evaluation.labels.labels_file import ADD, HAS, LACKS, REMOVE, Suspect
from hornbeam.evaluation.labels.quick_models import Neighbours, prepare

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

_SUGGESTED = 0.5
"""Probability from which a label is suggested where one is missing."""

_MOST_SUGGESTED = 500
"""Such suggestions that are listed."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found about the labels of one task.

    Attributes:
        task: what is asked.
        suspects: labels that are listed, the most suspicious first; then suggestions for missing ones.
        rows: of those in the dataset, in the same order.
        scores: how suspicious each picture's label is, float64 `[pictures]`; 0 where it was not
            judged. Of a multi-label task that of the picture's most suspicious class.
        wrong: how many of the judged labels are expected to be wrong; rather more are, see
            docs/labels.md.
        judged: labels that were judged.
        pairs: (label, true class, how many are expected), the most frequent first.
        unjudged: classes of too few pictures to be judged.
    """

    task: Task
    suspects: list[Suspect]
    rows: list[int]
    scores: Doubles
    wrong: float
    judged: int
    pairs: list[tuple[str, str, int]]
    unjudged: tuple[str, ...]

    def sentences(self, several: bool) -> Iterator[str]:
        """Yield what is to be said of it.

        Args:
            several: there are other tasks too.
        """
        of_task = f"{self.task.name}: " if several else ""
        if not self.judged:
            yield (
                f"{of_task}No label could be judged: that takes {FEWEST} pictures, not copies of each "
                "other, of each of two classes."
            )
            return
        if round(self.wrong) == 0:
            yield f"{of_task}None of {self.judged} labels is probably wrong."
        else:
            yield (
                f"{of_task}At least about {self.wrong:.0f} of {self.judged} labels are probably wrong "
                f"({self.wrong / self.judged:.1%})."
            )
        if self.unjudged:
            classes = "classes" if len(self.unjudged) > 1 else "class"
            yield (
                f"{of_task}Labels of the {classes} {listing(self.unjudged)} were not judged, for too "
                "few pictures."
            )


def find_suspects(
    features: Floats,
    dataset: Dataset,
    *,
    folds: int,
    divisions: int,
    threshold: float,
    most: int | None = None,
    together: ArrayLike | None = None,
    seed: int = 0,
) -> list[Found]:
    """Find labels that are probably wrong, for each task.

    Args:
        features: of every picture, float32 `[pictures, features]`.
        dataset: with labels. Pictures of one group, and equal ones where digests are known, are never
            judged by each other.
        folds: parts of the pictures, each judged by what fits the others; at least 2.
        divisions: ways of dividing the pictures into those, whose answers are averaged.
        threshold: probability of being wrong from which a label is listed.
        most: list so many, whatever their probability, in place of that.
        together: other pictures that belong together, equal values `[pictures]`.
        seed: of the divisions.
    """
    columns = dataset.table.column_names
    known = [dataset.table[name].to_pylist() for name in ("group", "digest") if name in columns]
    near = None if together is None else np.asarray(together)
    units = units_of(np.arange(len(dataset)), *known, near)
    inputs = prepare(features)
    neighbours = Neighbours(inputs, units) if len(dataset) > 1 else None
    found = []
    for task in dataset.tasks:
        judged = None
        if neighbours is not None:
            judged = judge(
                task, dataset.labels(task), units, inputs, neighbours, folds, divisions, seed
            )
        found.append(_listed(dataset, task, judged, threshold, most))
    return found


def _listed(
    dataset: Dataset, task: Task, judged: JudgedLabels | None, threshold: float, most: int | None
) -> Found:
    """Return what is worth looking at."""
    pictures = len(dataset)
    if judged is None:
        return Found(task, [], [], np.zeros(pictures), 0.0, 0, [], ())
    order = np.argsort(-judged.wrong, kind="stable")
    chosen = order[:most] if most else order[judged.wrong[order] >= threshold]
    suspects = [_suspect(dataset, task, judged, place) for place in chosen.tolist()]
    rows = judged.rows[chosen].tolist()
    for row, suspect in _suggestions(dataset, task, judged):
        rows.append(row)
        suspects.append(suspect)
    scores = np.zeros(pictures)
    np.maximum.at(scores, judged.rows, judged.wrong)
    unjudged = tuple(task.classes[i] for i in judged.left_out)
    return Found(
        task, suspects, rows, scores, float(judged.wrong.sum()), len(judged.wrong),
        _pairs(task, judged), unjudged,
    )  # fmt: skip


def _suspect(dataset: Dataset, task: Task, judged: JudgedLabels, place: int) -> Suspect:
    row, has = int(judged.rows[place]), bool(judged.has[place])
    given = task.classes[judged.given[place]]
    suggested = task.classes[judged.suggested[place]]
    if task.multi_label:
        given, suggested = (HAS if has else LACKS) + given, (REMOVE if has else ADD) + suggested
    return Suspect(
        dataset.paths[row], dataset.table["split"][row].as_py() or "", task.name, given, suggested,
        float(judged.probability_given[place]), float(judged.probability_suggested[place]),
        float(judged.wrong[place]),
    )  # fmt: skip


def _suggestions(
    dataset: Dataset, task: Task, judged: JudgedLabels
) -> Iterator[tuple[int, Suspect]]:
    """Yield what pictures without a label probably are, the surest first."""
    rows, probabilities = judged.missing
    if not len(rows):
        return
    best, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    for place in np.argsort(-sure, kind="stable")[:_MOST_SUGGESTED].tolist():
        if sure[place] < _SUGGESTED:
            return
        row = int(rows[place])
        yield row, Suspect(
            dataset.paths[row], dataset.table["split"][row].as_py() or "", task.name, "",
            task.classes[best[place]], 0.0, float(sure[place]), 0.0,
        )  # fmt: skip


def _pairs(task: Task, judged: JudgedLabels) -> list[tuple[str, str, int]]:
    """Return (label, true class, expected number) of what occurs at least once, the most first."""
    found = []
    for i, j in zip(*np.nonzero(judged.pairs >= 0.5), strict=True):
        true = task.classes[judged.classes[j]]
        if task.multi_label:
            label, true = (HAS if i else LACKS) + true, (REMOVE if i else ADD) + true
        else:
            label = task.classes[judged.classes[i]]
        found.append((label, true, round(float(judged.pairs[i, j]))))
    return sorted(found, key=lambda pair: -pair[2])
