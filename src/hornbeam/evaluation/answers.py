"""The answers of `hornbeam predict`, for a person and for files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.storage import write_table

NOTHING = Safeguards()


def answer_lines(
    predictions: Predictions, top: int, safeguards: Safeguards = NOTHING
) -> Iterator[str]:
    """Yield `picture: class 97.1%  class 2.0% …`, a line per picture and task, the best first.

    `(unsure)` follows where the best is below the run's threshold, `(unlike the known classes)` where
    the picture is called unknown.

    Args:
        predictions: of the pictures, calibrated; with features where the safeguards need them.
        top: how many classes to name.
        safeguards: the run's.
    """
    probabilities = {task: predictions.probabilities(task) for task in predictions.tasks}
    best = {task: predictions.best(task, top) for task in predictions.tasks}
    sure = {task: safeguards.sure(predictions, task) for task in predictions.tasks}
    unknown = _unknown(predictions, safeguards)
    for row, path in enumerate(predictions.dataset.paths):
        for task in predictions.tasks:
            answers = [
                f"{task.classes[i]} {probabilities[task][row, i]:.1%}" for i in best[task][row]
            ]
            certain = sure[task]
            if certain is not None and not certain[row]:
                answers.append("(unsure)")
            if unknown is not None and unknown[1][row]:
                answers.append("(unlike the known classes)")
            of_task = f" {task.name}" if len(predictions.tasks) > 1 else ""
            yield f"{path}{of_task}: {'  '.join(answers)}"


def write_answers(
    predictions: Predictions, top: int, bad: dict[str, str], out: Path,
    safeguards: Safeguards = NOTHING,
) -> None:  # fmt: skip
    """Write one row per picture to a `.csv`, `.json`, `.jsonl` or `.parquet` file, whole or not at all.

    Columns: `path`; for each task T its `T_1`, `T_1_probability`, `T_2`, … up to the number of
    classes or `top`, and `T_sure` where the run has a threshold; `unknown`, whether the picture is
    unlike the known classes, and `unknown_score`, where something tells; `error`, which is empty
    but for pictures that could not be read.

    Args:
        predictions: of the readable pictures, as for `answer_lines`.
        top: how many classes to name.
        bad: what is wrong with the other pictures, by path.
        out: the file; its suffix chooses the format.
        safeguards: the run's.
    """
    none: list[object] = [None] * len(bad)
    columns: dict[str, list[object]] = {"path": [*predictions.dataset.paths, *bad]}
    for task in predictions.tasks:
        best = predictions.best(task, top)
        chosen = np.take_along_axis(predictions.probabilities(task), best, axis=1)
        for place in range(best.shape[1]):
            names = [task.classes[i] for i in best[:, place]]
            columns[f"{task.name}_{place + 1}"] = [*names, *none]
            probabilities = [round(float(p), 6) for p in chosen[:, place]]
            columns[f"{task.name}_{place + 1}_probability"] = [*probabilities, *none]
        sure = safeguards.sure(predictions, task)
        if sure is not None:
            columns[f"{task.name}_sure"] = [*sure.tolist(), *none]
    unknown = _unknown(predictions, safeguards)
    if unknown is not None:
        scores, called = unknown
        # A task may be called so: what it has a column for stays its own.
        for name, values in (("unknown", called.tolist()), ("unknown_score", scores.tolist())):
            columns.setdefault(name, [*values, *none])
    columns["error"] = [*[""] * len(predictions), *bad.values()]
    write_table(out, pa.table(columns))


def _unknown(
    predictions: Predictions, safeguards: Safeguards
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """Return each picture's unknown score, and whether it is too large; `None` if nothing tells."""
    scores = safeguards.unknown_scores(predictions)
    if scores is None or safeguards.unknown is None:
        return None
    return scores, scores > safeguards.unknown.threshold
