"""Ways from a float `.tflite` file to an integer one."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from hornbeam.deployment.bundle.manifest import IMAGE
from hornbeam.deployment.conversion.quantisation.flatbuffer import (
    Graph,
    with_byte_ends,
    with_cast_pixels,
    with_ranges,
)
from hornbeam.deployment.conversion.quantisation.pictures import Inputs
from hornbeam.deployment.conversion.quantisation.ranges import Ranges
from hornbeam.deployment.conversion.quantisation.running import input_of
from hornbeam.deployment.conversion.quantisation.side_features import (
    quantised_behind,
    standardised,
)
from hornbeam.deployment.runtimes.quiet import quiet as silent


def by_converter(content: bytes, ranges: Ranges, *, float_nodes: tuple[str, ...] = ()) -> bytes:
    """Quantise with TensorFlow's converter.

    It reads the ranges from the tensors of the file, as its own calibrator would have written them.
    FULLY_CONNECTED gets one scale for all of its weights: older runtimes, and the Edge TPU's compiler,
    compute nonsense of several.

    Args:
        content: float file.
        ranges: by tensor.
        float_nodes: names of tensors whose operators stay in float.
    """
    from tensorflow.lite.python.convert import mlir_quantize
    from tensorflow.lite.toco import types_pb2

    def quantise(cut: bytes) -> bytes:
        return bytes(mlir_quantize(
            with_ranges(cut, ranges), inference_type=types_pb2.QUANTIZED_INT8,
            disable_per_channel_for_dense_layers=True,
            denylisted_nodes=set(float_nodes) or None,
        ))  # fmt: skip

    with quiet():
        return with_byte_ends(quantised_behind(content, quantise))


def by_edge_quantizer(content: bytes, ranges: Ranges) -> bytes:
    """Quantise with ai-edge-quantizer (Google), by the same ranges.

    Its weights of channels that are zero would get the scale 0, and their bias be lost: those channels
    get a range that the bias fits in (int32 at the product of the scales).
    """
    from ai_edge_quantizer import qtyping, quantizer, recipe

    def quantise(cut: bytes) -> bytes:
        statistics = {
            name: {"min": np.full(1, low, np.float32), "max": np.full(1, high, np.float32)}
            for name, (low, high) in ranges.items()
        } | _weight_ranges(Graph(cut), ranges)
        made = quantizer.Quantizer(cut, recipe.static_wi8_ai8())
        made.add_static_config(
            ".*", qtyping.TFLOperationName.FULLY_CONNECTED, 8, 8,
            qtyping.QuantGranularity.TENSORWISE,
        )  # fmt: skip
        result = made.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
        return bytes(result.quantized_model)

    with quiet():
        return with_byte_ends(quantised_behind(content, quantise))


def half_weights(content: bytes) -> bytes:
    """Return a file of float16 weights that computes with float32; depthwise ones stay float32.

    Args:
        content: float file.
    """
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    weights = qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT)
    with quiet():
        made = quantizer.Quantizer(content)
        for kind in ("CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED", "EMBEDDING_LOOKUP"):
            made.update_quantization_recipe(
                ".*", qtyping.TFLOperationName(kind), algorithm_key=AlgorithmName.FLOAT_CASTING,
                op_config=qtyping.OpQuantizationConfig(
                    weight_tensor_config=weights, explicit_dequantize=True,
                    compute_precision=qtyping.ComputePrecision.FLOAT,
                ),
            )  # fmt: skip
        result = made.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _without_depthwise(quantiser: Any) -> None:
    """Leave depthwise weights as they are: they are few, and rounding them changes answers."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.algorithm_manager import AlgorithmName

    quantiser.update_quantization_recipe(
        ".*", qtyping.TFLOperationName.DEPTHWISE_CONV_2D, algorithm_key=AlgorithmName.NO_QUANTIZE
    )


def weights_alone(content: bytes, *, clipped: bool, depthwise: bool) -> bytes:
    """Return a file of int8 weights, a scale for each channel, that computes with floats.

    Args:
        content: float file.
        clipped: cut off the largest weights of a channel where the others gain more by it (OCTAV,
            Sakr et al. 2022, "Optimal clipping and magnitude-aware differentiation").
        depthwise: those of depthwise convolutions too, which are few.
    """
    from ai_edge_quantizer import quantizer, recipe

    with quiet():
        made = quantizer.Quantizer(
            content,
            recipe.weight_only_wi8_afp32("OCTAV" if clipped else "min_max_uniform_quantize"),
        )
        if not depthwise:
            _without_depthwise(made)
        result = made.quantize(enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def with_clipped_weights(content: bytes) -> bytes:
    """Return a float file whose weights are cut and rounded as `weights_alone` does.

    Whatever quantises it by the largest weight of a channel then gets the clipped scale, and the same
    integers. (Fine-tuned MobileNetV2 at 224 px: mean of largest differences 0.0215 for 0.0268.)
    """
    stored = Graph(weights_alone(content, clipped=True, depthwise=True))
    integers = {t.name: t for t in stored.tensors if t.constant and t.dtype == "INT8"}
    graph = Graph(content)
    for tensor in graph.tensors:
        given = integers.get(tensor.name)
        if given is None or not tensor.constant or tensor.dtype != "FLOAT32":
            continue
        shape = [1] * len(given.shape)
        if given.per_channel:
            shape[given.axis] = -1
        weights = stored.values(given).astype(np.float32) * given.scales.reshape(shape)
        buffer = graph.model.buffers[graph.subgraph.tensors[tensor.index].buffer]
        buffer.data = np.frombuffer(weights.astype(np.float32).tobytes(), np.uint8)
    return graph.content()


def by_calibrator(content: bytes, inputs: Inputs) -> bytes:
    """Quantise with TensorFlow's older quantiser to int16 activations, which the newer one cannot.

    Pixels are still bytes, cast at the start; what comes out are floats.

    Args:
        content: float file.
        inputs: calibration pictures.
    """
    import tensorflow as tf
    from tensorflow.lite.python.optimize import calibrator

    told = standardised(content, inputs)

    def quantise(cut: bytes) -> bytes:
        names = [tensor.name for tensor in Graph(cut).inputs]

        def given() -> Iterator[list[Any]]:
            for row in range(len(told[IMAGE])):
                yield [told[input_of(n, told)][row : row + 1].astype(np.float32) for n in names]

        quantiser = calibrator.Calibrator(calibrator.add_intermediate_tensors(cut))
        return bytes(quantiser.calibrate_and_quantize(
            given, tf.float32, tf.float32, True, tf.int16, tf.int64,
            disable_per_channel_quantization_for_dense_layers=True,
        ))  # fmt: skip

    with quiet():
        return with_cast_pixels(quantised_behind(content, quantise))


_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Axis of the weights that belongs to the channels that come out."""


def _weight_ranges(graph: Graph, ranges: Ranges) -> dict[str, dict[str, Any]]:
    result = {}
    for operator in graph.operators:
        axis = _CHANNELS.get(operator.type)
        if axis is None or len(operator.inputs) < 3 or operator.inputs[0].name not in ranges:
            continue
        given, kernel, bias = operator.inputs[:3]
        weights = np.abs(graph.values(kernel))
        low, high = ranges[given.name]
        step = max((max(high, 0.0) - min(low, 0.0)) / 255, 1e-12)
        largest = weights.max(axis=tuple(a for a in range(4) if a != axis), keepdims=True)
        holds_bias = np.abs(graph.values(bias)).reshape(largest.shape) * 127 / (step * 2**30)
        size = np.maximum(largest, np.maximum(holds_bias, 1e-6 * weights.max())).astype(np.float32)
        result[kernel.name] = {"min": -size, "max": size}
    return result


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep libraries from writing progress and remarks to the console, C++ included."""
    with warnings.catch_warnings(), silent():
        warnings.simplefilter("ignore")
        yield
