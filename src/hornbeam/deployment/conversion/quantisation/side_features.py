"""The numbers beside a picture, which stay in float until they are standardised.

Integers have one scale for all columns of a tensor: beside a column of 0 to 60,000, one of 0 and 1 would
be nothing but zeros. So the operators that standardise the columns are cut off before a file is
quantised, and put in front of it again afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import FEATURES
from hornbeam.deployment.conversion.quantisation.flatbuffer import (
    Graph,
    Operator,
    code_of,
    make_quantize,
)
from hornbeam.deployment.conversion.quantisation.running import interpreter, set_inputs

IN_FLOAT = (
    "The numbers beside the picture stay in float up to the end of their standardisation ({}), as "
    "integers would have one scale for all columns."
)
UNSTANDARDISED = (
    "The network does not standardise the numbers beside the picture before it puts them beside others: "
    "as integers they have one scale for all columns, and small ones may be lost."
)

_BY_COLUMN = frozenset({"MUL", "ADD", "SUB", "DIV"})
_MIXING = "FULLY_CONNECTED"
_BY_COLUMN_ONNX, _MIXING_ONNX = frozenset({"Mul", "Add", "Sub", "Div"}), ("Gemm", "MatMul")


def first_operators(graph: Graph) -> tuple[Operator, ...]:
    """Return the operators from the numbers to the end of their standardisation.

    These take each column by itself. Where the network has none, it is the first layer of weights: its
    sums are no columns any more. Nothing is returned where neither follows the numbers.
    """
    given = next((t for t in graph.inputs if t.name == FEATURES), None)
    ends = {t.index for t in graph.outputs}
    found: list[Operator] = []
    while given is not None and given.index not in ends:
        users = [o for o in graph.operators if any(t.index == given.index for t in o.inputs)]
        if len(users) != 1 or not _alone(users[0], given.index):
            break
        if users[0].type not in _BY_COLUMN and (found or users[0].type != _MIXING):
            break
        found.append(users[0])
        if users[0].type == _MIXING:
            break
        (given,) = users[0].outputs
    return tuple(found)


def _alone(operator: Operator, index: int) -> bool:
    """Return whether an operator computes floats of one tensor and of constants."""
    return all(t.index == index or t.constant for t in operator.inputs) and all(
        t.dtype == "FLOAT32" for t in (*operator.inputs, *operator.outputs)
    )


def quantised_behind(content: bytes, quantise: Callable[[bytes], bytes]) -> bytes:
    """Return a file that a function has quantised, but for the first operators of the numbers.

    Args:
        content: float file.
        quantise: takes a float file, and returns one whose inputs have kept their names.
    """
    graph = Graph(content)
    first = first_operators(graph)
    if not first:
        return quantise(content)
    return _joined(graph, first, Graph(quantise(_cut(content, first))))


def standardised(content: bytes, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return inputs for the file without its first operators: with what these make of the numbers."""
    first = first_operators(Graph(content))
    if not first:
        return inputs
    running = interpreter(content, 1, keep_all=True)
    rows = []
    for row in range(len(inputs[FEATURES])):
        set_inputs(running, inputs, row)
        running.invoke()
        rows.append(running.get_tensor(first[-1].outputs[0].index))
    kept = {name: values for name, values in inputs.items() if name != FEATURES}
    return {**kept, first[-1].outputs[0].name: np.concatenate(rows)}


def _cut(content: bytes, first: Sequence[Operator]) -> bytes:
    """Return the file without its first operators, whose last tensor is an input."""
    graph = Graph(content)
    gone = {each.index for each in first}
    inputs = list(graph.subgraph.inputs)
    inputs[inputs.index(first[0].inputs[_place(first[0])].index)] = first[-1].outputs[0].index
    graph.subgraph.inputs = inputs
    graph.subgraph.operators = [
        each for i, each in enumerate(graph.subgraph.operators) if i not in gone
    ]
    used = sorted({each.opcodeIndex for each in graph.subgraph.operators})
    for each in graph.subgraph.operators:  # the calibrator stumbles over types that nothing is of
        each.opcodeIndex = used.index(each.opcodeIndex)
    graph.model.operatorCodes = [graph.model.operatorCodes[place] for place in used]
    graph.model.signatureDefs = []
    return graph.content()


def _place(operator: Operator) -> int:
    return next(place for place, each in enumerate(operator.inputs) if not each.constant)


def _joined(source: Graph, first: Sequence[Operator], target: Graph) -> bytes:
    """Return the target's file with the source's first operators in front."""
    end = first[-1].outputs[0]
    inside = next(t for t in target.inputs if t.name == end.name)
    places: dict[int, int] = {}

    def place_of(index: int) -> int:
        if index not in places:
            places[index] = _copied(source, index, target)
        return places[index]

    nodes = []
    if inside.dtype == "FLOAT32":
        places[end.index] = inside.index
    else:
        node = make_quantize(target, schema.OperatorT())
        node.inputs, node.outputs = [place_of(end.index)], [inside.index]
        nodes.append(node)
    for operator in reversed(first):
        given = source.subgraph.operators[operator.index]
        node = copy.deepcopy(given)
        code = source.model.operatorCodes[given.opcodeIndex]
        node.opcodeIndex = code_of(target, code.builtinCode, code.version)
        node.inputs = [place_of(i) if i >= 0 else -1 for i in given.inputs]
        node.outputs = [place_of(i) for i in given.outputs]
        nodes.insert(0, node)
    inputs = list(target.subgraph.inputs)
    inputs[inputs.index(inside.index)] = place_of(first[0].inputs[_place(first[0])].index)
    target.subgraph.inputs = inputs
    target.subgraph.operators = [*nodes, *target.subgraph.operators]
    target.model.signatureDefs = []
    return target.content()


def _copied(source: Graph, index: int, target: Graph) -> int:
    """Return the place of a copy of a tensor, with its constant."""
    tensor = copy.deepcopy(source.subgraph.tensors[index])
    tensor.quantization = None
    data, tensor.buffer = source.model.buffers[tensor.buffer].data, 0
    if data is not None and len(data):
        buffer = schema.BufferT()
        buffer.data = data
        tensor.buffer = len(target.model.buffers)
        target.model.buffers.append(buffer)
    target.subgraph.tensors.append(tensor)
    return len(target.subgraph.tensors) - 1


def first_nodes(graph: Any) -> tuple[Any, ...]:
    """Return the same as `first_operators`, of an ONNX graph: nodes."""
    stored = {each.name for each in graph.initializer}
    ends = {each.name for each in graph.output}
    given = FEATURES
    found: list[Any] = []
    while given not in ends:
        users = [node for node in graph.node if given in node.input]
        if len(users) != 1 or not {n for n in users[0].input if n} - {given} <= stored:
            break
        if users[0].op_type not in _BY_COLUMN_ONNX and (
            found or users[0].op_type not in _MIXING_ONNX
        ):
            break
        found.append(users[0])
        if users[0].op_type in _MIXING_ONNX:
            break
        (given,) = users[0].output
    return tuple(found)


def note_of(types: Sequence[str]) -> str:
    """Return what is to be said of a file by the types of its first operators."""
    return IN_FLOAT.format(", ".join(dict.fromkeys(types))) if types else UNSTANDARDISED
