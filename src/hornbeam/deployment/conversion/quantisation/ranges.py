"""Between which values each tensor of a network lies, picture by picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph, TensorInside

TRIMS: Mapping[float, str] = {
    0.0: "ranges of all pictures",
    0.02: "ranges of all but 2% of the pictures",
    0.1: "ranges of all but 10% of the pictures",
}
"""Shares of pictures that ranges may leave out on either side, the plainest first, in words. (Clothing,
EfficientNetB0 at 64 px, first answers equal on test pictures: 72, 87, 92 %; a quarter left out: 87 %;
the mean over pictures: 85 %; the least squared error of each tensor: 78 %.)"""

Ranges = dict[str, tuple[float, float]]
"""By tensor, the smallest and the largest value that its integers stand for."""


@dataclasses.dataclass(frozen=True)
class Extremes:
    """The smallest and the largest value of each tensor, of each picture.

    Attributes:
        low: by tensor, float32 `[pictures]`.
        high: the same.
        answers: tensors of the answers, logits included, whose outer values are their point: none are
            cut off.
    """

    low: Mapping[str, NDArray[np.float32]]
    high: Mapping[str, NDArray[np.float32]]
    answers: frozenset[str]

    def ranges(self, trim: float = 0.0) -> Ranges:
        """Return ranges that hold all values of most pictures.

        Args:
            trim: share of pictures that may have values outside, on either side, in [0, 0.5). One odd
                picture widens the range for all, and makes the steps of all others coarse.
        """
        result = {}
        for name, low in self.low.items():
            cut = 0.0 if name in self.answers else trim
            high = self.high[name]
            result[name] = (float(np.quantile(low, cut)), float(np.quantile(high, 1 - cut)))
        return result


_ROOM = 1 / 256
"""Part of the wider input's range that a sum's range has at least."""


def with_room(ranges: Ranges, graph: Graph) -> Ranges:
    """Return ranges of which those of sums and differences are not all but zero beside their inputs'.

    Where two large numbers cancel (features all but equal, minus their mean), an output's step is far
    finer than an input's. LiteRT's kernels of ADD and SUB abort the whole process where the larger input
    scale is 2**19 times the output's or more (TensorFlow Lite's `QuantizeMultiplierSmallerThanOneExp`).
    What is finer than 1/256 of an input's step is of its rounding, so nothing is lost.

    Args:
        ranges: by tensor.
        graph: of the float file.
    """
    result = dict(ranges)
    for operator in graph.operators:
        out = operator.outputs[0].name
        if operator.type not in ("ADD", "SUB") or out not in result:
            continue
        least = _ROOM * max(_width(*_range(t, result, graph)) for t in operator.inputs)
        low, high = result[out]
        low, high = min(low, 0.0), max(high, 0.0)
        if high - low < least:
            more = (least - (high - low)) / 2
            result[out] = (low - more, high + more)
    return result


def _range(tensor: TensorInside, ranges: Ranges, graph: Graph) -> tuple[float, float]:
    if tensor.constant and tensor.dtype == "FLOAT32":
        values = graph.values(tensor)
        return float(values.min()), float(values.max())
    return ranges.get(tensor.name, (0.0, 0.0))


def _width(low: float, high: float) -> float:
    """Return the width of a range as quantisers take it, with zero in it."""
    return max(high, 0.0) - min(low, 0.0)


def litert_extremes(content: bytes, inputs: Mapping[str, NDArray[Any]], threads: int) -> Extremes:
    """Return the extremes of a float `.tflite` file.

    XNNPACK computes them, ten times quicker than the reference kernels of TensorFlow's calibrator, and
    leaves each tensor readable when all are to be preserved.

    Args:
        content: of the file, of batch 1.
        inputs: by tensor, `[pictures, …]`.
        threads: that may be used.
    """
    from hornbeam.deployment.conversion.quantisation.running import interpreter, set_inputs

    graph = Graph(content)
    wanted = {t.index: t.name for t in graph.tensors if t.dtype == "FLOAT32" and not t.constant}
    running = interpreter(content, threads, keep_all=True)
    low: dict[str, list[float]] = {}
    high: dict[str, list[float]] = {}
    for row in range(len(next(iter(inputs.values())))):
        set_inputs(running, inputs, row)
        running.invoke()
        for index, name in list(wanted.items()):
            try:
                values = running.get_tensor(index)
            except ValueError:  # fused away
                del wanted[index]
                continue
            low.setdefault(name, []).append(float(values.min()))
            high.setdefault(name, []).append(float(values.max()))
    steps = [
        (o.type, [t.name for t in o.inputs], [t.name for t in o.outputs]) for o in graph.operators
    ]
    return Extremes(
        {name: np.array(values, np.float32) for name, values in low.items()},
        {name: np.array(values, np.float32) for name, values in high.items()},
        behind_last_weights(steps, [t.name for t in graph.outputs]),
    )


_WEIGHTED = frozenset({"FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "Gemm", "MatMul", "Conv"})


def behind_last_weights(
    steps: Iterable[tuple[str, Sequence[str], Sequence[str]]], outputs: Iterable[str]
) -> frozenset[str]:
    """Return the tensors from the last layers with weights, their outputs included, to the answers.

    Args:
        steps: type, inputs and outputs of each operator.
        outputs: of the graph.
    """
    maker = {name: (kind, given) for kind, given, made in steps for name in made}
    seen: set[str] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        kind, given = maker.get(name, ("", ()))
        if kind not in _WEIGHTED:
            waiting += given
    return frozenset(seen)
