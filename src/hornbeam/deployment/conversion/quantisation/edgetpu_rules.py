"""What the Edge TPU's compiler demands of a `.tflite` file, as far as Google has published it.

The rules are those of "TensorFlow models on the Edge TPU" (coral.ai/docs/edgetpu/models-intro), for
compiler 16.0, the last one. It is closed: only running it is a proof.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from hornbeam.deployment.conversion.quantisation.flatbuffer import FLOATS, Graph, Operator

SRAM_BYTES = 8 * 1024 * 1024
"""On the chip, for parameters; what does not fit is fetched anew for every picture."""

OLDEST_RUNTIME = 12


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is known of an operator.

    Attributes:
        runtime: of the Edge TPU, the first that has it.
        version: of the operator in the file, the highest that the compiler's TensorFlow (2.5) has.
        limit: returns what is wrong with one, or `None`.
    """

    runtime: int = OLDEST_RUNTIME
    version: int = 2
    limit: Callable[[Graph, Operator], str | None] | None = None


def _no_fused_activation(graph: Graph, operator: Operator) -> str | None:
    fused = getattr(operator.options, "fusedActivationFunction", 0)
    return "it has a fused activation" if fused else None


def _same_dilation(graph: Graph, operator: Operator) -> str | None:
    same = operator.options.dilationWFactor == operator.options.dilationHFactor
    return None if same else "its dilations differ"


def _no_dilation(graph: Graph, operator: Operator) -> str | None:
    plain = operator.options.dilationWFactor == operator.options.dilationHFactor == 1
    return None if plain else "it is dilated"


def _dense(graph: Graph, operator: Operator) -> str | None:
    if operator.options.weightsFormat:
        return "its weights are in another than the default format"
    if math.prod(operator.outputs[0].shape[:-1]) != 1:
        return "what comes out has more than one dimension"
    if operator.inputs[1].per_channel:
        return "its weights have a scale for each channel, which the compiler's generation misreads"
    return None


def _few_in_one_dimension(graph: Graph, operator: Operator) -> str | None:
    shape = operator.inputs[0].shape
    if math.prod(shape[:-1]) != 1:
        return "what goes in has more than one dimension"
    return None if shape[-1] <= 16_000 else f"it is over {shape[-1]:,} numbers; at most 16,000"


def _not_over_the_batch(graph: Graph, operator: Operator) -> str | None:
    axes = operator.inputs[1]
    if not axes.constant:
        return "its axes are no constants"
    rank = len(operator.inputs[0].shape)
    return "it is over the batch" if 0 in np.ravel(graph.values(axes)) % rank else None


def _plain_strides(graph: Graph, operator: Operator) -> str | None:
    strides = operator.inputs[3]
    if not strides.constant or np.any(graph.values(strides) != 1):
        return "its strides are not all 1"
    if operator.options.ellipsisMask or operator.options.newAxisMask:
        return "it adds axes"
    return None


def _zeros_beside(graph: Graph, operator: Operator) -> str | None:
    constants = [t for t in operator.inputs if t.constant]
    if constants and len(operator.inputs) != 2:
        return "it joins a constant to more than one other"
    return _no_fused_activation(graph, operator)


RULES: Mapping[str, Rule] = {
    "ADD": Rule(version=4),
    "AVERAGE_POOL_2D": Rule(version=3, limit=_no_fused_activation),
    "CONCATENATION": Rule(version=3, limit=_zeros_beside),
    "CONV_2D": Rule(version=5, limit=_same_dilation),
    "DEPTHWISE_CONV_2D": Rule(version=6, limit=_no_dilation),
    "EXPAND_DIMS": Rule(13),
    "FULLY_CONNECTED": Rule(version=9, limit=_dense),
    "L2_NORMALIZATION": Rule(),
    "LOGISTIC": Rule(version=3),
    "MAXIMUM": Rule(version=4),
    "MAX_POOL_2D": Rule(version=3, limit=_no_fused_activation),
    "MEAN": Rule(version=3, limit=_not_over_the_batch),
    "MINIMUM": Rule(version=4),
    "MUL": Rule(version=4),
    "PACK": Rule(13, version=3),
    "PAD": Rule(),
    "PRELU": Rule(13),
    "QUANTIZE": Rule(13),
    "REDUCE_MAX": Rule(14, limit=_not_over_the_batch),
    "REDUCE_MIN": Rule(14, limit=_not_over_the_batch),
    "RELU": Rule(),
    "RELU6": Rule(),
    "RELU_N1_TO_1": Rule(),
    "RESHAPE": Rule(),
    "RESIZE_BILINEAR": Rule(version=3),
    "RESIZE_NEAREST_NEIGHBOR": Rule(version=3),
    "RSQRT": Rule(14),
    "SLICE": Rule(version=3),
    "SOFTMAX": Rule(version=3, limit=_few_in_one_dimension),
    "SPACE_TO_DEPTH": Rule(),
    "SPLIT": Rule(version=4),
    "SQUARED_DIFFERENCE": Rule(14),
    "SQUEEZE": Rule(),
    "STRIDED_SLICE": Rule(version=4, limit=_plain_strides),
    "SUB": Rule(version=3),
    "SUM": Rule(13, limit=_not_over_the_batch),
    "TANH": Rule(version=3),
    "TRANSPOSE": Rule(14, version=4),
    "TRANSPOSE_CONV": Rule(13, version=3),
}
"""By type, in the compiler's list of supported operations."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Whether a file can be compiled, and what would run where.

    Attributes:
        problems: why the compiler refuses it, in sentences; empty if nothing is known against it.
        operators: how many there are.
        on_cpu: of those that run beside the Edge TPU: type, its output, and why. All after the first
            that is not mapped stay on the CPU, as the compiler makes one part for the chip.
        parameter_bytes: of all constants.
        runtime: the oldest that has all operators.
    """

    problems: tuple[str, ...]
    operators: int
    on_cpu: tuple[tuple[str, str, str], ...]
    parameter_bytes: int
    runtime: int

    @property
    def fits(self) -> bool:
        """Whether the parameters fit on the chip."""
        return self.parameter_bytes <= SRAM_BYTES


def inspect(content: bytes) -> Report:
    """Return what is known of a `.tflite` file before it is compiled."""
    graph = Graph(content)
    problems = _problems(graph)
    on_cpu, runtime, before = [], OLDEST_RUNTIME, None
    for operator in graph.operators:
        why = _unsupported(graph, operator)
        rule = RULES.get(operator.type)
        if before is None and why is None and rule is not None:
            runtime = max(runtime, rule.runtime)
            continue
        name = operator.outputs[0].name
        on_cpu.append((operator.type, name, why or f"it comes after {before}, which is not mapped"))
        before = before or operator.type
    constants = sum(graph.values(t).nbytes for t in graph.tensors if t.constant)
    return Report(tuple(problems), len(graph.operators), tuple(on_cpu), constants, runtime)


def _problems(graph: Graph) -> list[str]:
    result = []
    floats = sorted({
        o.type for o in graph.operators if any(t.dtype in FLOATS for t in (*o.inputs, *o.outputs))
    })  # fmt: skip
    if floats:
        result.append(f"Not all tensors are integers: {', '.join(floats)} take or give floats.")
    moving = [t.name for t in graph.tensors if any(side < 0 for side in t.shape)]
    if moving:
        result.append(f"Shapes must be fixed; {len(moving)} are not, as that of '{moving[0]}'.")
    batches = [t.shape[0] for t in graph.inputs if t.shape and t.shape[0] not in (1, -1)]
    if batches:
        result.append(f"The batch must be 1; it is {batches[0]}.")
    if len(graph.model.subgraphs) > 1:
        result.append("There must be one graph; control flow makes several.")
    return result


def _unsupported(graph: Graph, operator: Operator) -> str | None:
    """Return why an operator is not mapped to the Edge TPU; `None` if nothing is known against it."""
    rule = RULES.get(operator.type)
    if rule is None:
        return "the Edge TPU does not have it"
    tensors = (*operator.inputs, *operator.outputs)
    if any(t.dtype in FLOATS for t in tensors):
        return "it computes with floats"
    if any(t.dtype == "INT16" for t in tensors):
        return "it computes with int16"
    if operator.version > rule.version:
        return f"it asks for version {operator.version}; the compiler knows up to {rule.version}"
    wide = [t for t in tensors if not t.constant and any(side > 1 for side in t.shape[:-3])]
    if wide:
        return f"a tensor of shape {list(wide[0].shape)} has more than three dimensions above 1"
    if operator.type in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and not all(
        t.constant for t in operator.inputs[1:]
    ):
        return "its weights are no constants"
    return rule.limit(graph, operator) if rule.limit else None
