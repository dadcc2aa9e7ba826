"""Each label judged by models that have not seen it, nor that of a copy of its picture."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from hornbeam.data.tasks import Task
from hornbeam.evaluation.labels.folds import divide
from hornbeam.evaluation.labels.noise import find_noise
from hornbeam.evaluation.labels.quick_models import (
    Folds,
    Neighbours,
    combined,
    scaled,
    scaled_alone,
)

Floats = NDArray[np.float32]
Reals = NDArray[np.floating]
Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

FEWEST = 3
"""Pictures, or groups of copies, of a class below which its labels are not judged: the one or two that
are left when a picture is taken out do not show what the class looks like."""


@dataclasses.dataclass(frozen=True)
class JudgedLabels:
    """Labels of one task with what is to be said of each. All arrays are `[labels]`.

    Attributes:
        rows: of the pictures.
        given: index of the class, int64.
        suggested: index of the likeliest other class; of a multi-label task that of the same class.
        has: of a multi-label task, whether the picture has the class; else all true.
        probability_given: of what the label says, by models that have not seen it.
        probability_suggested: of what is suggested, by the same.
        wrong: probability that the label is wrong.
        classes: indices of the classes that take part, for the next.
        pairs: expected number of wrong labels, float64 `[class given, true class]`; of a multi-label
            task `[0 for lacks, 1 for has; class]`.
        missing: rows of pictures without a label, and the probabilities of their classes.
        left_out: indices of classes of too few pictures to be judged.
    """

    rows: Indices
    given: Indices
    suggested: Indices
    has: NDArray[np.bool_]
    probability_given: Doubles
    probability_suggested: Doubles
    wrong: Doubles
    classes: Indices
    pairs: Doubles
    missing: tuple[Indices, Doubles]
    left_out: tuple[int, ...]


def judge(
    task: Task, labels: NDArray[np.int32] | NDArray[np.bool_], units: Indices, inputs: Floats,
    neighbours: Neighbours, folds: int, divisions: int, seed: int,
) -> JudgedLabels | None:  # fmt: skip
    """Judge all labels of a task; `None` where there are too few pictures of two classes.

    Args:
        task: what is asked.
        labels: class indices, -1 where there is none, or bool `[pictures, classes]`.
        units: which pictures belong together, int64 `[pictures]`.
        inputs: from `prepare`, float32 `[pictures, features]`.
        neighbours: of the pictures.
        folds: parts of the pictures.
        divisions: ways of dividing them.
        seed: of those.
    """
    classes = np.arange(len(task.classes))
    marks = labels if task.multi_label else labels[:, None] == classes
    labelled = np.ones(len(labels), bool) if task.multi_label else labels >= 0
    sizes = np.array([len(np.unique(units[column])) for column in marks.T])
    enough = sizes >= FEWEST
    if task.multi_label:
        lacking = np.array([len(np.unique(units[~column])) for column in marks.T])
        enough &= lacking >= FEWEST
    left_out = tuple(np.flatnonzero((sizes > 0) & ~enough).tolist())
    if enough.sum() < (1 if task.multi_label else 2):
        return None
    known = np.asarray(marks[:, enough])
    taught = labelled & (known.any(axis=1) | task.multi_label)
    parts = min(folds, len(np.unique(units[taught])))
    models = [
        Folds(inputs, divide(known, units, parts, seed + i), taught) for i in range(divisions)
    ]
    judged = _judge_sets if task.multi_label else _judge_classes
    return judged(known, np.flatnonzero(enough), labelled, models, neighbours, left_out)


def _judge_classes(
    marks: NDArray[np.bool_], classes: Indices, labelled: NDArray[np.bool_], models: list[Folds],
    neighbours: Neighbours, left_out: tuple[int, ...],
) -> JudgedLabels:  # fmt: skip
    """Judge labels of one class a picture, among the classes of enough pictures."""
    given = np.where(marks.any(axis=1), marks.argmax(axis=1), -1)

    # 50,000 pictures of 1,000 classes are 200 MB in float32, and several such arrays are alive.
    targets = marks.astype(np.float32)
    counts = marks.sum(axis=0).astype(np.float64)
    near = neighbours.shares(targets, counts / counts.sum())
    probabilities = np.zeros(targets.shape, np.float32)
    for model in models:
        probabilities += combined([
            scaled(model.discriminants(targets), targets),
            scaled(model.ridges(targets), targets),
            near,
        ])  # fmt: skip
    probabilities /= len(models)
    posterior = find_noise(probabilities, given)
    rows = np.flatnonzero(given >= 0)
    own = given[rows]
    kept = posterior[rows, own].astype(np.float64)
    pairs = np.zeros((len(classes), len(classes)))
    for label in range(len(classes)):
        pairs[label] = posterior[given == label].sum(axis=0, dtype=np.float64)
    np.fill_diagonal(pairs, 0)
    posterior[rows, own] = -1  # what is likeliest of the others
    best = posterior.argmax(axis=1)[rows]
    without = np.flatnonzero(~labelled)
    return JudgedLabels(
        rows, classes[own], classes[best], np.ones(len(rows), bool),
        probabilities[rows, own].astype(np.float64), probabilities[rows, best].astype(np.float64),
        1 - kept, classes, pairs, (without, _spread(probabilities[without], classes)), left_out,
    )  # fmt: skip


def _judge_sets(
    marks: NDArray[np.bool_], classes: Indices, labelled: NDArray[np.bool_], models: list[Folds],
    neighbours: Neighbours, left_out: tuple[int, ...],
) -> JudgedLabels:  # fmt: skip
    """Judge each class of each picture by itself."""
    targets = marks.astype(np.float32)
    near = neighbours.shares(targets, marks.mean(axis=0))
    probabilities = len(models) * logit(near.clip(1e-4, 1 - 1e-4), dtype=np.float64)
    for model in models:
        alone = scaled_alone(model.ridges(targets), targets)
        probabilities += logit(alone.clip(1e-4, 1 - 1e-4), dtype=np.float64)
    probabilities = expit(probabilities / (2 * len(models)))
    posterior = np.stack([
        find_noise(np.stack([1 - p, p], axis=1), column.astype(np.int64))[:, 1]
        for p, column in zip(probabilities.T, marks.T, strict=True)
    ], axis=1)  # fmt: skip
    has = marks.ravel()
    of_given = np.where(has, probabilities.ravel(), 1 - probabilities.ravel())
    wrong = np.where(has, 1 - posterior.ravel(), posterior.ravel())
    rows = np.repeat(np.arange(len(marks)), len(classes))
    every = np.tile(classes, len(marks))
    pairs = np.stack([((marks == state) * wrong.reshape(marks.shape)).sum(0) for state in (0, 1)])
    nothing = np.zeros(0, np.int64), np.zeros((0, len(classes)))
    return JudgedLabels(
        rows, every, every, has, of_given, 1 - of_given, wrong, classes, pairs, nothing, left_out
    )


def _spread(probabilities: Reals, classes: Indices) -> Doubles:
    """Return probabilities with columns for the classes that were left out."""
    result = np.zeros((len(probabilities), int(classes.max()) + 1))
    result[:, classes] = probabilities
    return result
