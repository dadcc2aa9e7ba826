"""What came of a search: a table, a CSV file, the options of the best trial, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import yaml

from hornbeam import console
from hornbeam.search.pareto_page import command_of_best, write_page
from hornbeam.search.rows import Interval, Row, as_csv, cells, columns, gather_rows, shown
from hornbeam.search.space import merged
from hornbeam.search.trial import Paths
from hornbeam.storage import write_text

if TYPE_CHECKING:
    import optuna

    from hornbeam.search.study import Plan

_SHOWN = 20
"""Trials in the table on the console, best first; the CSV file has all."""


def conclude(
    plan: Plan, trials: Sequence[optuna.trial.FrozenTrial], interval: Interval
) -> list[Row]:
    """Measure the models, write all files, and show the table; return its rows, best first."""
    rows = gather_rows(plan, trials, interval)
    names = [parameter.name for parameter in plan.space.parameters]
    write_text(plan.directory / "trials.csv", as_csv(rows, names))
    best = next((row for row in rows if row.state == "complete"), None)
    if best:
        file = Paths(plan.directory, best.number).options
        if file.is_file():
            options = yaml.safe_load(file.read_text(encoding="utf-8"))
        else:  # it was trained elsewhere
            options = merged(plan.given, {**plan.space.constants, **best.values})
        for name in ("leave_out_test", "threads"):
            options.pop(name, None)
        text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True)
        write_text(plan.directory / "best.yaml", text)
    write_page(plan, rows, _importances(plan, trials))
    _show(plan, rows, names)
    if best is None:
        console.say("No trial went to its end.")
        return rows
    console.say(
        f"The best is trial {best.number}; train it again, the test pictures included in its run, by "
        f"`{command_of_best(plan)}`."
    )
    console.say(
        f"{plan.directory / 'search.html'} shows accuracy against latency and size; the table is in "
        f"{plan.directory / 'trials.csv'}."
    )
    return rows


def _importances(plan: Plan, trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, float]:
    """Return the share of each parameter in what makes good trials good; nothing of too few trials."""
    import optuna

    finished = [t for t in trials if t.state.name == "COMPLETE"]
    if len(finished) < 10 or len(plan.space.parameters) < 2:
        return {}
    study = optuna.create_study(direction="maximize" if plan.objective.maximizes else "minimize")
    study.add_trials(finished)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    try:
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    except (ValueError, RuntimeError):  # parameters that hold in some trials only, or do not vary
        return {}


def _show(plan: Plan, rows: Sequence[Row], names: Sequence[str]) -> None:
    lines = [
        [str(row.number), *(shown(row.values.get(name, "–")) for name in names),
         *cells(row, plan.objective)]
        for row in rows[:_SHOWN]
    ]  # fmt: skip
    console.table(["trial", *names, *columns(plan.objective)], lines)
    if len(rows) > _SHOWN:
        console.say(f"… and {len(rows) - _SHOWN} more.")
