"""A training as one of several processes: they meet, have the same options, and one network."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam import assembly, backend, console, devices
from hornbeam.assembly import Training
from hornbeam.config import TrainOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.errors import ConfigError
from hornbeam.models.zoo import Architecture
from hornbeam.recipe import Recipe
from hornbeam.world import world as worlds
from hornbeam.world.world import World

if TYPE_CHECKING:
    import keras

_FILES = ("recipe", "labels_file", "restore_map")
"""Options that name a file, which only the first of several processes need have."""

_OWN = frozenset({"data", "validation_data", "threads", "processes", "in_memory"})
"""Options that each process may have otherwise."""


def join(options: TrainOptions) -> World:
    """Meet the other processes, if this one was started as one of several; they train on JAX.

    Raises:
        ConfigError: an option cannot be had then.
    """
    if not worlds.is_worker():
        return worlds.here()
    if options.backend not in ("auto", "jax"):
        raise ConfigError(
            f"--backend {options.backend}: several processes train together on JAX only; leave it out."
        )
    if options.debug:
        raise ConfigError(
            "--debug runs each operation by itself, for which several processes would wait for each "
            "other thousands of times a step; debug on one."
        )
    backend.select_backend("jax")
    world = worlds.join()
    if not world.first:
        console.be_silent()
    return world


def agreed(world: World, options: Training) -> Training:
    """Return the first process' options in all of them, with its files; each may have its own DATA."""
    if world.size == 1:
        return options
    given = options.model_fields_set
    values = world.share(options.model_dump(mode="json", include=set(given)))
    directory = None if world.first else Path(tempfile.mkdtemp(prefix="hornbeam-"))
    if directory is not None:
        world.folders.append(directory)
    for name in _FILES:
        path = values.get(name)
        if not path or not world.share(Path(path).is_file()):
            continue
        content = world.share_bytes(Path(path).read_bytes() if world.first else None)
        if directory is not None:
            file = directory / name / Path(path).name  # two may have one name
            file.parent.mkdir()
            file.write_bytes(content)
            values[name] = str(file)
    own = {name: getattr(options, name) for name in given & _OWN}
    return options if world.first else type(options)(**{**values, **own})


def require_same_pictures(world: World, dataset: Dataset) -> None:
    """Require that all processes have the same pictures, labels and split.

    Raises:
        ConfigError: they have not; the hosts are named.
    """
    if world.size > 1:  # of millions of pictures a fingerprint takes a while
        world.require_same(
            dataset.fingerprint(), f"The pictures in {dataset.root}",
            "Make them equal everywhere: hornbeam cluster send does.",
        )  # fmt: skip


def spread_model(
    world: World, options: TrainOptions, architecture: Architecture | None, recipe: Recipe,
    dataset: Dataset, model: keras.Model,
) -> keras.Model:  # fmt: skip
    """Return a copy of a network on the devices of all processes, with the first one's weights."""
    copy = assembly.build_model(
        options, architecture, recipe, dataset, options.precision, restored=False
    )
    if options.finetune:
        assembly.free_top(options, copy)
    _share_weights(world, model, copy)
    return copy


def train_head(
    world: World,
    parts: tuple[keras.Model, keras.Model],
    training: Loader,
    validation: Loader,
    options: TrainOptions,
    dataset: Dataset,
    recipe: Recipe,
    models: tuple[keras.Model, keras.Model],
) -> tuple[dict[str, float], float]:
    """Train the head of a frozen backbone on one device, for all devices and processes.

    Args:
        world: the processes; all run the backbone, each on one device, and the first one trains.
        parts: of the network on one device.
        training: whole batches.
        validation: whole batches.
        options: of the training.
        dataset: of the training.
        recipe: of the training.
        models: the network on one device, and the one that is trained on, which gets its weights;
            the same one where there is but one device.
    """
    with devices.over(None):
        found = assembly.train_head(parts, training, validation, options, dataset, recipe, world)
    if models[0] is not models[1]:
        _share_weights(world, *models)
    logs, seconds = world.share(found)
    return logs, seconds


def _share_weights(world: World, model: keras.Model, copy: keras.Model) -> None:
    """Give a network of the same layers the weights that another has in the first process."""
    from safetensors.numpy import load, save

    values = {f"{index:05}": value for index, value in enumerate(model.get_weights())}
    if world.size > 1:
        values = load(world.share_bytes(save(values) if world.first else None))
    copy.set_weights([values[name] for name in sorted(values)])
