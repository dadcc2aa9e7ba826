"""The commands that say how good a trained model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam import backend, console, telling
from hornbeam.config import (
    EvaluateOptions,
    WatchOptions,
)
from hornbeam.data import sources
from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection import verifying
from hornbeam.data.remote import is_remote
from hornbeam.durations import Duration
from hornbeam.errors import ConfigError
from hornbeam.evaluation.scoring.scores import Scores
from hornbeam.recipe import Recipe
from hornbeam.runs import REPORT, Run, name_of
from hornbeam.workflow.judgement import Judge, choose_split, judged_there

if TYPE_CHECKING:
    import keras


def evaluate(options: EvaluateOptions) -> list[Scores]:
    """Say how good a trained model is, with error bars."""
    run = Run.open(options.run)
    backend.select_backend(options.backend)
    threads = options.threads or backend.cores()
    data = None if options.data is None else _address_of(options.data)
    place = _place_of(run, options, data)
    dataset = _pictures_to_judge(run, options, options.split)
    model, recipe = run.load_model(), run.recipe() or Recipe.none()
    judge = Judge(run, model, recipe, options.batch_size, threads, options.tta)
    scores = judge.judge(
        dataset, judge.safeguard(options), groups=options.groups, place=place, data=data
    )
    console.say(f"The report is {place / REPORT}.")
    return scores


def watch(options: WatchOptions) -> Path:
    """Evaluate each checkpoint of a training as it appears; return the CSV file of the scores."""
    from hornbeam.evaluation import watch as watching
    from hornbeam.evaluation.scoring.scores import score

    run, timeout = Run(options.run), Duration.parse(options.timeout).amount
    if not options.once:
        watching.wait_for(run.path, lambda: run.is_set_up, options.poll, timeout)
    run = Run.open(options.run)
    backend.select_backend(options.backend)
    threads = options.threads or backend.cores()
    split = options.split or ("auto" if options.data else "validation")
    dataset = _pictures_to_judge(run, options, split)
    name = "-".join([name_of(options.data)] * bool(options.data) + [split] * (split != "auto"))
    recipe, tasks = run.recipe() or Recipe.none(), run.tasks()
    models: list[keras.Model] = []

    def judge(checkpoint: Path) -> list[Scores]:
        loaded = Run.open(checkpoint).load_model()
        if models:
            models[0].set_weights(loaded.get_weights())  # what was compiled for it serves again
        else:
            models.append(loaded)
        predictions = Judge(run, models[0], recipe, options.batch_size, threads).ask(dataset)
        return [score(predictions, task) for task in tasks]

    curve = watching.Curve(run.path, name)
    console.say(f"{len(dataset)} pictures judge each checkpoint; the scores are in {curve.path}.")
    try:
        watching.watch(
            run.path, judge, curve, poll=options.poll, timeout=timeout, once=options.once
        )
    finally:
        curve.close()
    return curve.path


def _place_of(run: Run, options: EvaluateOptions, data: str | None) -> Path:
    """Return where the results go: to the run; those of other pictures to a directory of their own.

    Raises:
        ConfigError: `--out` is no directory, or the run's, which is for its own pictures.
    """
    if options.out is not None:
        if options.out.exists() and not options.out.is_dir():
            raise ConfigError(f"--out {options.out} is a file; name a directory.")
        if data and options.out.resolve() == run.path.resolve():
            raise ConfigError(
                f"--out {options.out} is the run, which holds what its own pictures say; choose another "
                "directory, or leave --out away."
            )
        return options.out
    if data is None:
        return run.path
    split = "" if options.split == "auto" else f"-{options.split}"
    name, number = f"{name_of(options.data)}{split}", 1
    place = run.path / "evaluations" / name
    while judged_there(place) not in (None, data):  # other pictures of that name
        number += 1
        place = place.with_name(f"{name}-{number}")
    return place


def _address_of(data: str) -> str:
    """Return pictures' address in a form that says which they are from anywhere."""
    return data if is_remote(data) else str(Path(data).absolute())


def _pictures_to_judge(run: Run, options: EvaluateOptions | WatchOptions, split: str) -> Dataset:
    """Return the pictures that a model is asked about: other ones, or those held out from the run's."""
    if options.data is None:
        dataset = run.dataset()
    else:
        if options.label_separator is None:
            separator = run.config().get("label_separator")
            options = options.model_copy(update={"label_separator": separator})
        if set(options.feature_columns) - set(run.features()):
            takes = ", ".join(run.features()) or "no numbers beside pictures"
            raise ConfigError(f"--feature-columns: the model takes {takes}; leave the option out.")
        dataset = sources.open_dataset(
            options.data, options, tasks=run.tasks(), features=run.features()
        )
    dataset = choose_split(dataset, split)
    if options.verify:
        threads = options.threads or backend.cores()
        dataset, skipped = verifying.verify(dataset, options.on_bad, threads)
        telling.tell_skipped(skipped)
    return dataset
