"""The last map of features of a classifier: where it still knows what is where in the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

_PIXELS = 4
"""Channels up to which a map as large as the picture is the picture itself."""


@dataclasses.dataclass(frozen=True)
class FeatureMap:
    """A classifier in two, at its last map of features.

    Attributes:
        front: from the classifier's inputs to the map, `[batch, rows, columns, channels]`.
        back: from the map and the classifier's inputs to the logits of the task.
        weights: float32 `[channels, classes]` where the logits are a Dense layer of the map's mean, so
            that they are the mean of the map times these; else `None`.
    """

    front: Callable[[Any], Any]
    back: Callable[[Any, Any], Any]
    weights: NDArray[np.float32] | None


def last_feature_map(model: keras.Model, task: str) -> FeatureMap | str:
    """Return a classifier cut at the last map before a task's logits, also inside a nested network.

    That is what enters the global pooling of the usual networks. Both parts share the weights.

    Args:
        model: from `image`, and perhaps side features, to logits by task.
        task: name of the output.

    Returns:
        The two parts; why there is no such map, in a sentence, where there is none.
    """
    import keras

    found = _search(model.output[task], ())
    if isinstance(found, str):
        return found
    tensor, nested, passed = found
    height, width, channels = tensor.shape[1:]
    image = next(source for source in model.inputs if len(source.shape) == 4)
    if channels is None or (channels <= _PIXELS and (height, width) == image.shape[1:3]):
        return "The network has no map of features before its answers."
    others = [source for source in model.inputs if len(source.shape) != 4]
    try:
        outside = tensor if nested is None else nested.input_tensors[0]
        front = keras.Model(model.input, outside)
        back = keras.Model(
            [outside if nested is None else nested.output_tensors[0], *others], model.output[task]
        )
        inner = None
        if nested is not None:
            graph = getattr(nested.operation, "_functional", nested.operation)
            inner = keras.Model(graph.input, tensor), keras.Model(tensor, graph.output)
    except ValueError:
        return "More than one map of features leads to the network's answers."

    def to_map(inputs: Any) -> Any:
        reached = _called(front, inputs)
        return _called(inner[0], reached) if inner else reached

    def to_logits(features: Any, inputs: Any) -> Any:
        if inner:
            features = inner[1](features, training=False)
        beside = [keras.ops.convert_to_tensor(inputs[source.name]) for source in others]
        return back([features, *beside] if beside else features, training=False)

    return FeatureMap(to_map, to_logits, _linear(passed))


def _called(model: keras.Model, inputs: Any) -> Any:
    """Return what a model makes of one batch, the quicker way where it is called only once.

    On JAX each operation is compiled, so it is quicker to compile all together: MobileNetV2 took 2.8 s
    in place of 8.5. TensorFlow's operations are there: 0.4 s in place of 0.9.
    """
    import keras

    if keras.config.backend() == "jax":
        return model.predict_on_batch(inputs)
    return model(inputs, training=False)


def _search(output: Any, passed: tuple[Any, ...], within: Any = None) -> tuple[Any, Any, Any] | str:
    """Follow the logits back to the nearest tensor that is a map.

    Args:
        output: where to begin.
        passed: operations that were passed before.
        within: the call of the nested network that `output` is inside of.

    Returns:
        The map, the call of the nested network that it is inside of or `None`, and the operations
        between the map and the logits, the last first; else why there is none.
    """
    waiting = [(output, passed)]
    while waiting:
        tensor, passed = waiting.pop(0)
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        if node.is_input:
            continue
        for taken in node.input_tensors:
            rank = len(taken.shape)
            if rank == 3:
                return "The network's last features are no map of the picture but a sequence."
            if rank != 4 or tuple(taken.shape[1:3]) == (1, 1):
                waiting.append((taken, (*passed, operation)))
                continue
            graph = getattr(operation, "_functional", operation)
            if not hasattr(graph, "_nodes_by_depth"):
                return taken, within, (*passed, operation)
            if within is not None:
                return "The network is nested too deeply to look into."
            return _search(graph.outputs[0], passed, node)
    return "The network has no map of features before its answers."


def _linear(passed: tuple[Any, ...]) -> NDArray[np.float32] | None:
    """Return the weights of the one Dense layer behind global average pooling, if that is all."""
    from keras import layers

    nothing = (layers.Identity, layers.Dropout, layers.Flatten)
    kept = [
        operation for operation in passed
        if not isinstance(operation, nothing)
        and not (isinstance(operation, layers.Activation) and _is_linear(operation))
    ]  # fmt: skip
    if len(kept) != 2:
        return None
    dense, pooling = kept
    if not isinstance(dense, layers.Dense) or not _is_linear(dense):
        return None
    if not isinstance(pooling, layers.GlobalAveragePooling2D):
        return None
    return np.asarray(dense.get_weights()[0], np.float32)


def _is_linear(layer: Any) -> bool:
    return bool(layer.activation.__name__ == "linear")
