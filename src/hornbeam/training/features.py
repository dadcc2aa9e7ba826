"""What a frozen backbone makes of each picture, computed once and kept in the cache.

While a backbone does not change, running it again in every epoch gives the same again. So one pass
is made, its result is stored by the digest of each picture, and the head learns from that.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hornbeam import console
from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Batch, Loader
from hornbeam.training.extract import Runtime, quickest_runtime
from hornbeam.training.feature_store import Store
from hornbeam.world.world import World

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]

_VERSION = 1
"""Goes up when pictures reach the network otherwise than before; older features are then ignored."""

_PART = 8192
"""Pictures after which features are stored, so that who is interrupted loses little."""


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of all pictures of a dataset.

    Attributes:
        values: float32 `[views, pictures, …]`; view 0 is the picture as it is.
        computed: how many of them were not in the cache, views counted singly.
        runtime: what computed them, or was to; `None` if all came from the cache.
    """

    values: Floats
    computed: int
    runtime: Runtime | None


def compute_features(
    extractor: keras.Model,
    loader: Loader,
    *,
    views: int = 1,
    recipe: str = "",
    threads: int = 1,
    processes: int = 0,
    cache: bool = True,
    runtime: Runtime | None = None,
    world: World | None = None,
) -> Features:
    """Run a network over every picture of a loader's dataset, or take what an earlier run stored.

    A view is a function of the picture, its number and the loader's seed, not of what other
    pictures there are; so pictures may be added, and only they are computed.

    Args:
        extractor: from uint8 pixels to features, float `[batch, …]`.
        loader: tells the pictures, their size and how they are varied.
        views: of each picture: as it is, then varied as the loader varies it.
        recipe: text of the recipe whose `preprocess` or `augment` the loader uses.
        threads: pictures decoded at a time.
        processes: processes that decode; 0 = threads of this one.
        cache: store the features, where the pictures' digests are known.
        runtime: of an earlier call with the same network and size of batches; else the quickest.
        world: processes that divide the pictures among them. The first one gets all features, and its
            cache counts; the others get their own.
    """
    world = world or World()
    dataset = loader.dataset
    digests = _digests(dataset)
    shape = tuple(extractor.output_shape[1:])
    values = np.zeros((views, len(dataset), *shape), np.float32)
    computed = 0
    weights = _weights_key(extractor) if digests is not None and cache else ""
    for view in range(views):
        passes = _Views(loader, view)
        store = Store(_key(weights, passes, recipe), shape) if weights else None
        missing = np.arange(len(dataset))
        if store is not None and digests is not None:
            missing = store.fetch(digests, values[view])
        missing = np.frombuffer(world.share_bytes(missing.astype(np.int64).tobytes()), np.int64)
        computed += len(missing)
        own = [missing[rank :: world.size] for rank in range(world.size)]
        with console.progress(f"view {view + 1} of {views}", len(missing)) as advance:
            size = max(1, _PART // world.size)  # of each: they meet in the first one's memory
            for start in range(0, len(own[0]), size):
                parts = [rows[start : start + size] for rows in own]
                rows = parts[world.rank]
                batches = passes.of(rows).batches(
                    0, passes.steps_per_epoch, threads=threads, processes=processes
                )
                if len(rows):
                    runtime = _run(
                        extractor, runtime, batches, rows, values[view], threads, advance
                    )
                if world.size > 1:
                    _collect(world, parts, values[view], advance)
                if store is not None and digests is not None and world.first:
                    rows = np.concatenate(parts)
                    store.add([digests[row] for row in rows], values[view][rows])
    return Features(values, computed, runtime)


class FeatureLoader:
    """The batches of a loader with features in the place of pictures: same order, same targets.

    Args:
        loader: of the pictures.
        features: of its dataset, float32 `[views, pictures, …]`. In its n-th epoch training sees
            view n modulo the number of views.
    """

    def __init__(self, loader: Loader, features: Floats) -> None:
        self._loader = loader
        self._features = features
        self.batch_size = loader.batch_size
        self.steps_per_epoch = loader.steps_per_epoch
        self.dataset = loader.dataset

    def batch(self, step: int) -> Batch:
        """Return the batch of a step."""
        rows, positions = self._loader.rows(step)
        batch = self.empty_batch()
        present = np.flatnonzero(rows >= 0)
        view = positions[present] // len(self.dataset) % len(self._features)
        batch.images[present] = self._features[view, rows[present]]
        self._loader.label(batch, rows)
        return batch

    def empty_batch(self) -> Batch:
        """Return a batch of padding."""
        empty = self._loader.empty_batch()
        shape = (len(empty.images), *self._features.shape[2:])
        return empty._replace(images=np.zeros(shape, np.float32), mix=None)

    def batches(
        self, start: int = 0, stop: int | None = None, *, threads: int = 1, processes: int = 0
    ) -> Iterator[Batch]:
        """Iterate over the batches of the steps `start` to `stop`; there is nothing to decode."""
        step = start
        while stop is None or step < stop:
            yield self.batch(step)
            step += 1


def in_order(loader: Loader) -> Loader:
    """Return the loader's pictures one after the other, as they are."""
    return _Views(loader, 0)


class _Views(Loader):
    """One view of every picture, in their order, drawn by digest where there are digests."""

    def __init__(self, loader: Loader, view: int) -> None:
        super().__init__(
            loader.dataset, batch_size=loader.batch_size, image_size=loader.image_size,
            seed=loader.seed, augment=loader.augment if view else "none",
            resize_mode=loader.resize_mode, preprocess=loader.preprocess, training=bool(view),
        )  # fmt: skip
        self.view = view
        self.mixing = None
        digests = _digests(loader.dataset)
        self._keys = (
            np.arange(len(loader.dataset))
            if digests is None
            else np.array([_number(digest, view) for digest in digests])
        )
        self._chosen: NDArray[np.int64] = np.arange(len(loader.dataset))

    def of(self, rows: NDArray[np.int64]) -> _Views:
        """Restrict the batches to some rows."""
        self._chosen = rows
        return self

    @property
    def steps_per_epoch(self) -> int:
        """Batches of the chosen rows."""
        return -(-len(self._chosen) // self.batch_size)

    def rows(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of a batch, -1 for padding, and what seeds their variation."""
        rows = np.full(self.batch_size, -1)
        chosen = self._chosen[step * self.batch_size : (step + 1) * self.batch_size]
        rows[: len(chosen)] = chosen
        return rows, self._keys[rows]


def _run(
    extractor: keras.Model, runtime: Runtime | None, batches: Iterator[Batch], rows: NDArray[np.int64],
    values: Floats, threads: int, advance: console.Advance,
) -> Runtime:  # fmt: skip
    """Compute the features of some rows, whose batches come in order; return what computed them."""
    done = 0
    for batch in batches:
        pixels = np.asarray(batch.images)
        if runtime is None:
            runtime = quickest_runtime(extractor, pixels, -(-len(rows) // len(pixels)), threads)
        chosen = rows[done : done + len(pixels)]
        values[chosen] = runtime.run(pixels)[: len(chosen)]
        done += len(chosen)
        advance(len(chosen))
    assert runtime is not None
    return runtime


def _collect(
    world: World, parts: Sequence[NDArray[np.int64]], values: Floats, advance: console.Advance
) -> None:
    """Give the first process the features that the others have computed, of the rows of each."""
    found = world.collect(values[parts[world.rank]].tobytes())
    if not world.first:
        return
    for rows, content in zip(parts[1:], found[1:], strict=True):
        values[rows] = np.frombuffer(content, np.float32).reshape(-1, *values.shape[1:])
        advance(len(rows))


def _digests(dataset: Dataset) -> list[str] | None:
    """Return the digest of every picture's bytes, where the pictures were verified."""
    if "digest" not in dataset.table.column_names:
        return None
    digests = dataset.table["digest"].to_pylist()
    return digests if all(digests) else None


def _number(digest: str, view: int) -> int:
    content = hashlib.blake2b(f"{digest} {view}".encode(), digest_size=8).digest()
    return int.from_bytes(content, "big") >> 1  # an int64


def _weights_key(model: keras.Model) -> str:
    """Return a digest of a network's layers and weights."""
    content = hashlib.blake2b(digest_size=16)
    config = [(type(layer).__name__, _plain(layer.get_config())) for layer in model.layers]
    content.update(json.dumps(config, sort_keys=True, default=repr).encode())
    for value in model.get_weights():
        content.update(np.ascontiguousarray(value).tobytes())
    return content.hexdigest()


def _plain(value: Any) -> Any:
    """Leave out of a configuration the names of layers, which count up in a process."""
    if isinstance(value, dict):
        return {
            k: _plain(v)
            for k, v in value.items()
            if k not in ("name", "trainable", "registered_name")
        }
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _key(weights: str, views: _Views, recipe: str) -> str:
    """Return a digest of everything that features depend on, but the pictures."""
    facts: list[Any] = [_VERSION, weights, views.image_size, views.resize_mode]
    if views.view:
        facts += [views.view, views.seed, repr(views.augment)]
    if views.preprocess is not None or views.view:
        facts.append(recipe)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
