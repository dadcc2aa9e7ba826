"""Operators that a format does not have: which, and the layers that need them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hornbeam.errors import ModelError

if TYPE_CHECKING:
    import keras


def missing(format_name: str, found: Mapping[str, str], model: keras.Model) -> ModelError:
    """Return what to raise where a format has no operator for something.

    Args:
        format_name: for people, as `LiteRT`.
        found: by path in the graph, as `classifier/odd_1/Erfinv`, the operator of TensorFlow.
        model: that was to be converted.
    """
    needed: dict[str, list[str]] = {}
    for path, operator in found.items():
        layer = _layer_of(path, model)
        where = "the network" if layer is None else f"layer '{layer.name}' ({type(layer).__name__})"
        if operator not in needed.setdefault(where, []):
            needed[where].append(operator)
    listed = "; ".join(f"{where} needs {', '.join(names)}" for where, names in needed.items())
    return ModelError(
        f"{format_name} has no operator for this: {listed}. Make that of other operations, or choose "
        "another format."
    )


def named_by_litert(message: str) -> dict[str, str]:
    """Return what LiteRT's converter complains about, in the form that `missing` takes."""
    located = re.findall(r'fused\["(\w+):", "([^"]+)"\]', message)
    found = {path: operator for operator, path in located}
    if not found:
        for names in re.findall(r"(?:TF Select|Flex|Custom) ops: ([^\n]+)", message):
            found |= {name.strip(): name.strip() for name in names.split(",")}
    return found


def foreign_to_onnx(made: Any) -> dict[str, str]:
    """Return the operators of a `ModelProto` that ONNX does not have, in the form of `missing`."""
    import onnx

    return {
        node.name or node.op_type: node.op_type
        for node in made.graph.node
        if node.domain == "" and not onnx.defs.has(node.op_type)
    }


def refuse_bare_operations(model: keras.Model) -> None:
    """Refuse a network with operations outside of layers, which `.h5` files cannot hold.

    Raises:
        ModelError: there are some; it names them.
    """
    import keras

    bare = {type(o).__name__ for o in _operations(model) if not isinstance(o, keras.layers.Layer)}
    if bare:
        raise ModelError(
            "An .h5 file holds layers only, and cannot be read with what the network computes outside "
            f"of them: {', '.join(sorted(bare))}. Choose the format keras."
        )


def _operations(model: keras.Model) -> Iterator[Any]:
    for operation in model.operations:
        if hasattr(operation, "_run_through_graph"):
            yield from _operations(operation)
        else:
            yield operation


def _layer_of(path: str, model: keras.Model) -> Any:
    """Return the innermost layer on a path, where TensorFlow may have put numbers after names."""
    layers = {layer.name: layer for layer in model._flatten_layers(include_self=False)}
    for part in reversed(path.split("/")):
        found = layers.get(part) or layers.get(re.sub(r"_\d+$", "", part))
        if found is not None:
            return found
    return None
