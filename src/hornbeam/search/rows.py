"""What is known of each trial of a search: in tables, in `trials.csv`, and on the page."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.search import latency
from hornbeam.search.trial import Objective, Paths, read_validations

if TYPE_CHECKING:
    import optuna

    from hornbeam.search.study import Plan

Interval = Callable[[int, int], tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Row:
    """What is known of one trial.

    Attributes:
        number: of the trial.
        values: of the parameters, by name.
        state: complete, pruned, failed or running.
        objective: the best of its validations, by what trials are compared by; NaN of none.
        accuracy: of the validation pictures, at that validation; NaN where it is not known.
        interval: 95 %, of it; `None` where it is not known, or is of several tasks.
        validations: their number.
        epochs: times that each picture was seen.
        curve: the objective of each validation.
        one: milliseconds for one picture, here; `None` where it was not measured.
        batch: milliseconds for 32.
        parameters: of the model.
        megabytes: of its file.
        error: why it failed.
    """

    number: int
    values: dict[str, Any]
    state: str
    objective: float
    accuracy: float
    interval: tuple[float, float] | None
    validations: int
    epochs: float
    curve: tuple[float, ...]
    one: float | None = None
    batch: float | None = None
    parameters: int | None = None
    megabytes: float | None = None
    error: str = ""


def gather_rows(
    plan: Plan, trials: Sequence[optuna.trial.FrozenTrial], interval: Interval
) -> list[Row]:
    """Return the trials, best first; those whose models are here with their latencies."""
    rows = [_row(plan, trial, interval) for trial in trials if trial.state.name != "WAITING"]
    here = [row for row in rows if Paths(plan.directory, row.number).model.is_file()]
    if plan.options.latency and here:
        runs = [Paths(plan.directory, row.number).run for row in here]
        measured = latency.measure_all(plan.directory, runs, plan.options.backend)
        for row in here:
            found = measured.get(Paths(plan.directory, row.number).run.name, {})
            index = rows.index(row)
            rows[index] = dataclasses.replace(
                row, one=found.get("one"), batch=found.get("batch"),
                parameters=int(found["parameters"]) if found else None,
            )  # fmt: skip
    sign = -1 if plan.objective.maximizes else 1
    order = ("complete", "pruned", "running", "failed")

    def place(row: Row) -> tuple[int, float, int]:
        value = math.inf if math.isnan(row.objective) else sign * row.objective
        return order.index(row.state), value, row.number

    return sorted(rows, key=place)


def _row(plan: Plan, trial: optuna.trial.FrozenTrial, interval: Interval) -> Row:
    paths, objective = Paths(plan.directory, trial.number), plan.objective
    validations = read_validations(paths.metrics)
    # Of a trial whose files are on another machine the study knows as much.
    curve = [objective.of(row) for row in validations] or list(trial.intermediate_values.values())
    best = objective.best(curve)
    accuracy, last = math.nan, {}
    if validations:
        last = validations[-1]
        chosen = validations[curve.index(best)] if best in curve else last
        accuracy = Objective("auto", "auto").of(chosen)
    pictures, several = _judged(paths)
    known = not (math.isnan(accuracy) or several) and pictures
    state = {"FAIL": "failed"}.get(trial.state.name, trial.state.name.lower())
    file = paths.model
    return Row(
        trial.number, trial.params, state, best, accuracy,
        interval(round(accuracy * pictures), pictures) if known else None,
        len(curve), float(last.get("epoch", 0) or 0), tuple(curve),
        megabytes=file.stat().st_size / 1e6 if file.is_file() else None,
        error=trial.user_attrs.get("error", ""),
    )  # fmt: skip


def _judged(paths: Paths) -> tuple[int, bool]:
    """Return the number of validation pictures of a run, and whether it has several tasks."""
    try:
        summary = json.loads((paths.run / "dataset.json").read_text(encoding="utf-8"))
        counts = list(summary["counts"].values())
        return sum(counts[0]["validation"].values()), len(counts) > 1
    except (OSError, ValueError, LookupError):
        return 0, False


_COLUMNS = ("accuracy", "validations", "state", "ms, 1", "ms, 32", "parameters", "MB")


def cells(row: Row, objective: Objective) -> list[str]:
    """Return what tables say of a trial, after its values."""
    accuracy = "–"
    if not math.isnan(row.accuracy):
        accuracy = f"{row.accuracy:.1%}"
        if row.interval:
            accuracy += f" ({row.interval[0]:.1%} to {row.interval[1]:.1%})"
    named = [] if objective.monitor == "auto" else [f"{row.objective:.4g}"]
    return [
        *named, accuracy, str(row.validations), row.state, _number(row.one), _number(row.batch),
        "–" if row.parameters is None else f"{row.parameters:,}", _number(row.megabytes),
    ]  # fmt: skip


def columns(objective: Objective) -> list[str]:
    """Return the heads of those."""
    return [*([] if objective.monitor == "auto" else [objective.name]), *_COLUMNS]


def shown(value: Any) -> str:
    """Return a value of a parameter as tables show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def as_csv(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return the table with all that is known, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "trial", *names, "state", "objective", "accuracy", "accuracy_low", "accuracy_high",
        "validations", "epochs", "ms_one", "ms_batch_of_32", "parameters", "megabytes", "error",
    ])  # fmt: skip
    for row in rows:
        low, high = row.interval or (None, None)
        writer.writerow([
            row.number, *(row.values.get(name) for name in names), row.state, row.objective,
            row.accuracy, low, high, row.validations, row.epochs, row.one, row.batch,
            row.parameters, row.megabytes, row.error,
        ])  # fmt: skip
    return text.getvalue()
