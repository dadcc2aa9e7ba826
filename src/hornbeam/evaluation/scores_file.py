"""`scores.json`: what the model is worth, for programs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.shares import Estimate, Share
from hornbeam.evaluation.statistics import ClassScores, Scores
from hornbeam.storage import write_json


def write_scores(path: Path, predictions: Predictions, all_scores: list[Scores]) -> None:
    """Write all scores to a JSON file, whole or not at all.

    A number is `{"value", "low", "high"}` with the ends of its 95 % interval; a share has `successes`
    and `trials` too. Names are those of `--metrics`. What is not known is null.

    Args:
        path: of the file.
        predictions: of the pictures that judged.
        all_scores: of every task.
    """
    content = {
        "pictures": len(predictions),
        "splits": list(predictions.dataset.splits),
        "tasks": {scores.task.name: _of_task(scores) for scores in all_scores},
    }
    write_json(path, content)


def _of_task(scores: Scores) -> dict[str, Any]:
    loss, reach = scores.cross_entropy, scores.cross_entropy_error
    result: dict[str, Any] = {
        "metrics": {
            "accuracy": _estimate(scores.accuracy),
            **{name: _estimate(estimate) for name, estimate in scores.measures.items()},
            "cross_entropy": {
                "value": _number(loss), "low": _number(loss - reach), "high": _number(loss + reach),
            },
        },
        "classes": {c.name: _of_class(c) for c in scores.classes},
    }  # fmt: skip
    if scores.confusion is not None:
        names = scores.task.classes
        result["confusion"] = {
            name: {names[j]: int(row[j]) for j in row.nonzero()[0]}
            for name, row in zip(names, scores.confusion, strict=True)
        }
    if scores.groups is not None:
        result["groups"] = _of_task(scores.groups)
    return result


def _of_class(scores: ClassScores) -> dict[str, Any]:
    ranking = scores.ranking
    return {
        "pictures": scores.recall.trials,
        "precision": _estimate(scores.precision),
        "recall": _estimate(scores.recall),
        "f1": {"value": _number(scores.f1)},
        "auc": _estimate(ranking.auc),
        "average_precision": {"value": _number(ranking.average_precision)},
        **{
            f"sensitivity_at_specificity={level:g}": _estimate(share)
            for level, share in ranking.sensitivities.items()
        },
    }


def _estimate(estimate: Estimate) -> dict[str, float | int | None]:
    low, high = (_number(end) for end in estimate.interval)
    value = _number(estimate.value)
    result: dict[str, float | int | None] = {"value": value, "low": low, "high": high}
    if isinstance(estimate, Share):
        result |= {"successes": estimate.successes, "trials": estimate.trials}
    return result


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return round(value, 9) if math.isfinite(value) else None
