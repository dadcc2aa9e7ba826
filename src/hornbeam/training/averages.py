"""Averages of the weights over the steps (`--ema`): what is validated and kept.

The model holds the raw weights, from which training goes on; the optimiser holds the averages. They
change places while the model is validated or saved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
from keras import ops

from hornbeam.training.optimizers import bare


def has_averages(model: keras.Model) -> bool:
    """Whether the optimiser of a compiled model averages its weights."""
    return bool(model.compiled) and bool(getattr(bare(model.optimizer), "use_ema", False))


class Judged(keras.callbacks.Callback):  # type: ignore[misc]
    """Base of what a model has otherwise while it is judged or kept than while it learns."""

    def __init__(self) -> None:
        super().__init__()
        self._judged = False

    @contextlib.contextmanager
    def as_if(self, judged: bool) -> Iterator[None]:
        """Let the model be as it is judged, or as it learns, inside this block."""
        before = self._judged
        self._turn(judged)
        try:
            yield
        finally:
            self._turn(before)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Let the model be as it is judged."""
        self._turn(True)

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Let the model be as it learns."""
        self._turn(False)

    def _turn(self, judged: bool) -> None:
        if judged != self._judged:
            self._change(judged)
            self._judged = judged

    def _change(self, judged: bool) -> None:
        """Change the variables of the model, to the one or back, exactly."""
        raise NotImplementedError


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Let a model have its averaged weights inside this block; without averages, do nothing.

    Moving statistics of batch normalisation are averages already and stay.
    """
    if not has_averages(model) or not bare(model.optimizer).built:
        yield
        return
    _exchange(model)
    try:
        yield
    finally:
        _exchange(model)


class ValidateAverages(Judged):
    """Validate the averaged weights, and train on from the raw ones."""

    def _change(self, judged: bool) -> None:
        if has_averages(self.model) and bare(self.model.optimizer).built:
            _exchange(self.model)


def _exchange(model: keras.Model) -> None:
    optimizer = bare(model.optimizer)
    averages = optimizer._model_variables_moving_average
    for variable, average in zip(optimizer._trainable_variables, averages, strict=True):
        raw = ops.copy(variable)
        variable.assign(average)
        average.assign(raw)
