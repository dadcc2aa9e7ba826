"""The network with pixels as floats: quantisers take no graph that begins with uint8.

A network of Hornbeam takes bytes and casts them, each nested model once more. In an integer file that
would be CAST to floats at the very place where bytes come in. So the casts are taken out of the graph:
the same numbers as floats, whose quantised form is the bytes again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hornbeam.deployment.conversion.graph import frozen_graph
from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.litert import converted, converter_of
from hornbeam.deployment.conversion.quantisation.flatbuffer import with_what_quantisers_take
from hornbeam.errors import ModelError

if TYPE_CHECKING:
    import keras


def float_litert(model: keras.Model, job: Job) -> bytes:
    """Return a float `.tflite` file for one picture, whose pixels are float32, 0 to 255.

    Raises:
        ModelError: the network does something else with the bytes than cast them.
    """
    graph = frozen_graph(model, job.outputs, batch=1)
    take_out_casts(graph)
    return with_what_quantisers_take(converted(converter_of(graph, model, job), model))


def take_out_casts(graph: Any) -> None:
    """Make the bytes that a `GraphDef` takes floats, in place.

    Raises:
        ModelError: something but casts uses them.
    """
    from tensorflow.core.framework import types_pb2

    byte, real = types_pb2.DT_UINT8, types_pb2.DT_FLOAT
    bytes_before, mended = set(), set()
    for node in graph.node:
        if node.op == "Placeholder" and node.attr["dtype"].type == byte:
            node.attr["dtype"].type = real
            bytes_before.add(node.name)
    waiting = True
    while waiting:  # nodes come in any order
        users = [
            node for node in graph.node
            if node.name not in mended and any(_node_of(i) in bytes_before for i in node.input)
        ]  # fmt: skip
        waiting = bool(users)
        for node in users:
            mended.add(node.name)
            target = node.attr["DstT"].type if node.op == "Cast" else byte
            if node.op not in ("Cast", "Identity") or target not in (byte, real):
                raise ModelError(
                    "Integers cannot take the place of floats: the network uses the bytes of a picture "
                    f"in {node.op} ('{node.name}'), where it should first cast them to float32."
                )
            if target == byte:
                bytes_before.add(node.name)
            node.op = "Identity"
            node.ClearField("attr")
            node.attr["T"].type = real


def _node_of(reference: str) -> str:
    """Return which node an input such as `^name`, `name` or `name:1` is of."""
    return reference.removeprefix("^").split(":")[0]
