"""A training over several devices, of one machine or of many: which they are, and leaving them.

The devices hold the same variables, and each computes a part of every batch; gradients, moments of batch
normalisation and metrics are over the whole batch (`keras.distribution.DataParallel`, JAX only).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from hornbeam.errors import ConfigError
from hornbeam.world.world import World


def spread(world: World, wanted: int | None, batch_size: int) -> Any:
    """Return how a training is spread over the devices of all processes; `None` over one alone.

    Keras must run already.

    Args:
        world: the processes.
        wanted: devices of each process; `None` = all that it has.
        batch_size: pictures per step, of all devices together.

    Raises:
        ConfigError: there are not so many devices, or not as many in each process; Keras runs on an
            engine without this; or the batch cannot be divided.
    """
    import keras

    if keras.config.backend() != "jax":
        if (wanted or 1) > 1:
            raise ConfigError(
                f"--devices {wanted}: Keras uses several devices on JAX only; --backend jax."
            )
        return None
    import jax

    owned = [
        [f"{d.platform}:{d.id}" for d in jax.devices() if d.process_index == rank]
        for rank in range(world.size)
    ]
    for rank, own in enumerate(owned):
        if wanted and wanted > len(own):
            where = f" of process {rank}" if world.size > 1 else ""
            raise ConfigError(f"--devices {wanted}: there are {len(own)} here{where}.")
    counts = [len(own[:wanted]) for own in owned]
    require_equal(counts)
    names = [name for own in owned for name in own[:wanted]]
    if len(names) == 1:
        return None
    require_divisible(batch_size, len(names))
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)


def count(distribution: Any) -> int:
    """Return over how many devices a training is spread by what `spread` returned."""
    return 1 if distribution is None else int(distribution.device_mesh.devices.size)


def require_equal(counts: Sequence[int]) -> None:
    """Require that each process has as many devices, as each loads as large a part of a batch.

    Args:
        counts: by rank.

    Raises:
        ConfigError: one has fewer.
    """
    least = min(counts)
    if max(counts) > least:
        few, many = counts.index(least), counts.index(max(counts))
        raise ConfigError(
            f"Process {few} has {least} devices and process {many} has {max(counts)}, and each would "
            f"get as large a part of every batch; give --devices {least}."
        )


def require_divisible(batch_size: int, devices: int) -> None:
    """Require that each device gets as many pictures of a batch.

    Raises:
        ConfigError: it does not; the nearest sizes that do are named.
    """
    if batch_size % devices:
        less = batch_size // devices * devices
        near = " or ".join(str(size) for size in (less, less + devices) if size)
        raise ConfigError(
            f"--batch-size {batch_size} cannot be divided among {devices} devices; take {near}, or "
            "fewer --devices."
        )


@contextlib.contextmanager
def over(distribution: Any) -> Iterator[None]:
    """Let what is built and computed inside this block be spread; with `None`, be on one device."""
    import keras

    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def ask_here(model: Any, inputs: Any) -> Any:
    """Return what a model says of a batch, as `predict_on_batch` does, on one device of this process.

    The other processes need not do the same.
    """
    import keras

    if keras.distribution.distribution() is None:
        return model.predict_on_batch(inputs)
    import jax
    import numpy as np

    values = [
        [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    with over(None):
        answer, _ = model.stateless_call(*values, inputs, training=False)
        return jax.tree.map(np.asarray, answer)
