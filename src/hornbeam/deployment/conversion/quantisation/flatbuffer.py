"""What is inside a `.tflite` file: operators, tensors and constants, and changes to them.

The schema is TensorFlow Lite's (schema.fbs); names of operators and types are those of its enumerations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils
from numpy.typing import NDArray

FLOATS = frozenset({"FLOAT16", "FLOAT32", "FLOAT64", "BFLOAT16"})
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})
"""Operators between floats and integers, which compute nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class TensorInside:
    """A tensor of the graph.

    Attributes:
        index: in the graph.
        name: in the file; several may have the same.
        dtype: of the schema's enumeration, as `INT8`.
        shape: with -1 where any number will do.
        scales: of quantisation, float32 `[1]`, or `[channels]` if it is per channel, or empty.
        zero_points: int64, as many.
        axis: that the channels are on.
        constant: whether its values are in the file.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int
    constant: bool

    @property
    def per_channel(self) -> bool:
        """Whether each channel has a scale of its own."""
        return len(self.scales) > 1


@dataclasses.dataclass(frozen=True)
class Operator:
    """A node of the graph.

    Attributes:
        index: in the graph, in the order of execution.
        type: of the schema's enumeration, as `CONV_2D`; of a custom operator, `CUSTOM name`.
        version: of the kernel that is asked for.
        inputs: tensors; optional ones that are missing are left out.
        outputs: tensors.
        options: of the schema, as `Conv2DOptionsT`; `None` if it has none.
    """

    index: int
    type: str
    version: int
    inputs: tuple[TensorInside, ...]
    outputs: tuple[TensorInside, ...]
    options: Any


class Graph:
    """The first graph of a file.

    Args:
        content: of the file.
    """

    def __init__(self, content: bytes) -> None:
        self.model = model_of(content)
        self.subgraph = self.model.subgraphs[0]
        self.tensors = tuple(self._tensor(i) for i in range(len(self.subgraph.tensors)))
        self.operators = tuple(self._operators())
        self.inputs = tuple(self.tensors[i] for i in self.subgraph.inputs)
        self.outputs = tuple(self.tensors[i] for i in self.subgraph.outputs)

    def values(self, tensor: TensorInside) -> NDArray[Any]:
        """Return the numbers of a constant tensor, in its shape."""
        dtype = np.dtype({"BOOL": "bool"}.get(tensor.dtype, tensor.dtype.lower()))
        data = self._data(self.subgraph.tensors[tensor.index])
        return np.frombuffer(bytes(data), dtype).reshape(tensor.shape)

    def content(self) -> bytes:
        """Return the file, with what was changed in `model`."""
        return bytes(flatbuffer_utils.convert_object_to_bytearray(self.model))

    def _data(self, tensor: Any) -> Any:
        data = self.model.buffers[tensor.buffer].data
        return b"" if data is None else data

    def _tensor(self, index: int) -> TensorInside:
        given = self.subgraph.tensors[index]
        shape = given.shape if given.shapeSignature is None else given.shapeSignature
        found = given.quantization
        scales = [] if found is None or found.scale is None else found.scale
        zeros = [] if found is None or found.zeroPoint is None else found.zeroPoint
        return TensorInside(
            index, given.name.decode(), flatbuffer_utils.type_to_name(given.type),
            tuple(int(side) for side in ([] if shape is None else shape)),
            np.asarray(scales, np.float32), np.asarray(zeros, np.int64),
            0 if found is None else int(found.quantizedDimension), len(self._data(given)) > 0,
        )  # fmt: skip

    def _operators(self) -> Iterator[Operator]:
        for index, given in enumerate(self.subgraph.operators):
            code = self.model.operatorCodes[given.opcodeIndex]
            name = flatbuffer_utils.opcode_to_name(self.model, given.opcodeIndex) or "?"
            if code.customCode:
                name = f"CUSTOM {code.customCode.decode()}"
            yield Operator(
                index, name, int(code.version),
                tuple(self.tensors[i] for i in given.inputs if i >= 0),
                tuple(self.tensors[i] for i in given.outputs), given.builtinOptions,
            )  # fmt: skip


def model_of(content: bytes) -> Any:
    """Return what is in a file, as objects of the schema (`ModelT`), whose buffers are arrays.

    Large ones of ai-edge-quantizer lie behind the flatbuffer and are read as bytes, which the schema's
    code writes one by one: 10 s of a ResNet50.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    for buffer in model.buffers:
        if buffer.data is not None and not isinstance(buffer.data, np.ndarray):
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    return model


def float_operators(graph: Graph) -> tuple[Operator, ...]:
    """Return the operators that compute with floats; conversions to and from integers do not."""
    return tuple(
        operator
        for operator in graph.operators
        if operator.type not in CONVERSIONS
        and any(t.dtype in FLOATS for t in (*operator.inputs, *operator.outputs))
    )


def with_what_quantisers_take(content: bytes) -> bytes:
    """Return a float file that quantisers treat as they should.

    SQUAREs become products of a tensor with itself, as MUL takes integers. Names of fused layers (`a;b`)
    get another mark between them: the converter leaves no operator of such a name in float.
    """
    graph = Graph(content)
    for tensor in graph.subgraph.tensors:
        tensor.name = tensor.name.replace(b";", b"+")
    for operator in graph.operators:
        if operator.type == "SQUARE":
            node = graph.subgraph.operators[operator.index]
            node.opcodeIndex = code_of(graph, schema.BuiltinOperator.MUL, 1)
            node.inputs = [node.inputs[0], node.inputs[0]]
            node.builtinOptionsType = schema.BuiltinOptions.MulOptions
            node.builtinOptions = schema.MulOptionsT()
    return graph.content()


def with_ranges(content: bytes, ranges: Mapping[str, tuple[float, float]]) -> bytes:
    """Return a float file whose tensors tell the ranges of their values, as the quantiser reads them.

    Args:
        content: of the file.
        ranges: by tensor, smallest and largest value.
    """
    graph = Graph(content)
    for tensor in graph.tensors:
        if tensor.name in ranges and not tensor.constant:
            parameters = schema.QuantizationParametersT()
            parameters.min = [float(ranges[tensor.name][0])]
            parameters.max = [float(ranges[tensor.name][1])]
            graph.subgraph.tensors[tensor.index].quantization = parameters
    return graph.content()


def with_byte_ends(content: bytes) -> bytes:
    """Return a quantised file with uint8 inputs and outputs where they are int8, or floats beside int8.

    Their zero point is 128 higher, and QUANTIZE goes from the one to the other, as TensorFlow's
    converter does. Other inputs and outputs stay.
    """
    graph = Graph(content)
    for operator in graph.operators:
        if operator.type in CONVERSIONS:
            _make_end_bytes(graph, operator)
    first, last = [], []
    for tensor in graph.inputs:
        if tensor.dtype == "INT8":
            first.append(_conversion(graph, tensor, graph.subgraph.inputs, enters=True))
    for tensor in graph.outputs:
        if tensor.dtype == "INT8":
            last.append(_conversion(graph, tensor, graph.subgraph.outputs, enters=False))
    graph.subgraph.operators = [*first, *graph.subgraph.operators, *last]
    return graph.content()


def with_cast_pixels(content: bytes) -> bytes:
    """Return a file whose picture, a float input, is uint8 and cast at the start."""
    graph = Graph(content)
    first = []
    for tensor in graph.inputs:
        if tensor.dtype == "FLOAT32" and len(tensor.shape) == 4:
            node = _conversion(graph, tensor, graph.subgraph.inputs, enters=True)
            node.opcodeIndex = code_of(graph, schema.BuiltinOperator.CAST, 1)
            node.builtinOptionsType, node.builtinOptions = 0, None
            graph.subgraph.tensors[-1].quantization = None
            first.append(node)
    graph.subgraph.operators = [*first, *graph.subgraph.operators]
    return graph.content()


def _make_end_bytes(graph: Graph, operator: Operator) -> None:
    """Change a QUANTIZE of a float input, or a DEQUANTIZE to an output, to one from or to uint8."""
    enters = operator.type == "QUANTIZE"
    (inside,), (outside,) = operator.inputs, operator.outputs
    end, other = (inside, outside) if enters else (outside, inside)
    ends = graph.inputs if enters else graph.outputs
    if end.dtype != "FLOAT32" or other.dtype != "INT8" or end not in ends:
        return
    if sum(t.index == end.index for each in graph.operators for t in each.inputs) > enters:
        return  # it is needed as a float, too
    changed = graph.subgraph.tensors[end.index]
    changed.type, changed.quantization = schema.TensorType.UINT8, _byte_quantization(other)
    make_quantize(graph, graph.subgraph.operators[operator.index])


def _conversion(graph: Graph, tensor: TensorInside, ends: Any, *, enters: bool) -> Any:
    """Return a QUANTIZE between an end and a new uint8 one, which gets its name and place."""
    inner = graph.subgraph.tensors[tensor.index]
    outer = schema.TensorT()
    outer.name, outer.shape, outer.buffer = inner.name, inner.shape, 0
    outer.shapeSignature, outer.hasRank = inner.shapeSignature, inner.hasRank
    outer.type, outer.quantization = schema.TensorType.UINT8, _byte_quantization(tensor)
    inner.name = inner.name + b"_inside"
    new = len(graph.subgraph.tensors)
    graph.subgraph.tensors.append(outer)
    ends[list(ends).index(tensor.index)] = new
    for signature in graph.model.signatureDefs or []:
        for each in signature.inputs if enters else signature.outputs:
            each.tensorIndex = new if each.tensorIndex == tensor.index else each.tensorIndex
    node = make_quantize(graph, schema.OperatorT())
    node.inputs, node.outputs = ([new], [tensor.index]) if enters else ([tensor.index], [new])
    return node


def _byte_quantization(tensor: TensorInside) -> Any:
    result = schema.QuantizationParametersT()
    if not len(tensor.scales):
        return result
    result.scale = [float(tensor.scales[0])]
    result.zeroPoint = [int(tensor.zero_points[0]) + 128]
    return result


def make_quantize(graph: Graph, node: Any) -> Any:
    """Make a node of a graph a QUANTIZE, and return it."""
    node.opcodeIndex = code_of(graph, schema.BuiltinOperator.QUANTIZE, 2)
    node.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
    node.builtinOptions = schema.QuantizeOptionsT()
    return node


def code_of(graph: Graph, builtin: int, version: int) -> int:
    """Return the index of an operator's code, which is added if the file has none."""
    codes = graph.model.operatorCodes
    for index, code in enumerate(codes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    codes.append(code)
    return len(codes) - 1
