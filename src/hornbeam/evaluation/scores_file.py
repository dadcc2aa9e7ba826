"""`scores.json`: what the model is worth, for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.scores import ClassScores, Scores
from hornbeam.evaluation.scoring.shares import Estimate, Share, json_number
from hornbeam.evaluation.trust.measuring import Trust
from hornbeam.evaluation.trust.reliability import Reliability
from hornbeam.storage import write_json


def write_scores(
    path: Path, predictions: Predictions, all_scores: list[Scores],
    trust: Mapping[str, Trust] | None = None, about: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write all scores to a JSON file, whole or not at all.

    A number is `{"value", "low", "high"}` with the ends of its 95 % interval; a share has `successes`
    and `trials` too, and `effective_trials` where the pictures belong to groups. Names are those of
    `--metrics`. What is not known is null. The format is in docs/metrics.md.

    Args:
        path: of the file.
        predictions: of the pictures that judged.
        all_scores: of every task.
        trust: by task, whether its probabilities mean what they say.
        about: what else is to be known of the evaluation.
    """
    tasks = {}
    for scores in all_scores:
        name = scores.task.name
        tasks[name] = _of_task(scores)
        if trust and name in trust:
            tasks[name]["trust"] = _of_trust(trust[name])
    content = {
        "pictures": len(predictions),
        "splits": list(predictions.dataset.splits),
        "views": predictions.views,
        **(about or {}),
        "tasks": tasks,
    }
    write_json(path, content)


def _of_task(scores: Scores) -> dict[str, Any]:
    result: dict[str, Any] = {
        "units": {"count": scores.units, "kind": "groups" if scores.grouped else "pictures"},
        "advice": scores.advice,
        "metrics": {
            "accuracy": _estimate(scores.accuracy),
            **{name: _estimate(estimate) for name, estimate in scores.measures.items()},
            "cross_entropy": _estimate(scores.cross_entropy),
            "brier_score": _estimate(scores.brier_score),
        },
        "classes": {c.name: _of_class(c) for c in scores.classes},
    }
    if scores.confusion is not None:
        names = scores.task.classes
        result["confusion"] = {
            name: {names[j]: int(row[j]) for j in row.nonzero()[0]}
            for name, row in zip(names, scores.confusion, strict=True)
        }
    if scores.groups is not None:
        result["groups"] = _of_task(scores.groups)
    return result


def _of_trust(trust: Trust) -> dict[str, Any]:
    return {
        "before": _of_reliability(trust.before),
        "after": _of_reliability(trust.after) if trust.after else None,
        "thresholds": [threshold.to_json() for threshold in trust.thresholds],
        "sentences": list(trust.sentences),
    }


def _of_reliability(measured: Reliability) -> dict[str, Any]:
    return {
        "claimed": json_number(measured.claimed),
        "gap": _estimate(measured.gap),
        "calibration_error": {"value": json_number(measured.error)},
        "calibration_error_without_chance": _estimate(measured.corrected),
    }


def _of_class(scores: ClassScores) -> dict[str, Any]:
    ranking = scores.ranking
    return {
        "pictures": scores.recall.trials,
        "precision": _estimate(scores.precision),
        "recall": _estimate(scores.recall),
        "f1": _estimate(scores.f1),
        "auc": _estimate(ranking.auc),
        "average_precision": _estimate(ranking.average_precision),
        **{
            f"sensitivity_at_specificity={level:g}": _estimate(sensitivity)
            for level, sensitivity in ranking.sensitivities.items()
        },
    }


def _estimate(estimate: Estimate) -> dict[str, float | int | None]:
    low, high = (json_number(end) for end in estimate.interval)
    value = json_number(estimate.value)
    result: dict[str, float | int | None] = {"value": value, "low": low, "high": high}
    if isinstance(estimate, Share):
        result |= {"successes": estimate.successes, "trials": estimate.trials}
        if estimate.effective is not None:
            result["effective_trials"] = round(estimate.effective, 1)
    return result
