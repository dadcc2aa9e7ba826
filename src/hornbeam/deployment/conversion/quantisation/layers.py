"""Which layers lose most by integers, and which may stay in float."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.conversion.quantisation.flatbuffer import (
    CONVERSIONS,
    Graph,
    TensorInside,
)
from hornbeam.deployment.conversion.quantisation.pictures import Inputs
from hornbeam.deployment.conversion.quantisation.running import interpreter, set_inputs

Noise = tuple[str, str, float]
"""An operator's output, its type, and the error it adds."""

PICTURES = 16
"""On which layers are compared."""


def added_noise(content: bytes, integers: bytes, inputs: Inputs, threads: int) -> list[Noise]:
    """Return how much error each operator adds, the worst first: (its output, its type, error).

    The error of a tensor is the squared difference of its integers to the floats, over the variance of
    the floats; an operator adds what its output has more than the worse of its inputs. (So does a layer
    by layer debugger; what earlier layers did wrong is not counted again.)

    Args:
        content: float file.
        integers: what a way made of it.
        inputs: pictures; the first few are asked about.
        threads: that LiteRT may use.
    """
    noise = _noise(content, integers, inputs, threads)
    result = []
    for operator in Graph(content).operators:
        out = operator.outputs[0].name
        if out in noise:
            before = max((noise.get(t.name, 0.0) for t in operator.inputs), default=0.0)
            result.append((out, operator.type, max(0.0, noise[out] - before)))
    return sorted(result, key=lambda each: -each[2])


def suffering(noise: Sequence[Noise]) -> dict[str, float]:
    """Return the share of the added error by type of operator, the largest first; shares sum to 1."""
    by_type: dict[str, float] = {}
    for _, kind, error in noise:
        by_type[kind] = by_type.get(kind, 0.0) + error
    total = sum(by_type.values()) or 1.0
    shares = {kind: error / total for kind, error in by_type.items()}
    return dict(sorted(shares.items(), key=lambda each: -each[1]))


def only_behind(graph: Graph, output: TensorInside) -> tuple[str, ...]:
    """Return the names of the operators that serve one output and no other."""
    others = set()
    for each in graph.outputs:
        if each is not output:
            others |= _ancestors(graph, each)
    mine = _ancestors(graph, output) - others
    return tuple(graph.operators[i].outputs[0].name for i in sorted(mine))


def matching(graph: Graph, pattern: str) -> tuple[str, ...]:
    """Return the names of operators whose layer's path has a match of a regular expression."""
    found = re.compile(pattern)
    return tuple(
        o.outputs[0].name for o in graph.operators
        if o.type not in CONVERSIONS and found.search(o.outputs[0].name)
    )  # fmt: skip


def _ancestors(graph: Graph, tensor: TensorInside) -> set[int]:
    maker = {t.index: operator for operator in graph.operators for t in operator.outputs}
    seen: set[int] = set()
    waiting = [tensor.index]
    while waiting:
        operator = maker.get(waiting.pop())
        if operator is not None and operator.index not in seen:
            seen.add(operator.index)
            waiting += [t.index for t in operator.inputs]
    return seen


def _noise(content: bytes, integers: bytes, inputs: Inputs, threads: int) -> dict[str, float]:
    """Return the squared error of tensors that both files have, over the variance of the floats."""
    readings = [_Reading(content, threads), _Reading(integers, threads)]
    names = readings[0].tensors.keys() & readings[1].tensors.keys()
    sums = {name: np.zeros(4) for name in names}  # numbers, sum, sum of squares, squared error
    for row in range(min(PICTURES, len(next(iter(inputs.values()))))):
        for reading in readings:
            reading.ask(inputs, row)
        for name in names:
            real, stored = (reading.values(name) for reading in readings)
            if real is not None and stored is not None and real.shape == stored.shape:
                error = float(np.square(real - stored, dtype=np.float64).sum())
                square = float(np.square(real, dtype=np.float64).sum())
                sums[name] += (real.size, float(real.sum(dtype=np.float64)), square, error)
    result = {}
    for name, (count, total, square, error) in sums.items():
        if count:
            result[name] = float(error / max(square - total**2 / count, 1e-12))
    return result


class _Reading:
    """A file that is asked one picture at a time, and whose tensors can be read after each."""

    def __init__(self, content: bytes, threads: int) -> None:
        self._running = interpreter(content, threads, keep_all=True)
        self.tensors = {
            t.name: t for t in Graph(content).tensors if not t.constant and not t.per_channel
        }

    def ask(self, inputs: Inputs, row: int) -> None:
        set_inputs(self._running, inputs, row)
        self._running.invoke()

    def values(self, name: str) -> NDArray[np.float32] | None:
        """Return real numbers; `None` of a tensor that was fused away."""
        tensor = self.tensors[name]
        try:
            stored = self._running.get_tensor(tensor.index).astype(np.float32)
        except ValueError:
            return None
        if len(tensor.scales):
            return np.asarray((stored - tensor.zero_points[0]) * tensor.scales[0], np.float32)
        return np.asarray(stored)
