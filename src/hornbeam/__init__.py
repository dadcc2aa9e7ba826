"""Hornbeam: from folders of pictures to a trained, checked, deployable classifier, on Keras 3.

    run = hornbeam.train("photos/", epochs=10)
    hornbeam.predict(run, "new.jpg")

Each function is a command: it takes the options of the command line by their names (`--batch-size 64` is
`batch_size=64`), with the defaults that `config/` lists, prints what the command prints, and raises a
`HornbeamError` where the command would end with a sentence. Where a command takes a run, a `Run` will
do. docs/python.md shows them all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from hornbeam.data.dataset import Dataset as Dataset
    from hornbeam.data.loader import Loader as Loader
    from hornbeam.data.tasks import Task as Task
    from hornbeam.deployment.benchmarking.pareto import Rated
    from hornbeam.deployment.predicting.answers import Answer as Answer
    from hornbeam.deployment.predicting.predictor import Predictor as Predictor
    from hornbeam.errors import HornbeamError as HornbeamError
    from hornbeam.evaluation.comparison.compare import Comparison
    from hornbeam.evaluation.labels.suspects import Found
    from hornbeam.evaluation.predictions import Predictions
    from hornbeam.evaluation.scoring.scores import Scores
    from hornbeam.models.classifying import Classifier as Classifier
    from hornbeam.runs import Run as Run
    from hornbeam.training.find_rate import Tried

__version__ = "0.1.0"

_HOMES = {
    "Answer": "hornbeam.deployment.predicting.answers",
    "Classifier": "hornbeam.models.classifying",
    "Dataset": "hornbeam.data.dataset",
    "HornbeamError": "hornbeam.errors",
    "Loader": "hornbeam.data.loader",
    "Predictor": "hornbeam.deployment.predicting.predictor",
    "Run": "hornbeam.runs",
    "Task": "hornbeam.data.tasks",
}

_FUNCTIONS = (
    "benchmark", "check", "compare", "evaluate", "export", "find_learning_rate", "labels",
    "open_dataset", "predict", "prepare", "report", "search", "split", "train",
)  # fmt: skip

__all__ = [*_HOMES, *_FUNCTIONS]


def check(data: Any, **options: Any) -> int:
    """Say what is wrong with pictures; return 3 if there are problems, else 0.

    With `json_file="faults.json"` all that was found is written there. See `config.CheckOptions`.
    """
    from hornbeam import config, workflow

    return int(workflow.check(config.CheckOptions(data=data, **options)))


def split(data: Any, out: Any, **options: Any) -> Dataset:
    """Divide pictures, and write that to the manifest `out`; return the divided `Dataset`.

    See `config.SplitOptions`.
    """
    from hornbeam import config, workflow

    divided: Dataset = workflow.split(config.SplitOptions(data=data, out=out, **options))
    return divided


def prepare(data: Any, out: Any, **options: Any) -> None:
    """Write pictures into TFRecord shards in the folder `out`. See `config.PrepareOptions`."""
    from hornbeam import config, workflow

    workflow.prepare(config.PrepareOptions(data=data, out=out, **options))


def open_dataset(data: Any, **options: Any) -> Dataset:
    """Return the `Dataset` that `train` with the same options learns from and is judged by.

    Where the pictures have no validation split, one is made. No picture is opened. See
    `config.TrainOptions`.
    """
    from hornbeam import assembly, config
    from hornbeam.recipe import Recipe

    asked = config.TrainOptions(data=data, **options)
    recipe = assembly.begin(asked)[2] if asked.recipe else Recipe.none()
    return assembly.open_dataset(asked, recipe)


def train(data: Any = None, **options: Any) -> Run:
    """Train a classifier on a folder of pictures; return its `Run`. See `config.TrainOptions`.

    `data` may be left out where a recipe has `examples`, and with `resume=True`.
    """
    from hornbeam import config, workflow

    run: Run = workflow.train(config.TrainOptions(data=data, **options))
    return run


def find_learning_rate(data: Any, **options: Any) -> Tried:
    """Train on a few batches at rising rates; return rates, losses and what they suggest.

    See `config.FindRateOptions`.
    """
    from hornbeam import config, workflow

    tried: Tried = workflow.find_learning_rate(config.FindRateOptions(data=data, **options))
    return tried


def search(data: Any, **options: Any) -> int:
    """Train with many values of options; return 0, or what a stopped command ends with.

    The trials are in `trials.csv` in the folder `run`. See `config.SearchOptions`.
    """
    from hornbeam import config, workflow

    return int(workflow.search(config.SearchOptions(data=data, **options)))


def evaluate(run: Any, data: Any = None, **options: Any) -> list[Scores]:
    """Return the `Scores` of a run, one a task, and write its report. See `config.EvaluateOptions`."""
    from hornbeam import config, workflow

    scores: list[Scores] = workflow.evaluate(
        config.EvaluateOptions(run=_place(run), data=data, **options)
    )
    return scores


def compare(*runs: Any, data: Any = None, **options: Any) -> list[Comparison]:
    """Say which of several runs is better, if that can be told; return a `Comparison` with the first
    for each other one and task. See `config.CompareOptions`.
    """  # noqa: D205 - one sentence, too long for a line
    from hornbeam import config, workflow

    places = tuple(map(_place, runs))
    found: list[Comparison] = workflow.compare(
        config.CompareOptions(runs=places, data=data, **options)
    )
    return found


def labels(data: Any, **options: Any) -> list[Found] | Dataset:
    """Find labels that are probably wrong, of a run or of pictures; return what was found, one a task.

    With `apply=` return the `Dataset` of better labels. See `config.LabelsOptions`.
    """
    from hornbeam import config, workflow

    found: list[Found] | Dataset = workflow.review_labels(
        config.LabelsOptions(data=_place(data), **options)
    )
    return found


def report(run: Any, **options: Any) -> Path:
    """Make the report of a run anew; return its path. See `config.ReportOptions`."""
    from hornbeam import config, workflow

    page: Path = workflow.report(config.ReportOptions(run=_place(run), **options))
    return page


def predict(run: Any, images: Any, **options: Any) -> Predictions | list[Answer] | None:
    """Return the `Predictions` of a run for pictures, or the list of `Answer`s of a bundle.

    A bundle is also asked about pictures in memory; see `Predictor`. With `out` it writes its answers
    there as they come, and returns none. See `config.PredictOptions`.

    Args:
        run: the run, or a bundle: a folder, or a `.zip`.
        images: a path, or several; folders and addresses too.
        **options: those of the command.
    """
    from hornbeam import config, workflow
    from hornbeam.workflow import asking

    place = _place(run)
    if asking.is_bundle(place) and "out" not in options:
        return asking.answers_of(place, images, **options)
    several = (images,) if isinstance(images, str | os.PathLike) else tuple(images)
    asked = config.PredictOptions(run=place, images=several, **options)
    predictions: Predictions | None = workflow.predict(asked)
    return predictions


def export(run: Any, out: Any = None, **options: Any) -> Path:
    """Write artifacts into a bundle, and prove that they answer alike; return its folder.

    Without `out` that is `RUN-bundle`, beside the run. See `config.ExportOptions`.
    """
    from hornbeam import config, workflow

    bundle: Path = workflow.export(config.ExportOptions(run=_place(run), out=out, **options))
    return bundle


def benchmark(*bundles: Any, **options: Any) -> list[Rated]:
    """Return how quick, large and good the artifacts of bundles are on this machine.

    See `config.BenchmarkOptions`.
    """
    from hornbeam import config, workflow

    rated: list[Rated] = workflow.benchmark(config.BenchmarkOptions(bundles=bundles, **options))
    return rated


def _place(run: Any) -> Any:
    """Return where a run is, of a `Run` or of what says it already."""
    return getattr(run, "path", run)


def __getattr__(name: str) -> Any:
    # Loaded at the first use: `import hornbeam` takes milliseconds, and `hornbeam --help` with it.
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hornbeam' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
