"""Answers as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from hornbeam.data.tasks import Task
from hornbeam.deployment.predicting.predictor import Answer
from hornbeam.deployment.server.schemas import HOLDS
from hornbeam.deployment.server.swapping import Served

_DIGITS = 6
"""Of a probability; float32 has seven."""


def in_json(
    served: Served, names: Sequence[str | None], answers: Sequence[Answer], top: int
) -> bytes:
    """Return a `schemas.Answers`.

    Args:
        served: who answered.
        names: of the files.
        answers: to them.
        top: classes that are named of each.
    """
    told = [_told(name, answer, top) for name, answer in zip(names, answers, strict=True)]
    # ASCII only, because names of classes may hold what UTF-8 cannot write.
    return json.dumps({"bundle": served.identity, "answers": told}, allow_nan=False).encode()


def _labels(answer: Answer, task: Task) -> list[str]:
    """Return the labels that hold, the most probable first."""
    likely = answer.best(task.name, len(task.classes))
    return [name for name, probability in likely if probability >= HOLDS]


def _told(name: str | None, answer: Answer, top: int) -> dict[str, Any]:
    tasks: dict[str, Any] = {}
    if answer.error is None:
        for task in answer.tasks:
            best = answer.best(task.name, min(top, len(task.classes)))
            tasks[task.name] = {
                "top": [
                    {"class": each, "probability": round(probability, _DIGITS)}
                    for each, probability in best
                ],
                "sure": answer.sure.get(task.name),
                "labels": _labels(answer, task) if task.multi_label else None,
            }
    score = answer.unknown_score
    return {
        "file": name, "tasks": tasks, "unknown": answer.unknown,
        "unknown_score": score if score is not None and math.isfinite(score) else None,
        "error": answer.error,
    }  # fmt: skip
