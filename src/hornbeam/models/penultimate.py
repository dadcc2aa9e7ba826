"""What reaches the last layers of a classifier: where pictures lie before they become logits."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.models.classifier import Target

if TYPE_CHECKING:
    import keras

FEATURES = "features:"
"""Name of the output beside the tasks; no task can have it, for a colon."""


def with_features(model: keras.Model, targets: Sequence[Target]) -> keras.Model | None:
    """Return the model with one more output: the vector from which its last layers make the logits.

    It shares all layers with the model. Pooled features of the zoo's networks, the last hidden layer of
    a recipe's; side features are in it where the classifier puts them beside the picture's.

    Args:
        model: from pixels to logits by task.
        targets: the tasks.

    Returns:
        A model of the same inputs, with outputs by task and, as `FEATURES`, `[batch, n]`; `None` where
        a task's last layer is no Dense, or the tasks' last layers do not share what they take.
    """
    return _extended(model, tuple(target.name for target in targets))


@functools.lru_cache(maxsize=1)  # whoever asks again finds it compiled
def _extended(model: keras.Model, names: tuple[str, ...]) -> keras.Model | None:
    import keras

    outputs = model.output
    if not isinstance(outputs, dict):
        return None
    taken = [_before_the_last_dense(outputs[name]) for name in names]
    if not taken or any(tensor is None or tensor is not taken[0] for tensor in taken):
        return None
    return keras.Model(model.input, {**outputs, FEATURES: taken[0]}, name=model.name)


def _before_the_last_dense(tensor: Any) -> Any:
    """Return what the Dense layer at the end takes, before any dropout; `None` if there is none."""
    from keras import layers

    operation, taken = _producer(tensor)
    while _passes_on(operation):
        operation, taken = _producer(taken)
    if not isinstance(operation, layers.Dense) or operation.activation.__name__ != "linear":
        return None
    before, earlier = _producer(taken)
    while isinstance(before, (layers.Dropout, layers.GaussianDropout, layers.GaussianNoise)):
        taken = earlier
        before, earlier = _producer(taken)
    return taken if len(taken.shape) == 2 and taken.shape[1] is not None else None


def _passes_on(operation: Any) -> bool:
    """Whether a layer gives what it takes."""
    from keras import layers

    if isinstance(operation, layers.Activation):
        return bool(operation.activation.__name__ == "linear")
    return isinstance(operation, layers.Identity)


def _producer(tensor: Any) -> tuple[Any, Any]:
    """Return the layer that made a tensor and the one tensor that it took; `None` for what is not so."""
    operation, index, _ = tensor._keras_history
    node = operation._inbound_nodes[index]
    if node.is_input or len(node.input_tensors) != 1:
        return operation if not node.is_input else None, None
    return operation, node.input_tensors[0]
