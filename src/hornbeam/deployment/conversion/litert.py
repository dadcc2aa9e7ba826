"""LiteRT (TensorFlow Lite) files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.deployment.bundle.manifest import Tensor
from hornbeam.deployment.conversion.ending import tell
from hornbeam.deployment.conversion.graph import (
    answer_names,
    frozen_graph,
    input_specs,
    with_free_batch,
)
from hornbeam.deployment.conversion.job import Converted, Job
from hornbeam.deployment.conversion.litert_metadata import described
from hornbeam.deployment.conversion.operators import missing, named_by_litert

if TYPE_CHECKING:
    import keras


def convert_float(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write a float32 `.tflite` file.

    Raises:
        ModelError: LiteRT has no operator for something.
    """
    return written(converted(converter_for(model, job), model), "litert", job, path)


def convert_float16(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write a `.tflite` file whose weights are float16, half as large; it computes in float32.

    Those of depthwise convolutions, which are few, and biases stay in float32: once batch
    normalisation is folded into them, large ones cancel each other. (Fine-tuned MobileNetV2 at 224 px,
    372 photographs: the largest difference of a probability is 0.011; of what TensorFlow's converter
    writes, 0.064.)

    Raises:
        ModelError: LiteRT has no operator for something.
    """
    from hornbeam.deployment.conversion.quantisation.litert_routes import half_weights

    plain = converted(converter_for(model, job), model)
    return written(half_weights(plain), "litert-f16", job, path)


def converted(converter: Any, model: keras.Model) -> bytes:
    """Return what a converter makes of a model.

    Raises:
        ModelError: LiteRT has no operator for something; it names the layer.
    """
    try:
        return bytes(converter.convert())
    except Exception as error:
        found = named_by_litert(str(error))
        if not found:
            raise
        raise missing("LiteRT", found, model) from None


def converter_for(model: keras.Model, job: Job) -> Any:
    """Return a converter of the model for one picture; see `converter_of`."""
    graph = frozen_graph(model, job.outputs, batch=1)
    return converter_of(graph, model, job)


def converter_of(graph: Any, model: keras.Model, job: Job) -> Any:
    """Return a `TFLiteConverter` that lets none but LiteRT's own operators in.

    The tensors of its file are called `image`, `features`, and as `graph.answer_names` says. A runtime
    may resize the batch, where the network's graph allows it.

    Args:
        graph: a `GraphDef` of batch 1; it is changed.
        model: what it was made of.
        job: what was asked for.
    """
    import tensorflow as tf

    # The class of TensorFlow 1 takes a graph as it is; that of 2 would freeze it once more, and ResNet50
    # took 2.4 GB in place of 1.8.
    converter = tf.compat.v1.lite.TFLiteConverter(
        with_free_batch(graph), None, None,
        input_arrays_with_shape=[
            (name, list(spec.shape)) for name, spec in input_specs(model, 1).items()
        ],
        output_arrays=list(answer_names(job.outputs).values()),
    )  # fmt: skip
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    # These two take the file apart and put it together again, which costs 0.3 GB: for a hash and
    # the like, and to find equal constants.
    converter.exclude_conversion_metadata = True
    converter._optimize_tflite_model = lambda content, *_, **__: content
    return converter


def written(content: bytes, name: str, job: Job, path: Path) -> Converted:
    """Write a `.tflite` file and say what it takes and gives.

    Args:
        content: what a converter made.
        name: of the format.
        job: what was asked for.
        path: where to write it.
    """
    tell(f"writing {path.name}")
    path.write_bytes(described(content, job))
    inputs, outputs = tensors_of(path)
    return Converted(name, path.name, inputs, outputs_by_name(outputs, job))


def outputs_by_name(tensors: Mapping[str, Tensor], job: Job) -> dict[str, Tensor]:
    """Return the tensors of a file by output of the model."""
    return {name: tensors[called] for name, called in answer_names(job.outputs).items()}


def tensors_of(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the inputs and outputs of a `.tflite` file by their names there."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))

    def tensor(details: dict[str, Any]) -> Tensor:
        scale, zero_point = details["quantization"]
        shape = tuple(int(side) for side in details["shape"])
        quantised = scale != 0
        return Tensor(
            details["name"], np.dtype(details["dtype"]).name, shape,
            float(scale) if quantised else None, int(zero_point) if quantised else None,
        )  # fmt: skip

    return (
        {d["name"]: tensor(d) for d in interpreter.get_input_details()},
        {d["name"]: tensor(d) for d in interpreter.get_output_details()},
    )
