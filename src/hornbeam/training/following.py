"""Who follows a training: the recipe's callbacks, TensorBoard, MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from hornbeam.config import TrainOptions
from hornbeam.data.loader import Loader
from hornbeam.recipe import Recipe
from hornbeam.training.callbacks import Clock
from hornbeam.training.own_callbacks import OwnCallbacks
from hornbeam.training.sample_pictures import SamplePictures
from hornbeam.training.tensorboard import TensorBoard

_NOT_SHOWN = {
    "config", "run", "overwrite", "resume", "threads", "processes", "in_memory", "verify", "mlflow",
    "tensorboard", "tensorboard_images", "tensorboard_histograms", "max_pixels", "allow_outside",
}  # fmt: skip
"""Options that decide nothing about the trained weights."""


def following(
    options: TrainOptions, directory: Path, clock: Clock, validation: Loader | None, recipe: Recipe
) -> list[keras.callbacks.Callback]:
    """Return the callbacks that the options and the recipe ask for, the recipe's first.

    They come after those that mend the metrics, and before the checkpoints.

    Args:
        options: of the training, resolved.
        directory: of the run.
        clock: knows the step.
        validation: pictures that judge, if any do.
        recipe: may have `callbacks()`.

    Raises:
        ConfigError: `callbacks()` fails, or MLflow is not there.
    """
    chosen: list[keras.callbacks.Callback] = []
    own = recipe.make("callbacks")
    if own is not None:
        chosen.append(OwnCallbacks(own, recipe.where))
    shown = hyperparameters(options)
    if options.tensorboard:
        pictures = None
        if validation is not None and options.tensorboard_images:
            pictures = SamplePictures(validation, options.tensorboard_images)
        chosen.append(
            TensorBoard(
                directory / "tensorboard", clock, shown, pictures, options.tensorboard_histograms
            )
        )
    if options.mlflow:
        from hornbeam.training.tracking import MLflow

        chosen.append(MLflow(options.mlflow, directory, clock, shown))
    return chosen


def hyperparameters(options: TrainOptions) -> dict[str, float | str]:
    """Return the options that decide about the weights, as numbers and words, but for unset ones."""
    values: dict[str, Any] = options.model_dump(mode="json", exclude=_NOT_SHOWN)
    shown = {}
    for name, value in values.items():
        if value is None or value == []:
            continue
        shown[name] = value if isinstance(value, bool | int | float | str) else _words(value)
    return shown


def _words(value: Any) -> str:
    """Return a list as on the command line: `96x96x3`, `a=0.1,b=1`."""
    parts = ["=".join(map(str, part)) if isinstance(part, list) else str(part) for part in value]
    return ("x" if all(isinstance(part, int) for part in value) else ",").join(parts)
