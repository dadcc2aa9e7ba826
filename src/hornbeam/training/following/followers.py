"""Who follows a training: the recipe's callbacks, TensorBoard, MLflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from hornbeam.config import TrainOptions
from hornbeam.data.loader import Loader
from hornbeam.recipe import Recipe
from hornbeam.training.callbacks import Clock
from hornbeam.training.following import tracking
from hornbeam.training.following.own_callbacks import OwnCallbacks
from hornbeam.training.following.sample_pictures import SamplePictures
from hornbeam.training.following.tensorboard import TensorBoard

_NOT_SHOWN = {
    "config", "run", "overwrite", "resume", "threads", "processes", "devices", "in_memory", "verify",
    "mlflow", "tensorboard", "tensorboard_images", "tensorboard_histograms", "max_pixels",
    "allow_outside",
}  # fmt: skip
"""Options that decide nothing about the trained weights."""


Follow = Callable[[Path, Clock], list[keras.callbacks.Callback]]
"""Makes callbacks, of the directory of a run and its clock."""


def following(
    options: TrainOptions, validation: Loader | None, recipe: Recipe, *, looks_on: bool = True
) -> Follow:
    """Return what makes the callbacks that the options and the recipe ask for, the recipe's first.

    All that can be wrong with them is found at once, before there is a run. They come after those that
    mend the metrics, and before the checkpoints, which keep their states.

    Args:
        options: of the training, resolved.
        validation: pictures that judge, if any do.
        recipe: may have `callbacks()`.
        looks_on: whether this process writes for those who look on; else it has the recipe's callbacks
            alone, which may change the training.

    Raises:
        ConfigError: `callbacks()` fails, or MLflow is not there.
    """
    own = recipe.make("callbacks")
    first = [OwnCallbacks(own, recipe.where)] if own is not None else []
    tracker = tracking.client(options.mlflow) if options.mlflow and looks_on else None
    shown = hyperparameters(options)

    def follow(directory: Path, clock: Clock) -> list[keras.callbacks.Callback]:
        callbacks: list[keras.callbacks.Callback] = list(first)
        if not looks_on:
            return callbacks
        if options.tensorboard:
            pictures = None
            if validation is not None and options.tensorboard_images:
                pictures = SamplePictures(validation, options.tensorboard_images)
            place, histograms = directory / "tensorboard", options.tensorboard_histograms
            callbacks.append(TensorBoard(place, clock, shown, pictures, histograms))
        if options.mlflow:
            callbacks.append(tracking.MLflow(tracker, options.mlflow, directory, clock, shown))
        return callbacks

    return follow


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
