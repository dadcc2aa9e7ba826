"""Going on with an earlier run: its own options hold, and what has changed since is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hornbeam import console
from hornbeam.config import BUDGETS, CLUSTER, MAY_CHANGE, TrainOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.remote import is_remote
from hornbeam.errors import ConfigError, RunError
from hornbeam.options import flag
from hornbeam.runs import Run

_ANYWAY = "--resume-anyway goes on all the same"


@dataclasses.dataclass(frozen=True)
class Earlier:
    """A run that goes on.

    Attributes:
        run: it.
        options: its own, with those changes that were asked for and may be made.
    """

    run: Run
    options: TrainOptions


def earlier(options: TrainOptions) -> Earlier | None:
    """Return the run that `--resume` is about; `None` where a new one is to begin.

    Raises:
        ConfigError: there is none and nothing to begin one with, or an option was changed that makes
            another training.
    """
    if not options.resume:
        return None
    assert options.run is not None  # checked with the options
    if not Run.is_run(options.run):
        if options.data is None and options.recipe is None:
            raise ConfigError(
                f"--resume: there is no run in {options.run}; name DATA to begin it there."
            )
        console.say(f"There is no run in {options.run} yet: it begins.")
        return None
    run = Run(options.run)
    if not run.is_set_up and (options.data is not None or options.recipe is not None):
        return None  # killed before there was anything
    stored = {k: v for k, v in run.config().items() if k in TrainOptions.model_fields}
    given = options.model_fields_set
    asked = repeatable(options)
    if not options.resume_anyway:
        _refuse_changes(run, options, stored, asked)
    changes = {
        name: asked.get(name, getattr(options, name))
        for name in given
        if name in MAY_CHANGE or options.resume_anyway
    }
    if given & set(BUDGETS):
        stored |= dict.fromkeys(BUDGETS)
    values = stored | changes | {"run": options.run, "resume": True}
    if (run.path / "recipe.py").is_file() and "recipe" not in changes:
        values["recipe"] = run.path / "recipe.py"  # as it was
    values.pop("config", None)
    return Earlier(run, TrainOptions(**values))


def _refuse_changes(
    run: Run, options: TrainOptions, stored: dict[str, Any], asked: dict[str, Any]
) -> None:
    """Refuse options that would make another training of it.

    Raises:
        ConfigError: with all of them.
    """
    changed = []
    meant = repeatable(options.resolved())
    for name in sorted(options.model_fields_set - MAY_CHANGE - {"recipe"}):
        if stored.get(name) not in (asked[name], meant[name]) and asked[name] not in (None, "auto"):
            changed.append(f"{flag(name)} was {stored.get(name)} and is {asked[name]} now")
    kept = run.path / "recipe.py"
    if options.recipe is not None:
        before = kept.read_bytes() if kept.is_file() else None
        now = options.recipe.read_bytes() if options.recipe.is_file() else None
        if before != now:
            changed.append(f"--recipe {options.recipe} is not what it was, {kept}")
    if changed:
        raise ConfigError(f"--resume: {'; '.join(changed)}; leave that out, or {_ANYWAY}.")


def check_backend(before: Earlier, backend: str) -> None:
    """Refuse to go on with another engine, whose numbers are others.

    Raises:
        ConfigError: it is another.
    """
    was = before.run.environment().get("backend", backend)
    if was != backend and not before.options.resume_anyway:
        raise ConfigError(
            f"--resume: the run began on {was}, and this is {backend}; give --backend {was}, or "
            f"{_ANYWAY}."
        )


def check_dataset(before: Earlier, dataset: Dataset) -> None:
    """Refuse to go on with other pictures than the run began with.

    Raises:
        RunError: they are others; or their classes are, which nothing helps against.
    """
    run = before.run
    if dataset.tasks != run.tasks() or dataset.features != run.features():
        raise RunError(
            f"--resume: the classes in {dataset.root} are no longer those of {run.path}; begin a new "
            "run."
        )
    if dataset.fingerprint() == run.fingerprint():
        return
    said = _difference(run.table(), dataset)
    if not said:
        return  # they were verified then and not now, or the other way round
    if not before.options.resume_anyway:
        raise RunError(
            f"--resume: the pictures in {dataset.root} are not those that {run.path} began with: "
            f"{said}; {_ANYWAY}."
        )
    console.warn(f"The pictures are not those that the run began with: {said}.")


def _difference(before: Dataset, now: Dataset) -> str:
    """Say how many pictures came, went and changed, as far as both lists know them."""
    known = [name for name in now.table.column_names if name in before.table.column_names]
    old, new = _rows(before, known), _rows(now, known)
    counts = {
        "new": len(new.keys() - old.keys()),
        "gone": len(old.keys() - new.keys()),
        "changed": sum(old[path] != new[path] for path in old.keys() & new.keys()),
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _rows(dataset: Dataset, columns: list[str]) -> dict[str, Any]:
    lists = [dataset.table[name].to_pylist() for name in columns]
    return dict(zip(dataset.table["path"].to_pylist(), zip(*lists, strict=True), strict=True))


def repeatable(options: TrainOptions) -> dict[str, Any]:
    """Return the options as a configuration file that repeats the run."""
    left_out = {"run", "overwrite", "config", "resume", "resume_anyway", *CLUSTER}
    values = options.model_dump(mode="json", exclude=left_out)
    for name in ("data", "validation_data"):
        if values[name] and not is_remote(values[name]):
            values[name] = str(Path(values[name]).absolute())
    if options.labels_file:
        values["labels_file"] = str(options.labels_file.absolute())
    if options.recipe:
        values["recipe"] = str(options.recipe.resolve())
    if options.weights not in ("none", "imagenet"):
        values["weights"] = str(Path(options.weights).resolve())
    if options.restore_map and Path(options.restore_map).is_file():  # else rules of ours, by name
        values["restore_map"] = str(Path(options.restore_map).absolute())
    return values
