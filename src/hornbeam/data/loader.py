"""The Loader: a pure function `step → batch`.

Batch `s` is determined by (dataset, seed, s) and by nothing else: not by the number of threads,
processes or machines, and not by what ran before. Resume, sharding and repeatability all follow.
Grain runs the function ahead of time, in threads or in processes, and keeps the order.
"""

from __future__ import annotations

import atexit
import functools
import gc
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.pictures import Augment, Pictures, Preprocess
from hornbeam.data.pixels.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.pixels.images import Pixels
from hornbeam.data.pixels.mixing import Floats, Mixing, mix_targets, neighbours, neutral, own_shares
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.data.targets import Labels, labels_of
from hornbeam.errors import ConfigError, DataError

_ORDER, _VARIATION, _MIXING = 0, 1, 2
"""Streams of random numbers, so that the order of a seed and its variations are independent."""

_AHEAD = 2
"""Finished batches that wait, beside the one each thread works on."""


class Batch(NamedTuple):
    """What `fit`, `evaluate` and `predict` of Keras take.

    Attributes:
        images: uint8 `[batch, height, width, channels]`.
        targets: by task: class indices, int32 `[batch]`; for multi-label tasks, and for all when
            pictures are mixed, shares of each class, float32 `[batch, classes]`.
        weights: by task, float32 `[batch]`: 1 for an example, 0 for padding and where the label is
            missing; of a mixed picture, the share that has one.
        mix: what the device is to do, float32 `[batch, mixing.COLUMNS]`; `None` for nothing.
        features: the numbers beside each picture, float32 `[batch, features]`, as they are in the
            dataset, mixed like the targets, 0 for padding; `None` where the dataset has none.
    """

    images: Pixels
    targets: dict[str, NDArray[Any]]
    weights: dict[str, Floats]
    mix: Floats | None = None
    features: Floats | None = None

    @property
    def inputs(self) -> Pixels | dict[str, NDArray[Any]]:
        """What the model takes: pixels; else a dictionary of `image` and what there is beside it.

        That is `features`, and `mix`: what to do with the pixels (training.mixing).
        """
        beside = {"features": self.features, "mix": self.mix}
        there = {name: array for name, array in beside.items() if array is not None}
        return {"image": self.images, **there} if there else self.images


class Loader:
    """Batches of a dataset.

    With `shuffle` the examples form one endless stream, in which each epoch visits each example
    once, in an order of its own; batches are cut from it without regard to where epochs end, so
    that all are full. Without, the batches run through the dataset once, in its order, and again
    from the start; the last one is padded with examples of weight 0.

    Args:
        dataset: examples of one split.
        batch_size: pictures per step, of all ranks together.
        image_size: (height, width) in pixels, or (height, width, channels); 3 channels unless said.
        seed: of order and augmentation.
        shuffle: for training.
        augment: name of one of `AUGMENTATIONS`, one of your own, or a function `(image, rng)` from
            uint8 `[height, width, channels]` to the same, of any size.
        mixing: what is done to whole batches; else what `augment` says. `Mixing()` leaves pictures
            as they are, in the form of a batch that is mixed: for validation beside such training.
        resize_mode: how pictures get the shape of `image_size`.
        preprocess: a function `(image, training, rng)` like that of `augment`, which goes before
            all else.
        training: what `preprocess` is told. Without `shuffle`, each epoch is varied anew.
        in_memory: bytes that may hold decoded pictures (of each process). It changes no batch.
        rank: which part of each batch this process loads, in `[0, world_size)`.
        world_size: number of parts; must divide `batch_size`.

    Example:
        >>> loader = Loader(dataset, batch_size=32, image_size=(96, 96), seed=0, shuffle=True)
        >>> loader.batch(1000).images.shape
        (32, 96, 96, 3)
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        image_size: tuple[int, ...],
        seed: int = 0,
        shuffle: bool = False,
        augment: str | Augmentation | Augment = "none",
        mixing: Mixing | None = None,
        resize_mode: ResizeMode = "crop",
        preprocess: Preprocess | None = None,
        training: bool | None = None,
        in_memory: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not len(dataset):
            raise DataError("A loader needs at least one example.")
        if batch_size % world_size:
            raise ValueError(f"batch_size {batch_size} is no multiple of world_size {world_size}")
        self._options: dict[str, Any] = {
            "batch_size": batch_size, "image_size": image_size, "seed": seed, "shuffle": shuffle,
            "augment": augment, "mixing": mixing, "resize_mode": resize_mode,
            "preprocess": preprocess, "training": training, "in_memory": in_memory, "rank": rank,
            "world_size": world_size,
        }  # fmt: skip
        self.dataset = dataset
        self.batch_size = batch_size
        height, width, channels = (*image_size, 3)[:3]
        self.image_size = (height, width, channels)
        self.seed = seed
        self.shuffle = shuffle
        self.augment = AUGMENTATIONS[augment] if isinstance(augment, str) else augment
        if mixing is None and isinstance(self.augment, Augmentation) and self.augment.mixing:
            mixing = self.augment.mixing
        self.mixing = mixing
        self.rank = rank
        self.world_size = world_size
        part = batch_size // world_size
        if mixing and world_size > 1 and part % 2:
            raise ConfigError(
                f"Pictures are mixed in pairs, and each of {world_size} machines gets {part} of a "
                f"batch; make --batch-size a multiple of {2 * world_size}."
            )
        self.training = shuffle if training is None else training
        self.resize_mode = resize_mode
        self.preprocess = preprocess
        self._pictures = Pictures(
            dataset,
            self.image_size,
            self.augment,
            preprocess,
            resize_mode,
            self.training,
            in_memory,
        )
        self._labels: dict[str, Labels] = {t.name: labels_of(dataset, t) for t in dataset.tasks}
        self._features = dataset.feature_values() if dataset.features else None

    def over(self, dataset: Dataset) -> Loader:
        """Return a loader that does the same with other examples."""
        return Loader(dataset, **self._options)

    def part(self, rank: int, world_size: int) -> Loader:
        """Return a loader of one part of each batch; `part(0, 1)` is that of whole batches."""
        if (rank, world_size) == (self.rank, self.world_size):
            return self
        return Loader(self.dataset, **(self._options | {"rank": rank, "world_size": world_size}))

    @property
    def steps_per_epoch(self) -> int:
        """Batches until every example was visited: the number of examples over the batch size."""
        return -(-len(self.dataset) // self.batch_size)

    @property
    def mixes(self) -> bool:
        """Whether batches carry `mix`, and targets as shares of classes."""
        return self.mixing is not None

    def batch(self, step: int) -> Batch:
        """Return this rank's part of the batch of `step`, which counts from 0 without end.

        Raises:
            DataError: a picture cannot be read; the message names it.
            ConfigError: a function of the recipe does not return a picture.
        """
        rows, positions = self.rows(step)
        batch = self.empty_batch()
        present = np.flatnonzero(rows >= 0)
        for slot in present:
            key = (self.seed, _VARIATION, int(positions[slot]))
            batch.images[slot] = self._pictures.get(int(rows[slot]), key)
        self.label(batch, rows)
        if self.mixing and batch.mix is not None:
            self._draw_mix(batch.mix, rows, positions)
            return self._mixed(batch, own_shares(batch.mix, self.image_size[:2]))
        return batch

    def label(self, batch: Batch, rows: NDArray[np.int64]) -> None:
        """Write labels, their weights and side features of some rows, -1 for padding, to a batch."""
        present = np.flatnonzero(rows >= 0)
        for name, labels in self._labels.items():
            batch.targets[name][present] = labels.rows(rows[present], soft=self.mixes)
            batch.weights[name][present] = labels.known(rows[present])
        if batch.features is not None and self._features is not None:
            batch.features[present] = self._features[rows[present]]

    def _mixed(self, batch: Batch, shares: Floats) -> Batch:
        """Return the batch with labels and side features mixed as the device will mix pixels."""
        for name, targets in batch.targets.items():
            batch.targets[name] = mix_targets(targets, shares)
            weights = batch.weights[name]
            if weights.all():
                continue
            # What of a picture has a label counts, and by its share; padding is mixed with nothing.
            known = mix_targets(weights[:, None], shares)
            batch.weights[name] = known[:, 0]
            batch.targets[name] /= np.where(known > 0, known, 1)
        if batch.features is None:
            return batch
        return batch._replace(features=mix_targets(batch.features, shares))

    def _draw_mix(self, mix: Floats, rows: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        assert self.mixing is not None
        for slot, other in enumerate(neighbours(len(rows))):
            if rows[slot] >= 0 and rows[other] >= 0:  # padding is mixed into nothing
                rng = np.random.default_rng((self.seed, _MIXING, int(positions[slot])))
                mix[slot] = self.mixing.draw(self.image_size[:2], rng)

    def empty_batch(self) -> Batch:
        """Return a batch of padding, to know shapes and types without reading a picture."""
        part = self.batch_size // self.world_size
        return Batch(
            np.zeros((part, *self.image_size), np.uint8),
            {name: labels.empty(part, soft=self.mixes) for name, labels in self._labels.items()},
            {name: np.zeros(part, np.float32) for name in self._labels},
            neutral(part) if self.mixes else None,
            None
            if self._features is None
            else np.zeros((part, self._features.shape[1]), np.float32),
        )

    def rows(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which examples this rank's part of a batch holds, -1 for padding.

        The second array is each slot's place in the stream, which seeds its augmentation.
        """
        part = self.batch_size // self.world_size
        slots = np.arange(self.rank * part, (self.rank + 1) * part)
        count = len(self.dataset)
        if not self.shuffle:
            places = step % self.steps_per_epoch * self.batch_size + slots
            positions = step * self.batch_size + slots if self.training else places
            return np.where(places < count, places, -1), positions
        positions = step * self.batch_size + slots
        epochs, places = positions // count, positions % count
        rows = np.empty(part, np.int64)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            rows[chosen] = self._order(epoch)[places[chosen]]
        return rows, positions

    def batches(
        self, start: int = 0, stop: int | None = None, *, threads: int = 1, processes: int = 0
    ) -> Iterator[Batch]:
        """Iterate over the batches of the steps `start` to `stop`, made ahead of time.

        Args:
            start: first step.
            stop: step after the last; `None` never stops.
            threads: batches made at a time, in each process.
            processes: processes that make them; 0 = this one.
        """
        grain = _grain()
        steps = grain.MapDataset.range(start, stop if stop is not None else 2**62)
        ahead = grain.ReadOptions(
            num_threads=max(1, threads), prefetch_buffer_size=max(1, threads) + _AHEAD
        )
        batches = steps.map(self.batch).to_iter_dataset(ahead)
        if processes:
            _parse_absl_flags()
            options = grain.MultiprocessingOptions(
                num_workers=processes, per_worker_buffer_size=_AHEAD
            )
            _collect_at_exit()
            # Grain's arrays are shared memory, left behind by whoever keeps one until the process
            # ends, as TensorFlow does with the last.
            yield from map(_copied, batches.mp_prefetch(options))
            return
        yield from batches

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes compute the orders they need; a cache need not travel.
        return {name: value for name, value in vars(self).items() if name != "_order"}

    @functools.cached_property
    def _order(self) -> Any:
        # Two epochs: a batch may lie across a boundary.
        return functools.lru_cache(maxsize=2)(self._epoch_order)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, _ORDER, epoch))
        return rng.permutation(len(self.dataset))


@functools.cache
def _grain() -> Any:
    """Import Grain, without its warning that JAX is not installed, which it does not need here."""
    from absl import logging as absl_logging

    absl_logging.get_absl_logger().addFilter(
        lambda record: not record.getMessage().startswith("Failed to load jax profiler")
    )
    import grain

    return grain


@functools.cache
def _collect_at_exit() -> None:
    # Grain's iterators hold their last batches in cycles, whose shared memory would be left behind.
    atexit.register(_collect)


def _collect() -> None:
    gc.collect()
    time.sleep(0.1)  # Grain unlinks the memory in a thread, which ends with the process


def _copied(batch: Batch) -> Batch:
    return Batch(
        np.array(batch.images),
        {name: np.array(targets) for name, targets in batch.targets.items()},
        {name: np.array(weights) for name, weights in batch.weights.items()},
        None if batch.mix is None else np.array(batch.mix),
        None if batch.features is None else np.array(batch.features),
    )


def _parse_absl_flags() -> None:
    # Grain's worker pool reads absl flags, which fail unless a program has parsed them.
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
