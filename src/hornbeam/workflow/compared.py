"""What models are compared on: pictures that none of them trained on, and what each says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam import backend, console, telling
from hornbeam.config import CompareOptions
from hornbeam.data import sources
from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection import verifying
from hornbeam.data.remote import is_remote
from hornbeam.errors import DataError, RunError
from hornbeam.evaluation.comparison import matching
from hornbeam.evaluation.predictions import Predictions, Scaling
from hornbeam.recipe import Recipe
from hornbeam.runs import Run
from hornbeam.workflow.judgement import Judge, choose_split
from hornbeam.workflow.reporting import PREDICTIONS

if TYPE_CHECKING:
    import keras

Logits = dict[str, NDArray[np.float32]]

Kept = tuple[Dataset, NDArray[np.int64]] | None
"""All pictures of a run and the rows of the compared ones, -1 where it has none; none of other DATA."""

Asked = list[tuple[NDArray[np.int64], Dataset]]
"""Places among the compared pictures, and the dataset in which a run finds the pictures of these."""


_ROW = "row:"
"""A column that no task can be called by: the place of a picture in the whole table."""


def held_out(
    runs: Sequence[Run], names: Sequence[str], tasks: Sequence[matching.CommonTask], split: str
) -> tuple[Dataset, list[Asked], list[Kept]]:
    """Return the pictures that no run trained on, and where each run finds them."""
    datasets = [_pictures_of(run) for run in runs]
    held = matching.held_out_by_all(datasets, split)
    told = [
        f"{name} trained on {count}"
        for name, count in zip(names, held.trained, strict=True)
        if count
    ]
    which = "held-out" if split == "auto" else split
    if not len(held.rows):
        reason = "; ".join(told) or "other splits have them"
        raise DataError(
            f"No {which} picture of {names[0]} is held out from all the runs: of {held.candidates}, "
            f"{reason}. Name pictures that none was trained on after the runs, or train with the same "
            "split (--seed, or a manifest of `hornbeam split`)."
        )
    if told:
        console.warn(
            f"Of {held.candidates} {which} pictures of {names[0]}, {len(held.rows)} are compared: "
            f"{'; '.join(told)}."
        )
    first = datasets[0].take(held.rows)
    dataset = matching.with_common_classes(first, tasks, 0)
    asked: list[Asked] = []
    for place, (run, rows) in enumerate(zip(runs, held.theirs, strict=True)):
        known, other = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        if len(other):
            console.warn(
                f"{names[place]} does not list {len(other)} of them, and is asked about them."
            )
        asked.append([(known, datasets[place].take(rows[known]))])
        if len(other):
            asked[-1].append((other, first.take(other).with_features(run.features())))
        theirs = matching.with_common_classes(datasets[place].take(rows[known]), tasks, place)
        _warn_of_labels(dataset.take(known), theirs, names[0], names[place])
    kept: list[Kept] = [(own, rows) for own, rows in zip(datasets, held.theirs, strict=True)]
    return dataset, asked, kept


def given(
    runs: Sequence[Run], names: Sequence[str], tasks: Sequence[matching.CommonTask], data: str,
    options: CompareOptions,
) -> tuple[Dataset, list[Asked], list[Kept]]:  # fmt: skip
    """Return other pictures, without those that a run trained on."""
    if options.label_separator is None:
        separator = runs[0].config().get("label_separator")
        options = options.model_copy(update={"label_separator": separator})
    features = list(dict.fromkeys(name for run in runs for name in run.features()))
    dataset = sources.open_dataset(data, options, tasks=runs[0].tasks(), features=features)
    dataset = choose_split(dataset, options.split)
    threads = options.threads or backend.cores()
    dataset, skipped = verifying.verify(dataset, options.on_bad, threads)
    telling.tell_skipped(skipped)
    known = _known_pictures(runs, names)
    matched = matching.match(dataset, list(known.values()))
    for name, trained in zip(known, matched.trained, strict=True):
        if trained.any():
            console.warn(f"{name} trained on {trained.sum()} of the pictures, which are left out.")
    if not matched.fresh.any():
        raise DataError(f"{data}: a run was trained on every picture; give others.")
    dataset = dataset.take(np.flatnonzero(matched.fresh))
    everywhere = np.arange(len(dataset))
    asked = [[(everywhere, dataset.with_features(run.features()))] for run in runs]
    return matching.with_common_classes(dataset, tasks, 0), asked, [None] * len(runs)


def _known_pictures(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Dataset]:
    """Return all pictures of the runs' trainings by name, of those that list them."""
    result = {}
    for name, run in zip(names, runs, strict=True):
        try:
            result[name] = _pictures_of(run)
        except RunError:
            console.warn(f"{name} does not list its pictures, so it may have trained on these.")
    return result


def _pictures_of(run: Run) -> Dataset:
    """Return all pictures of a run's training; without a place, where they are no longer there."""
    try:
        return run.dataset()
    except RunError:
        if not (run.path / "dataset.parquet").is_file():
            raise
        return run.table()


def _warn_of_labels(first: Dataset, other: Dataset, first_name: str, name: str) -> None:
    """Say that two runs disagree on what is in the pictures."""
    for task in first.tasks:
        differ = first.labels(task) != other.labels(task)
        count = int((differ.any(axis=1) if task.multi_label else differ).sum())
        if count:
            console.warn(
                f"{count} of the pictures have another {task.name} in {name} than in {first_name}, "
                "which counts."
            )


def known_answers(run: Run, kept: Kept) -> tuple[NDArray[np.int64], Logits]:
    """Return what the run has on file: places among the compared pictures, and their logits by task.

    What was averaged over several views is left out.
    """
    nothing: tuple[NDArray[np.int64], Logits] = (np.zeros(0, np.int64), {})
    path = run.path / PREDICTIONS
    if kept is None or not path.is_file():
        return nothing
    dataset, rows = kept
    numbered = dataset.with_column(_ROW, pa.array(np.arange(len(dataset))))
    try:
        stored = Predictions.load(path, numbered, run.tasks())
    except RunError:
        return nothing
    views = Predictions.views_of(path)
    splits = stored.dataset.table["split"].to_pylist()
    stored = stored.take(np.flatnonzero([views.get(split, 1) == 1 for split in splits]))
    stored_at = np.full(len(dataset) + 1, -1)  # the last is that of -1
    stored_at[stored.dataset.table[_ROW].to_numpy()] = np.arange(len(stored))
    there = np.flatnonzero(stored_at[rows] >= 0)
    found = stored_at[rows[there]]
    return there, {name: logits[found] for name, logits in stored.logits.items()}


def answers_of(
    run: Run,
    asked: Asked,
    known: tuple[NDArray[np.int64], Logits],
    count: int,
    options: CompareOptions,
) -> tuple[Logits, keras.Model | None]:
    """Return a run's logits for all pictures, as the network gave them, and its model, if it was asked.

    Raises:
        RunError: it has to be asked, and the pictures are gone.
    """
    tasks = run.tasks()
    result = {task.name: np.empty((count, len(task.classes)), np.float32) for task in tasks}
    for name, values in known[1].items():
        result[name][known[0]] = values
    model = None
    for places, dataset in asked:
        new = np.flatnonzero(~np.isin(places, known[0]))
        if not len(new):
            continue
        if not is_remote(dataset.root) and not Path(dataset.root).is_dir():
            raise RunError(
                f"{run.path} has no answer on file to {len(new)} of the pictures, which are no longer "
                f"at {dataset.root}; name other pictures after the runs."
            )
        backend.select_backend(options.backend)
        model = model or run.load_model()
        recipe, threads = run.recipe() or Recipe.none(), options.threads or backend.cores()
        judge = Judge(run, model, recipe, options.batch_size, threads, options.tta)
        said = judge.ask(dataclasses.replace(dataset.take(new), tasks=()))
        for name, values in said.logits.items():
            result[name][places[new]] = values
    return result, model


def scalings_of(
    runs: Sequence[Run], names: Sequence[str]
) -> tuple[list[Mapping[str, Scaling]], str]:
    """Return what calibrates each run's logits, by task, and a sentence where nothing does.

    The probabilities of a model that is not calibrated, such as a checkpoint, would look worse beside
    calibrated ones for that alone; so if one is not, none is.
    """
    from hornbeam.evaluation.trust.safeguards import FILE, Safeguards

    lacking = [n for n, run in zip(names, runs, strict=True) if not (run.path / FILE).is_file()]
    if not lacking:
        return [Safeguards.load(run.path).scalings for run in runs], ""
    have = "has" if len(lacking) == 1 else "have"
    told = f"{', '.join(lacking)} {have} no {FILE}, so all answers are compared uncalibrated."
    return [{} for _ in runs], told
