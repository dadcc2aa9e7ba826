"""A classifier in two: what a frozen backbone makes of pictures, and the head that learns from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.models.classifier import BACKBONE, Target

if TYPE_CHECKING:
    import keras


def split_at_backbone(model: keras.Model) -> tuple[keras.Model, keras.Model] | None:
    """Return a feature extractor and a head that in turn compute what the classifier computes.

    The cut is as late as it can be: after the backbone and what follows it without weights or
    chance, pooling for instance, so that features are small. Both parts share the classifier's
    weights: who trains the head trains the classifier.

    Args:
        model: from one input, uint8 `[batch, height, width, channels]`, to logits by task.

    Returns:
        Models `pixels → features` and `features → logits by task`; `None` if the classifier has no
        layer named `backbone` at its top, or anything beside the backbone reaches the head.
    """
    import keras

    if len(model.inputs) != 1 or BACKBONE not in {layer.name for layer in model.layers}:
        return None
    nodes = [node for node in _nodes(model) if node.operation.name == BACKBONE]
    if len(nodes) != 1 or len(nodes[0].output_tensors) != 1:
        return None
    cut = nodes[0].output_tensors[0]
    while (following := _only_consumer(model, cut)) is not None and _is_fixed(following.operation):
        cut = following.output_tensors[0]
    try:
        head = keras.Model(cut, model.output, name=f"{model.name}_head")
    except ValueError:  # another way leads from the pixels to the logits
        return None
    return keras.Model(model.input, cut, name=f"{model.name}_features"), head


def linear_layers(
    head: keras.Model, targets: Sequence[Target]
) -> dict[str, keras.layers.Dense] | None:
    """Return the one Dense layer of each task, where that is all the head is; else `None`.

    Dropout may stand before them.
    """
    from keras import layers

    found = {}
    for target in targets:
        node = _producer(head, head.output[target.name])
        while node is not None and isinstance(node.operation, layers.Identity):
            node = _producer(head, node.input_tensors[0])
        if node is None or not isinstance(node.operation, layers.Dense):
            return None
        dense = node.operation
        while node is not None and isinstance(node.operation, (layers.Dense, layers.Dropout)):
            before = _producer(head, node.input_tensors[0])
            if before is not None and isinstance(before.operation, layers.Dense):
                return None
            node = before
        is_input = node is None or isinstance(node.operation, layers.InputLayer)
        if not is_input or not dense.use_bias or dense.activation.__name__ != "linear":
            return None
        found[target.name] = dense
    return found


def _nodes(model: keras.Model) -> Iterator[Any]:
    """Yield the calls of layers that make up a functional model."""
    inside = {id(tensor) for tensor in model.outputs}
    waiting = list(model.outputs)
    seen = set()
    while waiting:
        tensor = waiting.pop()
        operation, index, _ = tensor._keras_history
        node = operation._inbound_nodes[index]
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if not node.is_input:
            new = [t for t in node.input_tensors if id(t) not in inside]
            inside |= {id(t) for t in new}
            waiting += new


def _producer(model: keras.Model, tensor: Any) -> Any:
    """Return the call that made a tensor, or `None` for an input of the model."""
    if any(tensor is source for source in model.inputs):
        return None
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]


def _only_consumer(model: keras.Model, tensor: Any) -> Any:
    """Return the one call that takes a tensor and no other; `None` if there are several."""
    users = [
        node for node in _nodes(model)
        if not node.is_input and any(taken is tensor for taken in node.input_tensors)
    ]  # fmt: skip
    return users[0] if len(users) == 1 and len(users[0].input_tensors) == 1 else None


def _is_fixed(operation: Any) -> bool:
    """Whether a layer gives the same for the same, in training too, and learns nothing."""
    import keras

    if not isinstance(operation, keras.layers.Layer) or operation.weights:
        return False
    chance = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)
    return not isinstance(operation, chance) and not hasattr(operation, "seed_generator")
