"""A loader's batches as Keras takes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np

from hornbeam.data.loader import Batch
from hornbeam.errors import HornbeamError


class Batches(Protocol):
    """What is fed: a `Loader`, or what has its batches with something else for pictures."""

    def empty_batch(self) -> Batch:
        """Return a batch of padding, to know shapes and types."""

    def batches(
        self, start: int, stop: int | None, *, threads: int, processes: int
    ) -> Iterator[Batch]:
        """Iterate over the batches of the steps `start` to `stop`."""


_raised: list[HornbeamError] = []
"""What went wrong while batches were made, in whichever thread."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Raise our own error where a batch could not be made.

    TensorFlow would tell it as a page of its own, of another kind.
    """
    _raised.clear()
    try:
        yield
    except Exception:
        if _raised:
            raise _raised[0] from None
        raise


def feed(
    loader: Batches, steps: int, start: int = 0, *, threads: int = 1, processes: int = 0
) -> Any:
    """Return an endless input for `fit`, `evaluate` or `predict`: the batches from `start` on.

    Each new iteration begins at `start` again. Keras must be told the number of steps as well.

    Args:
        loader: where batches come from.
        steps: how many will be taken in one go; none is made beyond them.
        start: step of the first batch.
        threads: see `Loader.batches`.
        processes: see `Loader.batches`.
    """
    return _as_input(Feed(loader, steps, start, threads=threads, processes=processes))


@contextlib.contextmanager
def feeding(
    loader: Batches, steps: int, start: int = 0, *, threads: int = 1, processes: int = 0
) -> Iterator[Any]:
    """Yield what `feed` returns, for a `fit` whose epochs may end at any step.

    No batch is made ahead after this block.
    """
    indexed = Feed(loader, steps, start, threads=threads, processes=processes)
    try:
        tensorflow = keras.config.backend() == "tensorflow"
        yield _tensorflow_dataset(indexed) if tensorflow else _adapter(indexed)
    finally:
        indexed.close()


def _adapter(indexed: Feed) -> Any:
    """Return Keras' adapter of a feed, which it would make itself, but for one check.

    Keras' takes an epoch that a callback ended early for one that has not ended, and raises.
    """
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    class Adapter(PyDatasetAdapter):  # type: ignore[misc]
        def on_epoch_begin(self) -> None:
            self._within_epoch = False
            super().on_epoch_begin()

    return Adapter(indexed)


def _as_input(indexed: Feed) -> Any:
    return _tensorflow_dataset(indexed) if keras.config.backend() == "tensorflow" else indexed


class Feed(keras.utils.PyDataset):  # type: ignore[misc]
    """Batch `start + i` of a loader at index `i`, without end.

    Not a generator: Keras draws the first two batches to learn their shapes, rebuilds its iterator
    before each validation, and would go on wherever a generator had got to (docs/log.md). An index
    has one meaning only.
    """

    def __init__(
        self, loader: Batches, steps: int, start: int = 0, *, threads: int = 1, processes: int = 0
    ) -> None:
        super().__init__()
        self._loader = loader
        self._steps = steps
        self._start = start
        self._parallel = {"threads": threads, "processes": processes}
        self._ahead: Iterator[Batch] = iter(())
        self._next = -1

    @property
    def num_batches(self) -> None:
        """No end; Keras is told how many steps to take."""

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return inputs, targets and weights of one step."""
        if index != self._next or index % self._steps == 0:
            stop = (index // self._steps + 1) * self._steps
            self._ahead = self._loader.batches(
                self._start + index, self._start + stop, **self._parallel
            )
        self._next = index + 1
        batch = next(self._ahead)
        if self._next % self._steps == 0:
            self._ahead = iter(())  # worker processes end
        return _arguments(batch)

    def close(self) -> None:
        """Make no more batches ahead: threads and processes end."""
        self._ahead = iter(())
        self._next = -1

    def example(self) -> Batch:
        """Return a batch of the right shapes and types, without reading a picture."""
        return self._loader.empty_batch()


def _arguments(batch: Batch) -> tuple[Any, ...]:
    """Return inputs, targets and weights, as Keras has them."""
    return batch.inputs, batch.targets, batch.weights


def _tensorflow_dataset(indexed: Feed) -> Any:
    """Make a `tf.data.Dataset` of an indexed feed.

    Keras would use `Dataset.from_generator`, and TensorFlow 2.21 then sets malloc's trim threshold to
    128 KiB for the whole process: each step gave its memory back and faulted it in again, which took
    2.1 times as long (docs/log.md).
    """
    import tensorflow as tf

    example = _arguments(indexed.example())
    flat = [np.asarray(array) for array in tf.nest.flatten(example)]

    def at(index: int) -> list[Any]:
        try:
            return list(tf.nest.flatten(indexed[int(index)]))
        except HornbeamError as error:
            _raised.append(error)
            raise

    def load(index: Any) -> Any:
        tensors = tf.numpy_function(at, [index], [array.dtype for array in flat])
        for tensor, array in zip(tensors, flat, strict=True):
            tensor.set_shape(array.shape)
        return tf.nest.pack_sequence_as(example, tensors)

    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune; its thread takes up to 2 s to stop
    return tf.data.Dataset.range(2**62).map(load).with_options(options)
