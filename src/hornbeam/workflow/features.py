"""What a backbone makes of pictures, for the commands that look at them without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam import assembly, console
from hornbeam.config import LabelsOptions, StartOptions, TrainOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.errors import ConfigError
from hornbeam.models.zoo import Architecture
from hornbeam.options import flag
from hornbeam.recipe import Recipe
from hornbeam.runs import Run

if TYPE_CHECKING:
    import keras


class Start(NamedTuple):
    """A training that would begin with the network whose features are wanted.

    Attributes:
        options: resolved.
        architecture: of the zoo; `None` for a recipe's network.
        recipe: the user's own functions.
        run: whose network as it was trained is wanted; `None` for one before any training here.
    """

    options: TrainOptions
    architecture: Architecture | None
    recipe: Recipe
    run: Run | None


def start_of(options: LabelsOptions, run: Run | None) -> Start:
    """Choose network, backend and recipe; Keras is imported after this.

    Raises:
        ConfigError: options do not fit each other, or the run.
    """
    if run is None:
        return _start_of_data(options)
    misplaced = options.model_fields_set & {*StartOptions.model_fields, "image_size", "resize_mode"}
    if misplaced:
        names = ", ".join(sorted(map(flag, misplaced)))
        raise ConfigError(f"{run.path} has a network already; leave out {names}.")
    config = {k: v for k, v in run.config().items() if k in TrainOptions.model_fields}
    recipe = run.path / "recipe.py"
    config |= {"backend": options.backend, "recipe": recipe if recipe.is_file() else None}
    begun = TrainOptions(**config)
    if options.features == "after":
        return Start(*assembly.begin(begun), run)
    if begun.weights == "none":
        raise ConfigError(f"--features before: {run.path} began without weights; leave it out.")
    if begun.weights != "imagenet" and not Path(begun.weights).exists():
        raise ConfigError(f"--features before: the weights {begun.weights} are gone.")
    return Start(*assembly.begin(begun), None)


def _start_of_data(options: LabelsOptions) -> Start:
    if "features" in options.model_fields_set:
        raise ConfigError(f"--features is about a run, and {options.data} is none; leave it out.")
    shared = options.model_fields_set & set(TrainOptions.model_fields)
    given = {name: getattr(options, name) for name in shared}
    begun = TrainOptions(**{name: value for name, value in given.items() if value is not None})
    if begun.weights == "none":
        console.warn(
            "The network is untrained and sees little in pictures: give --weights, or train first and "
            "name the run."
        )
    return Start(*assembly.begin(begun), None)


def compute(start: Start, dataset: Dataset, batch_size: int, threads: int) -> NDArray[np.float32]:
    """Return what the backbone makes of each picture: float32 `[pictures, features]`.

    They are kept in the cache, as those of a training, which are the same.

    Args:
        start: from `start_of`.
        dataset: verified, so that digests are there.
        batch_size: pictures per forward pass.
        threads: pictures decoded at a time.

    Raises:
        ConfigError: the network has no one layer from which its answers come.
    """
    from hornbeam.evaluation.predictions import predict
    from hornbeam.models.cut import split_at_backbone
    from hornbeam.training.features import compute_features

    options = assembly.with_size_and_precision(start.options, start.architecture)
    assert options.image_size is not None  # it was just filled in
    model = _model(start, options, dataset)
    recipe = start.recipe
    seen: dict[str, Any] = {"resize_mode": options.resize_mode, "preprocess": recipe.preprocess}
    parts = split_at_backbone(model)
    if parts is None:
        found = predict(
            model, dataset, dataset.tasks, image_size=options.image_size, batch_size=batch_size,
            threads=threads, features=True, **seen,
        ).features  # fmt: skip
        if found is None:
            raise ConfigError(
                "The network has no one layer that all its answers come from, so there are no features."
            )
        return found
    values = compute_features(
        parts[0], Loader(dataset, batch_size=batch_size, image_size=options.image_size, **seen),
        recipe=recipe.path.read_text(encoding="utf-8") if recipe.path else "", threads=threads,
    ).values[0]  # fmt: skip
    flat = values.reshape(len(values), -1, values.shape[-1])
    return np.asarray(flat.mean(axis=1), np.float32)


def _model(start: Start, options: TrainOptions, dataset: Dataset) -> keras.Model:
    if start.run is not None:
        return start.run.load_model()
    return assembly.build_model(options, start.architecture, start.recipe, dataset, "float32")
