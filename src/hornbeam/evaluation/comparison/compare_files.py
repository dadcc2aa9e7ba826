"""A comparison as files, for programs: a row per picture, and all numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.evaluation.comparison.compare import Comparison
from hornbeam.evaluation.comparison.compare_words import conclusion
from hornbeam.evaluation.comparison.differences import Difference
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.shares import json_number
from hornbeam.storage import write_json, write_table

CHANGES = ("right", "wrong", "other wrong", "right to wrong", "wrong to right")
"""Names of what became of an answer, by the numbers of `compare`."""

_BETWEEN = ", "
"""Between the labels of one picture in a cell."""


def write_changes(
    path: Path, predictions: Sequence[Predictions], names: Sequence[str],
    comparisons: Sequence[Comparison],
) -> None:  # fmt: skip
    """Write one row per picture to a `.csv`, `.json` or `.parquet` file, whole or not at all.

    Columns: `path`, `split`; for each task T its label `T`; for each model M `M:T` (its answer),
    `M:T_correct`, `M:T_probability` (of the answer) and `M:T_label_probability` (of the label); for each
    model but the first `M:T_change`, one of `CHANGES`. Of a task of several labels there are no
    probabilities, and its labels stand in one cell. A picture without a label has nothing but answers.

    Args:
        path: of the file; its suffix chooses the format.
        predictions: of the models.
        names: of the models.
        comparisons: of all tasks.
    """
    dataset = predictions[0].dataset
    columns: dict[str, Any] = {"path": dataset.paths, "split": dataset.table["split"]}
    for task in predictions[0].tasks:
        labels = dataset.labels(task)
        known = np.ones(len(labels), bool) if task.multi_label else labels >= 0
        columns[task.name] = _in_words(task.classes, labels)
        for model, name in zip(predictions, names, strict=True):
            answers = model.predicted(task)
            correct = labels == answers
            correct = correct.all(axis=1) if task.multi_label else correct
            columns[f"{name}:{task.name}"] = _in_words(task.classes, answers)
            columns[f"{name}:{task.name}_correct"] = pa.array(correct, mask=~known)
            if not task.multi_label:
                probabilities = model.probabilities(task)
                rows = np.arange(len(labels))
                own = probabilities[rows, answers]
                columns[f"{name}:{task.name}_probability"] = pa.array(own)
                columns[f"{name}:{task.name}_label_probability"] = pa.array(
                    probabilities[rows, np.maximum(labels, 0)], mask=~known
                )
        for comparison in comparisons:
            if comparison.task == task:
                told = np.full(len(labels), None, object)
                told[comparison.rows] = np.array(CHANGES, object)[comparison.changes]
                columns[f"{comparison.names[1]}:{task.name}_change"] = pa.array(told, pa.string())
    write_table(path, pa.table(columns))


def write_comparisons(
    path: Path, comparisons: Sequence[Comparison], models: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write all numbers to a JSON file, whole or not at all; what is not known is null.

    Args:
        path: of the file.
        comparisons: of all tasks.
        models: what is known of each, by name.
        pictures: what is known of those that were compared on.
    """
    write_json(
        path,
        {"pictures": pictures, "models": models, "comparisons": [_of_one(c) for c in comparisons]},
    )


def _of_one(comparison: Comparison) -> dict[str, Any]:
    names = comparison.task.classes
    result = {
        "task": comparison.task.name,
        "first": comparison.names[0],
        "second": comparison.names[1],
        "conclusion": conclusion(comparison),
        "shown": comparison.shown,
        "pictures": comparison.pictures,
        "groups": comparison.paired.units if comparison.grouped else None,
        "design_effect": json_number(comparison.paired.effect),
        "accuracy": _difference(comparison.accuracy),
        "p_exact": comparison.test.exact,
        "p_mid": comparison.test.mid_p,
        "p_corrected": comparison.p_value,
        "pictures_needed": comparison.paired.needed,
        "changes": {name: comparison.count(i) for i, name in enumerate(CHANGES)},
        "measures": {name: _difference(d) for name, d in comparison.measures.items()},
        "classes": {
            c.name: {
                "pictures": c.pictures,
                "right" if comparison.task.multi_label else "recall": _difference(c.right),
                "wrong to right": c.gained, "right to wrong": c.lost,
                "p_corrected": c.p_value,
                "precision": dict(zip(("first", "second"), map(json_number, c.precision), strict=True)),
            }
            for c in comparison.classes
        },
    }  # fmt: skip
    if comparison.confusions is not None:
        result["confusion_changes"] = {
            name: {names[j]: int(row[j]) for j in row.nonzero()[0].tolist()}
            for name, row in zip(names, comparison.confusions, strict=True)
            if row.any()
        }
    return result


def _difference(difference: Difference) -> dict[str, float | None]:
    ends = {"low": difference.low, "high": difference.high}
    values = {
        "first": difference.first,
        "second": difference.second,
        "difference": difference.value,
    }
    return {name: json_number(value) for name, value in (values | ends).items()}


def _in_words(classes: Sequence[str], labels: NDArray[Any]) -> list[str | None]:
    """Return names of class indices; of marks `[pictures, classes]`, all names in one string."""
    if labels.ndim == 1:
        return [classes[label] if label >= 0 else None for label in labels.tolist()]
    return [_BETWEEN.join(classes[i] for i in np.flatnonzero(row).tolist()) for row in labels]
