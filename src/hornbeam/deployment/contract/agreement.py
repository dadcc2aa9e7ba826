"""How far the answers of an artifact are from those of the trained model, in numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.config import CLEAR_MARGIN
from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import UNKNOWN, Manifest
from hornbeam.evaluation.comparison.paired import Paired

Answers = Mapping[str, NDArray[np.floating[Any]]]
"""By output, `[pictures, …]`."""

_TIE = 1e-5
"""Distance of two probabilities, or of one from a threshold, that float32 does not tell apart: sums in
another order differ by up to 1e-6 a layer."""

_WORST = 5
"""Classes that are named as those that suffer."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """What is known of the pictures that an artifact is asked about.

    Attributes:
        expected: what the trained model says.
        labels: by task, as of `Dataset.labels`.
        groups: numbers of what belongs together, `[pictures]`; `None` where each stands alone.
    """

    expected: Answers
    labels: Mapping[str, NDArray[Any]]
    groups: NDArray[np.int64] | None = None


def compare(held_out: HeldOut, found: Answers, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Return what is written about an artifact, by output; shares and differences are plain numbers.

    Args:
        held_out: the pictures.
        found: what the artifact says.
        manifest: the tasks, and from where an answer is sure and a picture unknown.
    """
    result = {
        task.name: _of_task(task, held_out, found[task.name], manifest.abstain.get(task.name))
        for task in manifest.tasks
    }
    if manifest.unknown is not None:
        result[UNKNOWN] = _of_unknown(
            held_out.expected[UNKNOWN], found[UNKNOWN], float(manifest.unknown["above"])
        )
    return result


def _of_task(
    task: Task, held_out: HeldOut, found: NDArray[Any], abstain: Mapping[str, Any] | None
) -> dict[str, Any]:
    expected = held_out.expected[task.name]
    difference = np.abs(found - expected)
    same, clear = _same_answers(task, expected, found)
    largest = difference.max(axis=1)
    result = {
        "pictures": len(expected),
        "answers": same.size,
        "first_answer_equal": float(same.mean()),
        "clear_answers": int(clear.sum()),
        "clear_answer_equal": float(same[clear].mean()) if clear.any() else 1.0,
        "largest_difference": float(largest.max()),
        "mean_largest_difference": float(largest.mean()),
        "accuracy": _accuracy(task, held_out, expected, found),
        "suffering": _suffering(task, expected, same),
    }
    if abstain is not None:
        below = abstain["below"]
        sure = np.zeros((2, len(expected)), bool)
        near = np.zeros(len(expected), bool)
        if below is not None:
            best = np.stack([expected.max(axis=1), found.max(axis=1)])
            sure, near = best >= below, np.abs(best - below).max(axis=0) <= _TIE
        result["sure_equal"] = float(((sure[0] == sure[1]) | near).mean())
    return result


def _same_answers(
    task: Task, expected: NDArray[Any], found: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which answers are the same, and which of the model's were clear.

    By picture; of a multi-label task by picture and class, `[pictures, classes]`: each is a decision
    at 0.5. Of several best answers that tie any will do.
    """
    if task.multi_label:
        tie = np.abs(expected - 0.5) <= _TIE
        return ((expected >= 0.5) == (found >= 0.5)) | tie, np.abs(
            expected - 0.5
        ) > CLEAR_MARGIN / 2
    best = expected.max(axis=1)
    named = np.take_along_axis(expected, found.argmax(axis=1)[:, None], axis=1)[:, 0]
    second = np.partition(expected, -2, axis=1)[:, -2] if expected.shape[1] > 1 else 0 * best
    return best - named <= _TIE, best - second > CLEAR_MARGIN


def _accuracy(
    task: Task, held_out: HeldOut, expected: NDArray[Any], found: NDArray[Any]
) -> dict[str, Any] | None:
    """Return the accuracies and their difference with its interval; `None` where nothing is labelled.

    Of a multi-label task a picture is right if all its marks are. The interval is Tango's for paired
    shares, which held in simulations (docs/log.md) where bootstrap percentiles of small sets do not.
    """
    labels = held_out.labels[task.name]
    if task.multi_label:
        known = np.ones(len(labels), bool)
        right = [((p >= 0.5) == labels).all(axis=1) for p in (expected, found)]
    else:
        known = labels >= 0
        right = [p.argmax(axis=1)[known] == labels[known] for p in (expected, found)]
    if not known.any():
        return None
    groups = None if held_out.groups is None else held_out.groups[known]
    paired = Paired.of(right[0], right[1], groups)
    low, high = paired.interval
    return {
        "pictures": int(known.sum()), "model": float(right[0].mean()),
        "artifact": float(right[1].mean()), "change": paired.value, "low": low, "high": high,
    }  # fmt: skip


def _suffering(task: Task, expected: NDArray[Any], same: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the classes whose pictures are answered otherwise most often, by the model's answers."""
    if task.multi_label:
        answered, changed = np.full(expected.shape[1], len(expected)), (~same).sum(axis=0)
    else:
        first, count = expected.argmax(axis=1), len(task.classes)
        answered = np.bincount(first, minlength=count)
        changed = np.bincount(first[~same], minlength=count)
    order = np.lexsort((answered, -changed))[:_WORST]
    return [
        {"class": task.classes[i], "pictures": int(answered[i]), "changed": int(changed[i])}
        for i in order
        if changed[i]
    ]


def _of_unknown(expected: NDArray[Any], found: NDArray[Any], above: float) -> dict[str, Any]:
    """Return the differences of the score, and relative ones: an energy has any size."""
    difference = np.abs(found - expected)
    size = max(1.0, float(np.abs(expected).max()))
    near = np.maximum(np.abs(expected - above), np.abs(found - above)) <= _TIE * size
    same = ((expected > above) == (found > above)) | near
    return {
        "pictures": len(expected),
        "flag_equal": float(same.mean()),
        "largest_difference": float(difference.max()),
        "relative_difference": float(difference.max()) / size,
    }
