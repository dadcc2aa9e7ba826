"""The model as a graph of TensorFlow with all weights inside: what converters begin with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.deployment.bundle.manifest import IMAGE

if TYPE_CHECKING:
    import keras


def input_specs(model: keras.Model, batch: int | None) -> dict[str, Any]:
    """Return what the model takes, `tf.TensorSpec` by name, in the order of the names."""
    import tensorflow as tf

    inputs = model.input if isinstance(model.input, dict) else {IMAGE: model.input}
    return {
        name: tf.TensorSpec((batch, *inputs[name].shape[1:]), inputs[name].dtype, name=name)
        for name in sorted(inputs)
    }


def answer_names(outputs: Sequence[str]) -> dict[str, str]:
    """Return how outputs are called in a graph, whose names cannot be any text: `answer_0`, ….

    Args:
        outputs: of the model: tasks, and `unknown`.
    """
    return {name: f"answer_{number}" for number, name in enumerate(outputs)}


def traced(model: keras.Model, outputs: Sequence[str], batch: int | None) -> Any:
    """Return the model as a `ConcreteFunction` that takes its inputs by name.

    Args:
        model: see `rebuild.rebuilt`.
        outputs: names of its outputs, which the function calls as `answer_names` says.
        batch: size of the batch; `None` for any.
    """
    import tensorflow as tf

    called = answer_names(outputs)

    def call(**given: Any) -> Any:
        found = model(given if isinstance(model.input, dict) else given[IMAGE], training=False)
        return {called[name]: tf.identity(found[name], name=called[name]) for name in outputs}

    return tf.function(call, autograph=False).get_concrete_function(**input_specs(model, batch))


def frozen_graph(model: keras.Model, outputs: Sequence[str], batch: int | None) -> Any:
    """Return a `GraphDef` with constants for weights, and for all else that the model computes from.

    Its placeholders have the names of the inputs, its outputs those of `answer_names`.

    Args:
        model: see `rebuild.rebuilt`.
        outputs: names of its outputs.
        batch: size of the batch; `None` for any.
    """
    # The public function around these two goes on to make functions of the graph, which nobody needs
    # and which hold its weights five times more (ResNet50: 1 GB).
    from tensorflow.python.framework.convert_to_constants import (
        _FunctionConverterDataInEager,
        _replace_variables_by_constants,
    )

    function = traced(model, outputs, batch)
    found = _FunctionConverterDataInEager(
        func=function, lower_control_flow=False, aggressive_inlining=True
    )
    graph, _ = _replace_variables_by_constants(converter_data=found)
    return graph


def with_free_batch(graph: Any) -> Any:
    """Let reshapes of a graph of batch 1 find the batch themselves, so that a runtime may change it.

    `[1, 1, 1, 96]` becomes `[-1, 1, 1, 96]`, which is the same for one picture.

    Args:
        graph: a `GraphDef`, which is changed.
    """
    import numpy as np
    from tensorflow.python.framework import tensor_util

    constants = {node.name: node for node in graph.node if node.op == "Const"}
    for node in list(graph.node):
        wanted = constants.get(node.input[1].split(":")[0]) if node.op == "Reshape" else None
        if wanted is None:
            continue
        shape = tensor_util.MakeNdarray(wanted.attr["value"].tensor)
        if len(shape) > 1 and shape[0] == 1 and (shape > 0).all():
            free = graph.node.add()
            free.CopyFrom(wanted)
            free.name = f"{node.name}/free_batch"
            free.attr["value"].tensor.CopyFrom(
                tensor_util.make_tensor_proto(np.array([-1, *shape[1:]], shape.dtype))
            )
            node.input[1] = free.name
    return graph
