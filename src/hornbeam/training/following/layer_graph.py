"""A Keras network as the graph of its layers, in the form that TensorBoard draws."""

from __future__ import annotations

import re
from typing import Any

import keras

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.\-]")


def layer_graph(model: keras.Model) -> bytes:
    """Return a serialised `GraphDef`: one node a layer, with its type, output shape and inputs.

    A network inside of the network becomes a scope that can be opened. It is made from what Keras
    itself knows of the layers, so it is the same on every backend. A model that is not made of layers
    (`keras.Model` with a `call` of its own) is one node.
    """
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    graph = GraphDef(versions=VersionDef(producer=22))
    if _functional(model) is None:
        graph.node.add(name=_clean(model.name), op=type(model).__name__)
    else:
        _add_layers(graph, _functional(model), "", {})
    return bytes(graph.SerializeToString())


def _add_layers(graph: Any, model: Any, scope: str, producers: dict[int, str]) -> None:
    """Add the layers of a functional model, in their order.

    Args:
        graph: is extended.
        model: of Keras' class `Functional`.
        scope: before each name; empty or ending in a slash.
        producers: names of the nodes that made symbolic tensors, by the tensors' `id`; is extended by
            all tensors of the model.
    """
    uses: dict[str, int] = {}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            layer = node.operation
            used = uses[layer.name] = uses.get(layer.name, 0) + 1
            name = scope + _clean(layer.name) + (f"_{used}" if used > 1 else "")
            # An input of an inner network was given the name of what feeds it, if it is fed.
            inputs = [producers[id(t)] for t in node.input_tensors if id(t) in producers]
            inner = _functional(layer)
            if inner is not None:
                inside = dict(zip(map(id, inner.inputs), inputs, strict=False))
                _add_layers(graph, inner, f"{name}/", inside)
                outputs = [inside[id(t)] for t in inner.outputs]
            else:
                is_input = isinstance(layer, keras.layers.InputLayer)
                given = producers.get(id(node.outputs[0])) if is_input else None
                _add_node(graph, name, layer, [given] if given else inputs, node.outputs)
                outputs = [name] * len(node.outputs)
            producers.update(zip(map(id, node.outputs), outputs, strict=False))


def _add_node(graph: Any, name: str, layer: Any, inputs: list[str], outputs: list[Any]) -> None:
    node = graph.node.add(name=name, op=type(layer).__name__, input=inputs)
    shapes = node.attr["_output_shapes"].list
    for tensor in outputs:
        shape = shapes.shape.add()
        for side in tensor.shape:
            shape.dim.add(size=-1 if side is None else side)
    if getattr(layer, "weights", None):
        node.attr["parameters"].i = layer.count_params()
        node.attr["trainable"].b = layer.trainable


def _functional(model: Any) -> Any:
    """Return the functional model that a layer is or holds, or `None`."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model if hasattr(model, "_nodes_by_depth") else None


def _clean(name: str) -> str:
    """Return a name that TensorBoard takes: without slashes, which are scopes."""
    name = _FORBIDDEN.sub("_", name)
    return name if name[:1].isalnum() else f"layer{name}"
