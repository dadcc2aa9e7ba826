"""Ways from a float `.onnx` file to one of integers, for ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.conversion.quantisation.ranges import (
    Extremes,
    Ranges,
    behind_last_weights,
)
from hornbeam.deployment.conversion.quantisation.side_features import first_nodes

LOW, HIGH = "hornbeam_low:", "hornbeam_high:"


def prepared(path: Path, out: Path) -> None:
    """Write the file with shapes inferred and batch normalisation folded: what quantising begins with.

    Without it the file that comes out is 1.7 to 4 times slower. Symbolic inference, which needs
    sympy, stumbles over outputs whose rank the file does not tell; ONNX's own inference goes on without
    it.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with _quiet():
        try:
            quant_pre_process(str(path), str(out))
        except TypeError:
            quant_pre_process(str(path), str(out), skip_symbolic_shape=True)


def onnx_extremes(path: Path, inputs: Mapping[str, NDArray[Any]], threads: int) -> Extremes:
    """Return the extremes of the tensors of a prepared float file.

    Args:
        path: of the file.
        inputs: by name, `[pictures, …]`.
        threads: that may be used.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(path)
    graph = model.graph
    constants = {each.name for each in graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {
        v.name: v.type.tensor_type
        for v in (*inferred.value_info, *inferred.output, *inferred.input)
    }
    answers = behind_last_weights(
        [(node.op_type, node.input, node.output) for node in graph.node],
        [o.name for o in graph.output],
    )
    made = [o for node in graph.node for o in node.output]
    wanted = [
        n for n in (*made, *(i.name for i in graph.input))
        if n not in constants and n in kinds and kinds[n].elem_type == TensorProto.FLOAT
    ]  # fmt: skip
    outputs = []
    for name in wanted:
        for kind, prefix in (("ReduceMin", LOW), ("ReduceMax", HIGH)):
            graph.node.append(helper.make_node(kind, [name], [prefix + name], keepdims=0))
            outputs.append(helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, []))
    del graph.output[:]
    graph.output.extend(outputs)
    session = _session(model.SerializeToString(), threads)
    low: dict[str, list[float]] = {name: [] for name in wanted}
    high: dict[str, list[float]] = {name: [] for name in wanted}
    for row in range(len(next(iter(inputs.values())))):
        found = session.run(None, {n: values[row : row + 1] for n, values in inputs.items()})
        for place, name in enumerate(wanted):
            low[name].append(float(found[2 * place]))
            high[name].append(float(found[2 * place + 1]))
    return Extremes(
        {n: np.array(v, np.float32) for n, v in low.items()},
        {n: np.array(v, np.float32) for n, v in high.items()}, answers,
    )  # fmt: skip


def onnx_first_nodes(path: Path) -> tuple[tuple[str, str], ...]:
    """Return names and types of the nodes that standardise the numbers beside the picture."""
    import onnx

    return tuple((node.name, node.op_type) for node in first_nodes(onnx.load(path).graph))


def by_onnxruntime(
    path: Path, out: Path, ranges: Ranges, *, float_nodes: Sequence[str] = (), activations: int = 8,
    weights: int = 8,
) -> None:  # fmt: skip
    """Write a file of QDQ form: uint8 activations, int8 weights with a scale for each channel.

    Args:
        path: prepared float file.
        out: where to write.
        ranges: by tensor.
        float_nodes: names of nodes that stay in float.
        activations: bits, 8 or 16.
        weights: bits that are used of their 8, 7 or all. Processors of x86 without VNNI add two products
            in 16 bits, which 7 bits cannot overflow.
    """
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantType
    from onnxruntime.quantization.quantize import update_opset_version
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    kind = QuantType.QUInt8 if activations == 8 else QuantType.QUInt16
    model = update_opset_version(onnx.load(path), QuantType.QInt8, kind)
    data = TensorsData(
        CalibrationMethod.MinMax,
        {n: (np.float32(low), np.float32(high)) for n, (low, high) in ranges.items()},
    )
    with _quiet():
        quantizer = QDQQuantizer(
            model, True, weights == 7, QuantType.QInt8, kind, data, [], list(float_nodes),
            list({*QLinearOpsRegistry, *QDQRegistry}), {},
        )  # fmt: skip
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(out), False)


def onnx_answers(
    path: Path, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, str], threads: int
) -> dict[str, NDArray[np.float32]]:
    """Return what a file answers, by output, float32 `[pictures, …]`.

    Args:
        path: of the file.
        inputs: by name, `[pictures, …]`.
        outputs: by output of the model, its name in the file.
        threads: that may be used.
    """
    session = _session(path.read_bytes(), threads)
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), 16):
        given = {n: values[start : start + 16] for n, values in inputs.items()}
        parts.append(session.run(list(outputs.values()), given))
    return {
        name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(outputs)
    }


def _session(content: bytes, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's advice, which is followed already, from being logged."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
