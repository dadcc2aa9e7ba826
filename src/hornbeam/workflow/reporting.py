"""The report of a run, made of what its files hold."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hornbeam import console
from hornbeam.config import ReportOptions
from hornbeam.data.dataset import TEST, VALIDATION, Dataset
from hornbeam.errors import ConfigError, HornbeamError
from hornbeam.runs import Run
from hornbeam.storage import read_json_lines, read_rows

if TYPE_CHECKING:
    from hornbeam.evaluation.explanations import Explanations
    from hornbeam.evaluation.predictions import Predictions
    from hornbeam.evaluation.report import ReportContent
    from hornbeam.evaluation.scoring.scores import Scores
    from hornbeam.evaluation.trust.measuring import Trust
    from hornbeam.evaluation.trust.safeguards import Safeguards

EXPLANATIONS = "explanations.npz"
SCORES = "scores.json"
PREDICTIONS = "predictions.parquet"


def report(options: ReportOptions) -> Path:
    """Make the report of a run anew, without its model, and show it; return its path."""
    from hornbeam.evaluation.report import write_report
    from hornbeam.evaluation.scoring.grouped import groupings_for
    from hornbeam.evaluation.scoring.scores import score_all
    from hornbeam.evaluation.trust.measuring import measure_trust
    from hornbeam.evaluation.trust.safeguards import Safeguards

    run = Run.open(options.run)
    path = options.out or run.report
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--out {path}: name an HTML file in a directory that is there.")
    safeguards = Safeguards.load(run.path)
    config, predictions = run.config(), _predictions(run, safeguards)
    # Those of the last evaluation, which may have been given others than the training.
    groups = told_by(run.path / SCORES).get("groups", config.get("groups"))
    groupings = groupings_for(run.tasks(), groups)
    scores, trust = [], {}
    if len(predictions):
        scores = score_all(predictions, config.get("metrics") or (), groupings)
        here = VALIDATION in predictions.dataset.splits
        trust = measure_trust(predictions, safeguards, fitted_here=here)
    write_report(path, content_of(run, predictions, scores, trust=trust))
    console.say(f"The report is {path}.")
    if options.open:
        _show(path)
    return path


def content_of(
    run: Run, predictions: Predictions, scores: Sequence[Scores], *, place: Path | None = None,
    explanations: Explanations | None = None, trust: Mapping[str, Trust] | None = None,
) -> ReportContent:  # fmt: skip
    """Return what a report shows: what is given here, and what the run's files tell beside it.

    Args:
        run: whose model answered.
        predictions: of the pictures that judge.
        scores: of every task.
        place: directory of the results; else the run's own.
        explanations: where the model looks; else those that are kept there.
        trust: by task, whether its probabilities mean what they say.
    """
    from hornbeam.evaluation.explanations import Explanations
    from hornbeam.evaluation.labels.labels_file import read_suspects
    from hornbeam.evaluation.report import ReportContent

    place = place or run.path
    environment, dataset = (
        told_by(run.path / "environment.json"),
        told_by(run.path / "dataset.json"),
    )
    metrics, kept = run.path / "metrics.csv", place / EXPLANATIONS
    suspected = run.path / "labels" / "labels.csv"
    suspects, unread, pictures, data = None, "", None, _data(place, run, predictions)
    # What is damaged or gone is no reason to have no report of the rest.
    try:
        if suspected.is_file() and not data:
            suspects = read_suspects(suspected)
    except HornbeamError as error:
        unread = str(error)
    with contextlib.suppress(HornbeamError):
        if explanations is None and kept.is_file():
            explanations = Explanations.load(kept)
    with contextlib.suppress(HornbeamError):
        pictures = run.dataset() if suspects else None
    name = run.path.absolute().name + (f": {place.name}" if place != run.path else "")
    return ReportContent(
        name, predictions, scores,
        config=run.config(), command=environment.get("command", ()), environment=environment,
        curves=read_rows(metrics) if metrics.is_file() else (),
        events=read_json_lines(run.path / "log.jsonl"),
        counts=dataset.get("counts", {}), skipped=dataset.get("skipped", {}),
        sizes=_sizes(run), trust=trust or {}, suspects=suspects, unread=unread,
        explanations=explanations, pictures=pictures, data=data,
    )  # fmt: skip


def _predictions(run: Run, safeguards: Safeguards) -> Predictions:
    """Return the kept answers to the split that was judged last; none, where none was."""
    from hornbeam.evaluation.predictions import Predictions

    try:
        dataset = run.dataset()
    except HornbeamError:  # the pictures are gone, but what was said of them is not
        dataset = run.table()
    tasks = run.tasks()
    path = run.path / PREDICTIONS
    if not path.is_file():
        empty = {task.name: np.zeros((0, len(task.classes)), np.float32) for task in tasks}
        return Predictions(dataset.take([]), tasks, empty)
    predictions = Predictions.load(path, dataset, tasks, safeguards.scalings)
    judged = _judged(run, predictions.dataset)
    rows = [predictions.dataset.where(split) for split in judged]
    return predictions.take(np.concatenate(rows)) if rows else predictions


def _judged(run: Run, dataset: Dataset) -> Sequence[str]:
    """Return the splits that were judged last: as `scores.json` says, else test, else validation."""
    told = [split for split in told_by(run.path / SCORES).get("splits", ()) if split]
    if told and set(told) <= set(dataset.splits):
        return told
    return next(([split] for split in (TEST, VALIDATION) if split in dataset.splits), ())


def _data(place: Path, run: Run, predictions: Predictions) -> str:
    """Return what the pictures are that judge, as `scores.json` says; empty for the run's own."""
    told = told_by(place / SCORES)
    if "data" in told:
        return str(told["data"] or "")
    # An earlier version did not say.
    return "" if place.resolve() == run.path.resolve() else str(predictions.dataset.root)


def _sizes(run: Run) -> dict[str, int]:
    """Return how many pictures each split of the training has; nothing where its list is gone."""
    with contextlib.suppress(HornbeamError):
        table = run.table()
        return {split: len(table.where(split)) for split in table.splits}
    return {}


def _show(path: Path) -> None:
    """Open a page in the user's browser."""
    import webbrowser

    if not webbrowser.open(path.resolve().as_uri()):
        console.say("No browser was found; open the file in one.")


def told_by(path: Path) -> dict[str, Any]:
    """Return what a file holds; nothing where it is missing or damaged: a report can do without."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}
