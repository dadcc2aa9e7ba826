"""The command that compares trained models on the same pictures."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam import console
from hornbeam.config import CompareOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.errors import ConfigError, ContractError
from hornbeam.evaluation.comparison import compare_words, matching
from hornbeam.evaluation.comparison.turns import seconds_by_turns
from hornbeam.evaluation.predictions import Predictions
from hornbeam.recipe import Recipe
from hornbeam.runs import Run
from hornbeam.workflow.compared import (
    Asked,
    answers_of,
    given,
    held_out,
    known_answers,
    scalings_of,
)
from hornbeam.workflow.judgement import pipeline_of

if TYPE_CHECKING:
    from hornbeam.evaluation.comparison.compare import Comparison


def compare(options: CompareOptions) -> list[Comparison]:
    """Say which of several trained models is better, on the same pictures, and whether that is shown."""
    from hornbeam.evaluation.comparison.compare import compare_all
    from hornbeam.evaluation.comparison.compare_files import write_changes, write_comparisons
    from hornbeam.evaluation.comparison.compare_page import write_compare_page

    runs, data = _runs_and_data(options)
    names = names_of(runs)
    tasks = matching.common_tasks([run.tasks() for run in runs], names)
    _warn_of_classes(tasks, names)
    if data is None:
        dataset, asked, kept = held_out(runs, names, tasks, options.split)
    else:
        dataset, asked, kept = given(runs, names, tasks, data, options)
    scalings, uncalibrated = scalings_of(runs, names)
    predictions, models = [], []
    for place, run in enumerate(runs):
        anew = options.ask or options.tta > 1
        known = known_answers(run, None if anew else kept[place])
        logits, model = answers_of(run, asked[place], known, len(dataset), options)
        for name, scaling in scalings[place].items():
            logits[name] = scaling.apply(logits[name])
        columns = {c.task.name: logits[c.names[place]][:, c.columns[place]] for c in tasks}
        predictions.append(Predictions(dataset, dataset.tasks, columns))
        models.append(model if options.ask else None)
    costs = _costs(runs, models, asked, options) if options.ask else []
    found = [c for task in dataset.tasks for c in compare_all(predictions, task, names)]
    basis = " ".join(filter(None, [_basis(dataset, names), uncalibrated]))
    console.say(basis)
    compare_words.tell_models(found)
    _tell_costs(names, costs)
    for comparison in found:
        compare_words.tell(
            comparison, predictions[0], predictions[names.index(comparison.names[1])]
        )
    if options.out:
        write_changes(options.out, predictions, names, found)
    if options.json_file:
        told = {n: {"run": str(r.path)} for n, r in zip(names, runs, strict=True)}
        for name, cost in zip(names, costs, strict=False):
            told[name] |= cost
        about = {"number": len(dataset), "splits": list(dataset.splits), "data": data}
        write_comparisons(options.json_file, found, told, about)
    if options.html:
        write_compare_page(options.html, found, predictions, names, basis)
        console.say(f"{options.html} shows the pictures whose answer changed.")
    _require_not_worse(found, options.fail_if_worse)
    return found


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return a name for each run: the last part of its path, or as many as tell them apart."""
    parts = []
    for run in runs:
        path = run.path.absolute()
        # A checkpoint is called by its run: photos-1/best.
        words = [p for p in path.parts if p != "checkpoints"]
        least = 2 if path.parent.name == "checkpoints" else 1
        parts.append((words, least))
    names = ["/".join(words[-least:]) for words, least in parts]
    length = 1
    while len(set(names)) < len({tuple(words) for words, _ in parts}):
        length += 1
        names = ["/".join(words[-max(least, length) :]) for words, least in parts]
    seen: dict[str, int] = {}
    for place, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[place] = f"{name} ({seen[name]})"
    return names


def _runs_and_data(options: CompareOptions) -> tuple[list[Run], str | None]:
    """Tell run directories and DATA apart: runs come first, and one other argument may follow them."""
    words, data = list(options.runs), options.data
    last = words[-1] if words else ""
    if data is None and len(words) > 2 and not Run.is_run(Path(last)):
        data = words.pop()
    runs = [Run.open(Path(word)) for word in words]
    if len(runs) < 2:
        raise ConfigError(
            "Two runs or more are compared: hornbeam compare RUN RUN … [DATA]"
            + (f" (got {words[0]} alone)." if words else ".")
        )
    return runs, data


def _warn_of_classes(tasks: Sequence[matching.CommonTask], names: Sequence[str]) -> None:
    for common in tasks:
        for name, lacking in zip(names, common.lacking, strict=True):
            if lacking:
                told = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
                console.warn(
                    f"{name} does not know {told}; models are compared on the "
                    f"{len(common.task.classes)} classes of {common.task.name} that all know, and only "
                    "these count as answers."
                )


def _costs(
    runs: Sequence[Run], models: Sequence[Any], asked: Sequence[Asked], options: CompareOptions
) -> list[dict[str, Any]]:
    """Return the size of every model, and the time that it takes for one of a batch of pictures."""
    calls, counts = [], []
    for run, model, parts in zip(runs, models, asked, strict=True):
        dataset = max((part for _, part in parts), key=len)
        count = min(options.batch_size, len(dataset))
        loader = Loader(
            dataset, batch_size=count, image_size=run.image_size(),
            **pipeline_of(run, run.recipe() or Recipe.none()),
        )  # fmt: skip
        calls.append(functools.partial(model.predict_on_batch, loader.batch(0).inputs))
        counts.append(count)
    taken = seconds_by_turns(calls)
    return [
        {
            "parameters": model.count_params(),
            "milliseconds": round(1000 * t / n, 3),
            "batch_size": n,
        }
        for model, t, n in zip(models, taken, counts, strict=True)
    ]


def _tell_costs(names: Sequence[str], costs: Sequence[dict[str, Any]]) -> None:
    rows = [
        [name, f"{cost['parameters']:,}", f"{cost['milliseconds']:.2f}"]
        for name, cost in zip(names, costs, strict=False)
    ]
    if rows:
        size = costs[0]["batch_size"]
        console.table(["model", "parameters", f"ms a picture, in batches of {size}, here"], rows)


def _basis(dataset: Dataset, names: Sequence[str]) -> str:
    """Say on which pictures the models are compared."""
    splits = " and ".join(filter(None, dataset.splits))
    said = f"{len(dataset)} {splits + ' ' if splits else ''}pictures that no run trained on"
    told = f"{', '.join(names[1:])} beside {names[0]}, on {said}."
    if "validation" in splits:
        told += " (The validation pictures also chose each run's best epoch.)"
    return told


def _require_not_worse(found: Sequence[Comparison], allowed: float | None) -> None:
    """End with 3 if a model is shown to be worse than the first by more than is allowed, in points."""
    if allowed is None:
        return
    worse = [c for c in found if c.worse and 100 * c.accuracy.high < -allowed]
    if worse:
        raise ContractError(
            f"{worse[0].names[1]} is worse than {worse[0].names[0]} by "
            f"{-100 * worse[0].accuracy.value:.1f} points, at least "
            f"{-100 * worse[0].accuracy.high:.1f}; --fail-if-worse allows {allowed:g}."
        )
