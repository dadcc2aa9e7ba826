"""A loss that is no number, or weights that are none: noticed, and shown with the step's pictures."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.data.loader import Loader
from hornbeam.data.pixels.images import Pixels
from hornbeam.storage import new_directory, write_table
from hornbeam.training.callbacks import Clock, Logs
from hornbeam.training.optimizers import rate_at


class NoNumberError(Exception):
    """The loss of a step is infinite or not a number, or weights are after it.

    Attributes:
        step: that it was noticed in, from 0: the one after as many.
        rate: learning rate of that step.
        what: the sentence about it, without its end.
    """

    def __init__(self, step: int, rate: float, what: str) -> None:
        super().__init__(step, rate, what)
        self.step, self.rate, self.what = step, rate, what


class WatchTheLoss(keras.callbacks.Callback):  # type: ignore[misc]
    """Raise when the loss is no number.

    Keras gives the mean over the interval so far, which is no number from the first such loss on. It
    is looked at one step late, so that an accelerator need not wait; at the end of an interval, at
    once, and the weights as well.

    Args:
        clock: knows the step.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._late: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Begin anew: there is no loss yet."""
        self._late = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss of the step before."""
        self._look(self._clock.step - 2)
        self._late = (logs or {}).get("loss")

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Look at the last loss, before anything is made of it."""
        self._look(self._clock.step - 1)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Look at the weights, and at the last loss, where there was no validation."""
        self._look(self._clock.step - 1)
        arrays = (keras.ops.convert_to_numpy(variable) for variable in self.model.weights)
        require_numbers(arrays, self.model.optimizer, self._clock.step - 1)

    def _look(self, step: int) -> None:
        loss, self._late = self._late, None
        if loss is not None and not math.isfinite(loss := float(loss)):
            # Not the rate of now: that is of a later step, or, on JAX, of the interval's beginning.
            rate = rate_at(self.model.optimizer, step)
            raise NoNumberError(step, rate, f"The loss of step {step} is {loss}")


def require_numbers(
    arrays: Iterable[NDArray[Any]], optimizer: keras.optimizers.Optimizer, step: int
) -> None:
    """Check the variables of a model after a step, from 0.

    A loss does not show all: on processors XLA computes the mean of `relu(x)` as if no `x` were NaN
    (JAX 0.10; docs/log.md), so a network may be all NaN and its loss that of guessing.

    Raises:
        NoNumberError: one is infinite or not a number.
    """
    if all(np.isfinite(array).all() for array in arrays):
        return
    rate = rate_at(optimizer, step)
    raise NoNumberError(
        step, rate, f"Weights are no numbers after step {step}, though the loss is one"
    )


def write_batch(loader: Loader, step: int, directory: Path) -> None:
    """Write the pictures of a step as the network gets them, but not mixed, and a list of them.

    Args:
        loader: of the training.
        step: from 0.
        directory: new; gets `0000.png`, …, and `batch.csv`: picture, path, class of each task.
    """
    batch = loader.batch(step)
    rows, _ = loader.rows(step)
    dataset = loader.dataset.take(rows[rows >= 0])
    names = [f"{slot:04}.png" for slot in range(len(dataset))]
    with new_directory(directory, replace=True) as temporary:
        for name, image in zip(names, batch.images[rows >= 0], strict=True):
            (temporary / name).write_bytes(_png(image))
        columns = {"picture": names, "path": dataset.table["path"]}
        labels = {
            task.name: [str(label) for label in dataset.label_names(task).to_pylist()]
            for task in dataset.tasks
        }
        write_table(temporary / "batch.csv", pa.table(columns | labels))


def _png(image: Pixels) -> bytes:
    order = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}.get(image.shape[-1])
    encoded = cv2.imencode(".png", image if order is None else cv2.cvtColor(image, order))[1]
    return bytes(encoded.tobytes())
