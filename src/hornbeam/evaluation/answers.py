"""The answers of `hornbeam predict`, for a person and for files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from hornbeam.evaluation.predictions import Predictions
from hornbeam.storage import write_table, write_text


def answer_lines(predictions: Predictions, top: int) -> Iterator[str]:
    """Yield `picture: class 97.1%  class 2.0% …`, a line per picture and task, the best first."""
    probabilities = {task: predictions.probabilities(task) for task in predictions.tasks}
    best = {task: predictions.best(task, top) for task in predictions.tasks}
    for row, path in enumerate(predictions.dataset.paths):
        for task in predictions.tasks:
            answers = (
                f"{task.classes[i]} {probabilities[task][row, i]:.1%}" for i in best[task][row]
            )
            of_task = f" {task.name}" if len(predictions.tasks) > 1 else ""
            yield f"{path}{of_task}: {'  '.join(answers)}"


def write_answers(predictions: Predictions, top: int, bad: dict[str, str], out: Path) -> None:
    """Write one row per picture to a `.csv`, `.json` or `.parquet` file, whole or not at all.

    Columns: `path`; for each task T its `T_1`, `T_1_probability`, `T_2`, … up to the number of
    classes or `top`; `error`, which is empty but for pictures that could not be read.

    Args:
        predictions: of the readable pictures.
        top: how many classes to name.
        bad: what is wrong with the other pictures, by path.
        out: the file; its suffix chooses the format.
    """
    columns: dict[str, list[object]] = {"path": [*predictions.dataset.paths, *bad]}
    for task in predictions.tasks:
        best = predictions.best(task, top)
        chosen = np.take_along_axis(predictions.probabilities(task), best, axis=1)
        for place in range(best.shape[1]):
            names = [task.classes[i] for i in best[:, place]]
            columns[f"{task.name}_{place + 1}"] = [*names, *[None] * len(bad)]
            probabilities = [round(float(p), 6) for p in chosen[:, place]]
            columns[f"{task.name}_{place + 1}_probability"] = [*probabilities, *[None] * len(bad)]
    columns["error"] = [*[""] * len(predictions), *bad.values()]
    table = pa.table(columns)
    if out.suffix == ".json":
        write_text(out, json.dumps(table.to_pylist(), indent=1, ensure_ascii=False) + "\n")
        return
    write_table(out, table)
