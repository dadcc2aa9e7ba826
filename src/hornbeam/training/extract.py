"""The quickest way to run a network forwards: as Keras does it, or in LiteRT where that agrees."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend

if TYPE_CHECKING:
    import keras

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

_WORTH = 10.0
"""Seconds of work from which converting a network (2 to 5 s) may pay."""

_AGREE = 1e-3
"""Largest difference between two runtimes, as a share of the largest value. MobileNetV2: 6e-6."""


class Runtime(NamedTuple):
    """A way to run a network.

    Attributes:
        name: for people.
        run: from uint8 `[batch, height, width, channels]`, always of one size, to float32.
    """

    name: str
    run: Forward


def quickest_runtime(
    model: keras.Model, example: NDArray[np.uint8], batches: int, threads: int
) -> Runtime:
    """Return Keras' own forward pass, or LiteRT's if it agrees on an example and is quicker.

    On a CPU LiteRT was 2.15 times as quick as a compiled TensorFlow function for MobileNetV2, 1.19
    times for ResNet50.

    Args:
        model: from pixels to one output.
        example: a batch of real pictures.
        batches: how many such there are to do; converting does not pay for a few.
        threads: that LiteRT may use.
    """
    import keras

    plain = Runtime(keras.config.backend(), _keras_forward(model))
    expected = plain.run(example)  # compiles
    seconds, _ = _timed(plain, example)
    if not _litert_may_serve() or seconds * batches < _WORTH:
        return plain
    try:
        lite = Runtime("LiteRT", _litert_forward(model, example, threads))
        found = lite.run(example)
    except Exception:  # an operation that it does not have: then Keras it is
        return plain
    if not np.abs(found - expected).max() <= _AGREE * max(np.abs(expected).max(), 1e-6):
        return plain
    return lite if min(_timed(lite, example)) < min(seconds, *_timed(plain, example)) else plain


def _timed(runtime: Runtime, example: NDArray[np.uint8]) -> tuple[float, float]:
    """Return how many seconds a batch takes, twice."""
    result = []
    for _ in range(2):
        start = time.perf_counter()
        runtime.run(example)
        result.append(time.perf_counter() - start)
    return result[0], result[1]


def _keras_forward(model: keras.Model) -> Forward:
    model.jit_compile = backend.compiles_with_xla()

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(model.predict_on_batch(pixels), np.float32)

    return run


def _litert_may_serve() -> bool:
    """Whether the model can be converted: it runs in TensorFlow, and there is only a CPU."""
    import keras

    is_plain = keras.config.dtype_policy().name == "float32"
    return keras.config.backend() == "tensorflow" and backend.device_kind() == "cpu" and is_plain


def _litert_forward(model: keras.Model, example: NDArray[np.uint8], threads: int) -> Forward:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    signature = tf.TensorSpec(example.shape, tf.uint8)
    traced = tf.function(lambda pixels: model(pixels, training=False)).get_concrete_function(
        signature
    )
    # With variables still in it, the converter of TensorFlow 2.21 loses their values.
    frozen = convert_variables_to_constants_v2(traced)
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the name of TensorFlow's own interpreter is to move
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        content = converter.convert()
        interpreter = _interpreter()(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    made = interpreter.get_output_details()[0]["index"]

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter.set_tensor(given, pixels)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(made), np.float32)

    return run


def _interpreter() -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        return tf.lite.Interpreter
    return Interpreter


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what C++ writes to the standard error out of the way: a line for each delegate."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
