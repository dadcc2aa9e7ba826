"""The averages of batch normalisation: freed of their first values, or computed anew at the end.

Training normalises by each batch's own mean and variance; the averages that layers keep of these are
read by validation and by the finished model only. So both methods act between the steps, and leave
no trace in the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hornbeam.backend import compiles_with_xla
from hornbeam.training.averages import Judged
from hornbeam.training.callbacks import Clock, Logs


def learning_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the layers of batch normalisation that learn from the batches: none that is frozen.

    Those with batch renormalisation, which has a warm-up of its own, are left out.
    """
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.built
        and layer.trainable
        and not layer.renorm
    ]


class WarmUpBatchNorm(Judged):
    """Let averages forget what they began with, as if their momentum rose from 0 to its value.

    After t steps an average with momentum m, begun at 0, is the weighted mean of the batches times
    `1 - m**t`; divided by that, it is the mean itself. This is what a momentum of
    `m (1 - m**t) / (1 - m**(t + 1))` in step t gives: 0, then about 1/2, 2/3, … up to m; and what Adam
    does with its moments (Kingma and Ba 2015, arXiv:1412.6980, section 3). The quotients are in the
    model while it is validated and saved, and after training; the plain averages while it learns.

    A layer is taken to see one batch a step.

    Args:
        clock: knows the step; where training goes on from one, the model holds plain averages.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._plain: list[NDArray[np.float32]] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begin at nothing, or at the averages of an earlier session."""
        if self._clock.step == 0:
            for variable, _ in self._averages():
                variable.assign(np.zeros(variable.shape, np.float32))

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Put the quotients into the model."""
        self._turn(True)

    def _change(self, judged: bool) -> None:
        if self._clock.step == 0:
            return
        averages = self._averages()
        if not judged:  # as they were: divided and multiplied, some would differ in a bit
            for (variable, _), value in zip(averages, self._plain, strict=True):
                variable.assign(value)
            return
        self._plain = [np.array(keras.ops.convert_to_numpy(variable)) for variable, _ in averages]
        for (variable, momentum), value in zip(averages, self._plain, strict=True):
            known = 1 - momentum**self._clock.step
            variable.assign((value.astype(np.float64) / known).astype(np.float32))

    def _averages(self) -> list[tuple[keras.Variable, float]]:
        return [
            (variable, layer.momentum)
            for layer in learning_layers(self.model)
            for variable in (layer.moving_mean, layer.moving_variance)
        ]


class _AsInTraining(keras.Model):  # type: ignore[misc]
    """Runs a model as in training, whatever it is asked for."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="as_in_training")
        self._asked = model
        self.compile(jit_compile=compiles_with_xla())

    def call(self, inputs: Any) -> Any:
        return self._asked(inputs, training=True)


def recompute_averages(model: keras.Model, batches: Iterable[Any]) -> int:
    """Set the averages of batch normalisation to the mean and variance over some batches.

    Wu and Johnson 2021 (arXiv:2105.07576), section 3: the weights stay as they are, and the means and
    variances of the batches are put together as if they were one large batch.

    Args:
        model: from pixels to logits.
        batches: what the model takes, each an array `[batch, …]` or a dictionary of such; all of the
            same size.

    Returns:
        The number of layers that were set; frozen ones are not.
    """
    layers = learning_layers(model)
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    means: list[list[NDArray[np.float64]]] = [[] for _ in layers]
    variances: list[list[NDArray[np.float64]]] = [[] for _ in layers]
    runner = _AsInTraining(model)
    try:
        for layer in layers:
            layer.momentum = 0.0  # an average is then what the last batch had
        for batch in batches:
            runner.predict_on_batch(batch)
            for index, layer in enumerate(layers):
                means[index].append(_values(layer.moving_mean))
                variances[index].append(_values(layer.moving_variance))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
    for layer, mean, variance in zip(layers, means, variances, strict=True):
        layer.moving_mean.assign(np.mean(mean, axis=0).astype(np.float32))
        whole = np.mean(variance, axis=0) + np.var(mean, axis=0)
        layer.moving_variance.assign(whole.astype(np.float32))
    return len(layers)


def _values(variable: keras.Variable) -> NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
