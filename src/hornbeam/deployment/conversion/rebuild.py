"""The model anew, in float32, as converters can take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

_HALVES = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16")


def rebuilt(model: keras.Model) -> keras.Model:
    """Return the same model, which computes in float32 whatever it was trained in, and has been called.

    Converters make operators of bfloat16 that no runtime has, and take a model that was never called
    for one without inputs.

    Args:
        model: functional; layers of a recipe must be registered.
    """
    import keras

    anew = type(model).from_config(in_float32(model.get_config()))
    anew.set_weights([weight.numpy() for weight in model.weights])
    for layer in anew._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            _pin(layer)
    anew = _with_colours_turned_by_layers(anew)
    inputs = anew.input if isinstance(anew.input, dict) else {"": anew.input}
    zeros = {name: np.zeros((1, *i.shape[1:]), i.dtype) for name, i in inputs.items()}
    anew(zeros if isinstance(anew.input, dict) else zeros[""], training=False)
    return anew


def in_float32(config: Any) -> Any:
    """Return a configuration of Keras whose layers compute in float32 where it was a shorter type.

    What is of another type on purpose (uint8 pixels, indices, float64) stays so.
    """
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            name = config["config"]["name"]
            return {**config, "config": {"name": "float32" if name in _HALVES else name}}
        return {
            key: "float32" if key.endswith("dtype") and value in _HALVES else in_float32(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return type(config)(in_float32(each) for each in config)
    return config


def _pin(layer: keras.layers.Normalization) -> None:
    """Make constants of the statistics; as tensors they would become inputs of an ONNX file."""
    if layer.input_mean is None:
        layer.finalize_state()  # from the variables, which have just been set
    layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)


def _with_colours_turned_by_layers(model: keras.Model) -> keras.Model:
    """Return the model with a 1x1 convolution where `ops.flip` makes BGR of RGB, as ResNet50 takes it.

    The answers stay the same to the bit. An operation outside of layers cannot be in an `.h5` file; in
    ONNX it is seven operators around ReverseSequence; quantisers and the Edge TPU do not know it.
    """
    import keras

    def kept_or_changed(operation: Any) -> Any:
        if hasattr(operation, "_run_through_graph"):
            return _with_colours_turned_by_layers(operation)
        is_flip = type(operation).__name__ == "Flip" and getattr(operation, "axis", None) in (-1, 3)
        if not is_flip or tuple(operation.output.shape[3:]) != (3,):
            return operation
        floats = keras.layers.Rescaling(1.0, dtype="float32", name="as_float")
        turned = keras.layers.Conv2D(3, 1, use_bias=False, dtype="float32", name="rgb_to_bgr")

        def call(pixels: Any) -> Any:
            found = turned(floats(pixels))
            turned.set_weights([np.eye(3, dtype=np.float32)[::-1][None, None]])
            return found

        return call

    if all(kept_or_changed(operation) is operation for operation in model.operations):
        return model
    outputs = model._run_through_graph(model.input, operation_fn=kept_or_changed)
    return keras.Model(model.input, outputs, name=model.name)
