"""The command about labels: which are probably wrong, and a table in which they are mended."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend, console, telling
from hornbeam.config import LabelsOptions, TableOptions
from hornbeam.data import sources
from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection import verifying
from hornbeam.data.remote import is_remote
from hornbeam.errors import ConfigError
from hornbeam.options import flag
from hornbeam.runs import Run, name_of
from hornbeam.workflow import features

if TYPE_CHECKING:
    from hornbeam.evaluation.labels.suspects import Found

_OF_TABLES = set(TableOptions.model_fields) - {"threads"}
"""Options that say how DATA is read."""

_PAIRS = 10
"""Pairs of classes that are listed on a terminal; the page has all."""


def review_labels(options: LabelsOptions) -> list[Found] | Dataset:
    """Find labels that are probably wrong; or, with --apply, write a manifest of better ones."""
    run = Run.open(Path(options.data)) if Run.is_run(Path(options.data)) else None
    if run is not None:
        _refuse_options_of_tables(options, run)
    if options.apply is not None:
        return _apply(options, options.apply, run)
    from hornbeam.evaluation.labels.labels_file import write_suspects
    from hornbeam.evaluation.labels.labels_page import write_labels_page
    from hornbeam.evaluation.labels.suspects import find_suspects

    directory = _directory(options, run)
    start = features.start_of(options, run)
    threads = options.threads or backend.cores()
    examples = start.recipe.examples
    dataset = (
        run.dataset() if run else sources.open_dataset(options.data, options, examples=examples)
    )
    dataset, skipped = verifying.verify(dataset, options.on_bad, threads)
    telling.tell_skipped(skipped)
    near = _near_duplicates(dataset, options.near, threads)
    values = features.compute(start, dataset, options.batch_size, threads)
    found = find_suspects(
        values, dataset, together=near, folds=options.folds, divisions=options.divisions,
        seed=options.seed, threshold=options.threshold, most=options.most,
    )  # fmt: skip
    suspects = [suspect for of_task in found for suspect in of_task.suspects]
    suspects.sort(key=lambda suspect: -suspect.score)
    directory.mkdir(parents=True, exist_ok=True)
    file, page = directory / "labels.csv", directory / "labels.html"
    command = shlex.join(
        ["hornbeam", "labels", options.data, *_options_of_tables(options), "--apply", str(file)]
    )
    write_labels_page(page, dataset, found, options.data, command)
    write_suspects(file, suspects)
    _tell(found)
    console.say(f"{len(suspects)} labels to look at are in {page}, and in {file}.")
    if suspects:
        console.say(f"Fill in its column new_label, by hand or on that page, and then: {command}")
    return found


def _refuse_options_of_tables(options: LabelsOptions, run: Run) -> None:
    """Refuse what says how DATA is read, as a run has read it already."""
    misplaced = options.model_fields_set & _OF_TABLES
    if misplaced:
        names = ", ".join(sorted(map(flag, misplaced)))
        raise ConfigError(f"{run.path} knows how its pictures are read; leave out {names}.")


def _options_of_tables(options: LabelsOptions) -> list[str]:
    """Return the words that make another command read DATA in the same way."""
    words = []
    for name in TableOptions.model_fields:
        value = getattr(options, name)
        if name not in options.model_fields_set & _OF_TABLES or value is None:
            continue
        if isinstance(value, bool):
            words.append(flag(name) if value else flag(f"no_{name}"))
        else:
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            # A value that looks like an option has to be joined to its name.
            words += [f"{flag(name)}={text}"] if text.startswith("-") else [flag(name), text]
    return words


def _directory(options: LabelsOptions, run: Run | None) -> Path:
    """Return where the list is to be, if that is free."""
    usual = run.path / "labels" if run else Path(f"{name_of(options.data)}-labels")
    directory = options.out or usual
    if directory.is_file():
        raise ConfigError(f"--out {directory} is a file; expected a folder for list and page.")
    if (directory / "labels.csv").exists() and not options.overwrite:
        raise ConfigError(
            f"{directory / 'labels.csv'} is there already, and may have been edited; choose another "
            "folder with --out, or pass --overwrite to replace it."
        )
    return directory


def _near_duplicates(dataset: Dataset, near: int, threads: int) -> NDArray[np.int64] | None:
    """Return which pictures are nearly the same: int64 `[pictures]`, equal for those that are."""
    if near < 0:
        return None
    from hornbeam.data.inspection.duplicates import near_duplicate_groups
    from hornbeam.data.inspection.facts import gather

    seen = gather(dataset, threads).rows  # remembered since they were verified
    return near_duplicate_groups(seen["hash"], seen["thumbnail"], near, threads)


def _tell(found: Sequence[Found]) -> None:
    """Say how many labels are probably wrong, and which classes are taken for which."""
    for of_task in found:
        for sentence in of_task.sentences(several=len(found) > 1):
            console.say(sentence)
        rows = [[given, suggested, str(count)] for given, suggested, count in of_task.pairs]
        if rows:
            console.table(["label", "probably", "pictures"], rows[:_PAIRS], left=2)


def _apply(options: LabelsOptions, file: Path, run: Run | None) -> Dataset:
    from hornbeam.data.tables.manifest_writer import write_manifest
    from hornbeam.evaluation.labels.mending import apply_file, sentences_of

    if run is not None:
        dataset, source = run.dataset(), str(run.config().get("data") or run.path)
    else:
        dataset, source = sources.open_dataset(options.data, options), options.data
    out = options.out or _next_version(source)
    if out.exists() and not options.overwrite:
        raise ConfigError(
            f"--out {out} is there already; choose another name, or pass --overwrite to replace it."
        )
    applied = apply_file(dataset, file)
    needed = write_manifest(applied.dataset, out)
    changes = list(sentences_of(applied))
    for sentence in changes:
        console.say(sentence)
    counts = {"changed": sum(applied.changed.values()), "looked at and kept": applied.kept}
    said = [f"{_number(count, 'label')} {what}" for what, count in counts.items() if count]
    left_out = _number(applied.deleted, "picture")
    console.say(f"{', '.join(said) or 'No label changed'}; {left_out} left out.")
    if applied.skipped:
        console.say(f"{applied.skipped} lines of {file} are about files, and change nothing here.")
    _tell_emptied(dataset, applied.dataset)
    network = _network_of(run) if run else []
    command = " ".join(["hornbeam train", shlex.quote(str(out)), *needed, *network])
    console.say(f"{len(applied.dataset)} pictures are in {out}; now: {command}")
    return applied.dataset


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _tell_emptied(before: Dataset, after: Dataset) -> None:
    """Warn of classes that have lost their last picture: a network trained anew will not know them."""
    for task in before.tasks:
        column = [label for labels in (before, after) for label in [labels.label_names(task)]]
        names = [
            set((values.flatten() if task.multi_label else values).to_pylist()) for values in column
        ]
        for name in sorted(filter(None, names[0] - names[1])):
            console.warn(f"No picture is '{name}' any more.")


def _next_version(source: str) -> Path:
    """Return the first free `NAME-labels-v2.csv`, `-v3`, … beside the pictures or their manifest."""
    parent = Path() if is_remote(source) else Path(source).absolute().parent
    name = re.sub(r"-labels-v\d+$", "", name_of(source))
    number = 2
    while (path := parent / f"{name}-labels-v{number}.csv").exists():
        number += 1
    return path


def _network_of(run: Run) -> list[str]:
    """Return the options that make the same network as a run's."""
    config = run.config()
    words = []
    for name in ("model", "weights", "recipe"):
        if config.get(name) not in (None, "none"):
            words += [f"--{name}", shlex.quote(str(config[name]))]
    size = config["image_size"]
    return [*words, "--image-size", "x".join(map(str, size if size[2] != 3 else size[:2]))]
