"""What a comparison says, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam import console
from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.comparison.compare import (
    GAINED,
    LOST,
    OTHER_WRONG,
    ClassDifference,
    Comparison,
)
from hornbeam.evaluation.comparison.differences import Difference
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.shares import Share, number

_MOST_CLASSES = 30
"""Classes that are listed on a terminal; the page has all."""

_NAMED = 3
"""Pictures of a kind of change that are named on a terminal."""


def conclusion(comparison: Comparison) -> str:
    """Say which model is better, or that no difference is shown, and what that rests on."""
    first, second = comparison.names
    accuracy, count = comparison.accuracy, comparison.pictures
    if not count:
        return f"There is no picture with a label to compare {first} and {second} on."
    right = "are right in all labels" if comparison.task.multi_label else "are right"
    if not len(comparison.changes[comparison.changes > 1]):
        return (
            f"No difference shown: {second} answers all {count} pictures as {first} does "
            f"({accuracy.first:.1%} {right})."
        )
    reach = f"95 % interval {points(accuracy.low)} to {points(accuracy.high)}"
    chance = p_in_words(comparison.p_value)
    if comparison.models > 1:
        chance += f", corrected for {comparison.models} comparisons"
    basis = f"on {count} pictures{_groups(comparison)}"
    if comparison.shown:
        word = "worse" if comparison.worse else "better"
        return (
            f"{second} is {word} than {first}: {accuracy.second:.1%} {right} instead of "
            f"{accuracy.first:.1%}, {points(accuracy.value)} points ({reach}; {chance}) {basis}."
        )
    told = (
        f"No difference shown between {first} ({accuracy.first:.1%} {right}) and {second} "
        f"({accuracy.second:.1%}): {points(accuracy.value)} points ({reach}; {chance}) {basis}. "
        f"If there is one, it is likely below {100 * comparison.largest:.1f} points"
    )
    needed = comparison.paired.needed
    if needed is None or needed <= count:
        return told + "."
    size = abs(100 * accuracy.value)
    return (
        f"{told}; about {_rounded(needed)} such pictures would be needed to show one of {size:.1f}."
    )


def changes_in_words(comparison: Comparison) -> str:
    """Say how many answers changed, and how."""
    lost, gained, other = (comparison.count(c) for c in (LOST, GAINED, OTHER_WRONG))
    return (
        f"{gained} answers changed from wrong to right, {lost} from right to wrong, and {other} from "
        "one wrong answer to another."
    )


def classes_in_words(comparison: Comparison, most: int = 10) -> str:
    """Say in which classes the models differ, beyond chance."""
    different = [c for c in comparison.classes if c.shown]
    one, many = ("mark", "marks") if comparison.task.multi_label else ("class", "classes")
    if not different:
        return f"No single {one} shows a difference."
    different.sort(key=lambda c: -abs(c.right.value))
    told = ", ".join(
        f"{c.name} ({c.right.first:.1%} to {c.right.second:.1%}, {p_in_words(c.p_value)})"
        for c in different[:most]
    )
    more = f" and {len(different) - most} more" if len(different) > most else ""
    return f"Of {len(comparison.classes)} {many}, these differ: {told}{more}."


def points(share: float) -> str:
    """Return a difference of shares in points: `+1.2`."""
    return "–" if math.isnan(share) else f"{100 * share:+.1f}"


def p_in_words(p_value: float) -> str:
    """Return `p = 0.012`, or `p < 0.001`."""
    digits = p_in_digits(p_value)
    return f"p {digits}" if digits.startswith("<") else f"p = {digits}"


def p_in_digits(p_value: float) -> str:
    """Return the same for a column of such values: `0.012`, or `< 0.001`."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def tell(comparison: Comparison, first: Predictions, second: Predictions) -> None:
    """Show a comparison on the terminal: measures, classes, some pictures, and the conclusion last."""
    if not comparison.pictures:
        console.say(conclusion(comparison))
        return
    task, names = comparison.task, comparison.names
    difference = ["difference", "95 %"]
    console.table(
        [task.name, *names, *difference],
        [["accuracy", *difference_in_words(comparison.accuracy)]]
        + [[name, *difference_in_words(d)] for name, d in comparison.measures.items()],
    )
    shown = [c for c in comparison.classes if c.pictures]
    if len(shown) > _MOST_CLASSES:
        shown = sorted(shown, key=lambda c: -abs(c.right.value))[:_MOST_CLASSES]
    right = "right" if task.multi_label else "recall"
    head = ["mark" if task.multi_label else "class", "pictures", *(f"{right}, {n}" for n in names)]
    console.table([*head, *difference, "p"], [_row(c) for c in shown])
    if len(shown) < len(comparison.classes):
        console.say(f"These are {len(shown)} of {len(comparison.classes)} classes.")
    for change, words in ((GAINED, "now right"), (LOST, "now wrong"), (OTHER_WRONG, "still wrong")):
        rows = comparison.rows[comparison.changes == change]
        named = rows[:_NAMED]
        labels = truths_of(first.dataset.take(named), task)
        said = zip(*(said_of(model, task, named) for model in (first, second)), strict=True)
        for row, label, (before, after) in zip(named.tolist(), labels, said, strict=True):
            path = first.dataset.paths[row]
            console.say(f"{words}: {path}, which is {label}: {before}, then {after}")
        if len(rows) > _NAMED:
            console.say(f"{words}: and {len(rows) - _NAMED} more")
    console.say(
        f"{changes_in_words(comparison)} {classes_in_words(comparison)}\n{conclusion(comparison)}"
    )


def tell_models(comparisons: Sequence[Comparison]) -> None:
    """Show the accuracy of every model, each with an interval of its own."""
    for task in dict.fromkeys(c.task for c in comparisons):
        rows = [[name, str(share)] for name, share in models_of(comparisons, task)]
        console.table(["model", f"accuracy of {task.name} (95 %)"], rows)


def models_of(comparisons: Sequence[Comparison], task: Task) -> list[tuple[str, Share]]:
    """Return the accuracy of every model for one task, the first model first."""
    of_task = [c for c in comparisons if c.task == task]
    first = [(c.names[0], c.shares[0]) for c in of_task[:1]]
    return first + [(c.names[1], c.shares[1]) for c in of_task]


def difference_in_words(difference: Difference) -> tuple[str, str, str, str]:
    """Return a number of both models, their difference and its interval, in digits."""
    value = "–" if math.isnan(difference.value) else f"{difference.value:+.3f}"
    ends = "" if math.isnan(difference.low) else f"{difference.low:+.3f} to {difference.high:+.3f}"
    return number(difference.first), number(difference.second), value, ends


def _row(c: ClassDifference) -> list[str]:
    return [c.name, str(c.pictures), *difference_in_words(c.right), p_in_digits(c.p_value)]


def truths_of(dataset: Dataset, task: Task) -> list[str]:
    """Return what pictures are: the name of the class, or the names of the labels."""
    names = dataset.label_names(task).to_pylist()
    if task.multi_label:
        names = [", ".join(of_picture or ()) for of_picture in names]
    return [name or "nothing" for name in names]


def said_of(model: Predictions, task: Task, rows: NDArray[np.int64]) -> list[str]:
    """Return what a model says of some pictures, and how sure it is of that."""
    some = model.take(rows)
    answers = some.predicted(task)
    if task.multi_label:
        return [", ".join(task.classes[i] for i in np.flatnonzero(a)) or "nothing" for a in answers]
    sure = some.probabilities(task).max(axis=1)
    return [f"{task.classes[a]} {p:.0%}" for a, p in zip(answers.tolist(), sure, strict=True)]


def _groups(comparison: Comparison) -> str:
    return f" in {comparison.paired.units} groups" if comparison.grouped else ""


def _rounded(count: int) -> str:
    """Return a number in two digits that count, as no more are known."""
    digits = max(0, len(str(count)) - 2)
    return f"{round(count, -digits):,}"
