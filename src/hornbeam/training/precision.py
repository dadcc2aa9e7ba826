"""Which arithmetic makes this network quickest here: found by a few steps of the network itself.

On CPUs that multiply bfloat16 TensorFlow can do so by a pass over the graph of a float32 model. That
made ResNet50 1.50 times as quick and MobileNetV2 0.84 times (benchmarks/step.py): no fixed choice is
right. Keras' own mixed_bfloat16 was never quicker than the better of the two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras

from hornbeam.backend import GRAPH_BFLOAT16, graph_bfloat16
from hornbeam.data.loader import Loader

_WORTH = 500
"""Steps from which the probe, which takes as long as some 30, may pay."""

_ROUNDS = 4
_GAIN = 1.05
"""How much quicker bfloat16 must be; below that the exacter arithmetic stays."""


def quickest_precision(
    model: keras.Model,
    compile_model: Callable[[keras.Model, Any], object],
    loader: Loader,
    steps: int,
) -> tuple[str, str]:
    """Return `float32` or `graph_bfloat16`, and a sentence that says why.

    The model is left as it is: a copy of it takes the steps, alternately, on one batch.

    Args:
        model: to be trained, in float32, on TensorFlow and a CPU; its frozen layers count as such.
        compile_model: gives a model an optimiser, and losses and metrics.
        loader: of the training pictures.
        steps: that the training will take.
    """
    if steps < _WORTH:
        return "float32", ""
    try:
        # Of a compiled model Keras copies the losses too, which cannot be made of their configuration.
        copy = keras.models.clone_model(keras.Model(model.input, model.output))
    except (TypeError, ValueError, NotImplementedError) as error:
        # There are layers of one's own that cannot be copied.
        reason = str(error).strip().partition("\n")[0]
        return "float32", f"Precision: float32; bfloat16 was not tried ({reason})"
    compile_model(copy, keras.optimizers.Adam())
    batch = loader.batch(0)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(_ROUNDS + 1):
        for reduced, times in seconds.items():
            with graph_bfloat16(reduced):
                copy.train_on_batch(batch.inputs, batch.targets, batch.weights)
                start = time.perf_counter()
                copy.train_on_batch(batch.inputs, batch.targets, batch.weights)
                times.append(time.perf_counter() - start)
    exact, reduced_time = (statistics.median(times[1:]) for times in seconds.values())
    quicker = exact / reduced_time
    said = f"a step takes {1e3 * exact:.0f} ms in float32, {1e3 * reduced_time:.0f} ms in bfloat16"
    if quicker < _GAIN:
        return "float32", f"Precision: float32; {said}."
    return GRAPH_BFLOAT16, f"Precision: bfloat16 where TensorFlow finds it safe; {said}."
