"""The Classifier: a plain Keras model from uint8 pixels to logits, one named output per task.

Normalisation is inside, so that pixels travel to the device as bytes and no one can prepare them
wrongly later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.models.side_features import FEATURES, SideFeatures, beside
from hornbeam.models.zoo import Architecture, Normalization

if TYPE_CHECKING:
    import keras

BACKBONE = "backbone"
"""Name of the layer of a classifier that is the network without its head."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_ALPHA_MEAN = 0.5
_ALPHA_DEVIATION = 0.225
"""So that alpha, which ImageNet does not have, gets about the range of the colours."""


class Target(Protocol):
    """What a model must know of a task."""

    @property
    def name(self) -> str:
        """Of the output."""

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the logits."""


def build_classifier(
    architecture: Architecture,
    image_size: tuple[int, ...],
    targets: Sequence[Target],
    *,
    weights: str | None = None,
    dropout: float = 0.0,
    features: SideFeatures | None = None,
) -> keras.Model:
    """Build a classifier: normalisation, backbone, average pooling, dropout, one Dense per task.

    Side features, after a hidden layer of their own, stand beside the pooled ones of the picture.

    Args:
        architecture: of the backbone.
        image_size: (height, width) in pixels, or (height, width, channels). Grey (1) is given to the
            backbone as three equal colours, so that weights trained on colours serve; for RGBA (4)
            it gets a first layer of its own, and random weights.
        targets: the tasks.
        weights: `imagenet`, or `None` for random ones.
        dropout: share of the pooled features that training drops, in [0, 1).
        features: the numbers beside the picture, where there are some.

    Returns:
        A model from uint8 `[batch, height, width, channels]` to a dictionary of float32 logits
        `[batch, classes]` by task. With side features it takes a dictionary of `image` and
        `features`, float32 `[batch, columns]`.

    Raises:
        ConfigError: the architecture does not take such pictures.
    """
    import keras
    from keras import layers

    height, width, channels = (*image_size, 3)[:3]
    inside = max(channels, 3)
    backbone = architecture.build_backbone((height, width, inside), weights)
    backbone.name = BACKBONE
    inputs = pixels = keras.Input((height, width, channels), dtype="uint8", name="image")
    if channels == 1:
        pixels = layers.Concatenate(dtype="uint8", name="grey_to_rgb")([inputs] * 3)
    normalization = architecture.normalization_of(inside)
    pooled = backbone(_normalize(pixels, normalization, inside))
    pooled = layers.GlobalAveragePooling2D(name="pool")(pooled)
    pooled = layers.Dropout(dropout, name="dropout")(pooled)
    numbers = features.input() if features else None
    if features:
        beside_picture = features.encode(numbers)
        pooled = layers.Concatenate(dtype="float32", name="with_features")([pooled, beside_picture])
    heads = _names_of_heads(targets, keras.Model(beside(inputs, numbers), pooled, name="pooled"))
    logits = {
        # Logits stay float32 in mixed precision: a softmax over bfloat16 loses close answers.
        target.name: layers.Dense(len(target.classes), dtype="float32", name=name)(pooled)
        for target, name in zip(targets, heads, strict=True)
    }
    return keras.Model(beside(inputs, numbers), logits, name=architecture.name)


def adapt_user_model(
    build: Callable[..., Any],
    image_size: tuple[int, ...],
    targets: Sequence[Target],
    features: SideFeatures | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Call a recipe's `build_model(input_shape, targets, features)` and check what it returns.

    The model may take uint8 or float pixels, 0 to 255, and give logits: one output, or a dictionary
    by task. A softmax at its end, as older projects had it, is taken off. With side features it takes
    a second input: a vector of them, standardised.

    Args:
        build: the function; `features` are the names of the side features, and may be left out.
        image_size: (height, width) in pixels, or (height, width, channels).
        targets: the tasks.
        features: the numbers beside the picture, where there are some.
        arguments: further ones of the function, those of `--build-model`.

    Raises:
        ConfigError: the function or its model does not fit; the message says how.
    """
    import keras

    shape = (*image_size, 3)[:3]
    columns = features.names if features else ()
    _check_arguments(build, arguments or {})
    built = call_flexibly(
        build, input_shape=shape, targets=tuple(targets), features=columns, **(arguments or {})
    )
    where = f"The model of {build.__name__}()"
    if not isinstance(built, keras.Model):
        raise ConfigError(f"{where} is of type {type(built).__name__}; expected a keras.Model.")
    if not built.built or not hasattr(built, "input_shape"):
        raise ConfigError(f"{where} has no input yet; begin it with keras.Input(input_shape).")
    _check_inputs(where, built, shape, columns)
    if isinstance(built, keras.Sequential):  # which has no `input` in Keras 3.15, but `inputs`
        built = keras.Model(built.inputs[0], built.outputs[0], name=built.name)
    built = _without_softmax(built)
    inputs = keras.Input(shape, dtype="uint8", name="image")
    numbers = features.input() if features else None
    given = []
    for tensor in built.inputs:
        if features and len(tensor.shape) == 2:
            given.append(features.standardize(numbers))
        elif keras.backend.standardize_dtype(tensor.dtype) == "uint8":
            given.append(inputs)
        else:
            given.append(keras.layers.Rescaling(1.0, dtype="float32", name="as_float")(inputs))
    outputs = _inlined(built, keras.tree.pack_sequence_as(built.input, given))
    if not isinstance(outputs, dict):
        listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        if len(listed) != len(targets):
            raise ConfigError(f"{where} has {len(listed)} outputs for {len(targets)} tasks.")
        outputs = {target.name: output for target, output in zip(targets, listed, strict=True)}
    if set(outputs) != {target.name for target in targets}:
        names = ", ".join(target.name for target in targets)
        raise ConfigError(f"{where} names its outputs {', '.join(outputs)}; expected {names}.")
    for target in targets:
        expected, found = (None, len(target.classes)), tuple(outputs[target.name].shape)
        if found != expected:
            raise ConfigError(
                f"{where} gives logits of shape {found} for '{target.name}'; expected {expected}, "
                "one per class."
            )
    heads = _names_of_heads(targets, keras.Model(beside(inputs, numbers), outputs, name="built"))
    logits = {
        target.name: keras.layers.Identity(dtype="float32", name=name)(outputs[target.name])
        for target, name in zip(targets, heads, strict=True)
    }
    return keras.Model(beside(inputs, numbers), logits, name=built.name)


def _names_of_heads(targets: Sequence[Target], before: keras.Model) -> list[str]:
    """Return what the last layers are called: as the tasks, or otherwise where a layer is so already."""
    used = {layer.name for layer in before.layers}
    return [f"{each.name}_logits" if each.name in used else each.name for each in targets]


def _inlined(model: keras.Model, inputs: Any) -> Any:
    """Call a model's layers one by one, so that they are those of the model around it.

    A backbone among them can then be found, frozen and cut off. A model that is no graph of layers is
    called as one.
    """
    import keras

    graph = getattr(model, "_functional", model)  # a Sequential has one inside
    taken = {"image", "as_float", "features", "standardize"}
    if not hasattr(graph, "_run_through_graph") or taken & {
        layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)
    }:
        return model(inputs)
    return graph._run_through_graph(inputs, operation_fn=lambda layer: layer)


def freeze_backbone(model: keras.Model) -> None:
    """Keep the backbone as it is: no gradients, and batch normalisation in inference mode.

    Setting `trainable` does both; calling the backbone with `training=False` does not, because
    under `fit` Keras 3.15 replaces it by `True`.

    Raises:
        ConfigError: the model has no backbone of that name.
    """
    if BACKBONE not in {layer.name for layer in model.layers}:
        raise ConfigError(
            f"--freeze backbone: the recipe's model has no layer named '{BACKBONE}'; name the part "
            "that is to stay so, or pass --freeze none."
        )
    model.get_layer(BACKBONE).trainable = False


def call_flexibly(function: Callable[..., Any], **offered: Any) -> Any:
    """Call a user's function with those of the offered arguments that it takes.

    Arguments are matched by name; required ones of other names get the offered values in order, but
    for those that are empty. What is left then goes to `**others`, where the function has that.
    """
    import inspect

    parameters = inspect.signature(function).parameters.values()
    named = {p.name: offered.pop(p.name) for p in parameters if p.name in offered}
    rest = [p for p in parameters if p.name not in named and p.default is p.empty]
    rest = [p for p in rest if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    given = [name for name, value in offered.items() if value]
    if len(rest) > len(given):
        raise ConfigError(
            f"{function.__name__}() wants '{rest[len(given)].name}', which Hornbeam does not give; "
            "it gives input_shape, targets and features."
        )
    values = {p.name: offered.pop(name) for p, name in zip(rest, given, strict=False)}
    others = offered if any(p.kind is p.VAR_KEYWORD for p in parameters) else {}
    return function(**named, **values, **others)


def _check_arguments(build: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of `--build-model` that a recipe's function does not take, or gets from us."""
    import inspect

    parameters = inspect.signature(build).parameters.values()
    ours = ("input_shape", "targets", "features")
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    # Those without a default are ours too, whatever their names: see `call_flexibly`.
    free = [p.name for p in parameters if p.name in known and p.default is not p.empty]
    free = [name for name in free if name not in ours]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for name in arguments:
        if name in ours or not (takes_any or name in free or name in known):
            takes = f"takes {', '.join(free)}" if free else "takes no arguments of yours"
            raise ConfigError(
                f"--build-model {name}: {build.__name__}() of the recipe {takes}."
                f"{did_you_mean(name, free)}"
            )


def _check_inputs(
    where: str, model: keras.Model, shape: tuple[int, ...], names: Sequence[str]
) -> None:
    """Refuse a recipe's model that takes something else than pixels and, if given, side features."""
    vectors = [tuple(t.shape[1:]) for t in model.inputs if len(t.shape) == 2]
    pictures = [tuple(t.shape[1:]) for t in model.inputs if len(t.shape) != 2]
    listed = ", ".join(names)
    if not names and len(model.inputs) > 1:
        hint = "; name the columns of the other with --feature-columns" if vectors else ""
        raise ConfigError(
            f"{where} has {len(model.inputs)} inputs; expected one, the pixels{hint}."
        )
    if names and not vectors:
        raise ConfigError(
            f"{where} does not take the numbers {listed}; give it a second input, "
            f"keras.Input(({len(names)},), name='{FEATURES}'), or leave --feature-columns out."
        )
    if names and (len(vectors) != 1 or len(pictures) != 1):
        raise ConfigError(
            f"{where} has {len(model.inputs)} inputs; expected two, the pixels and a vector of {listed}."
        )
    if names and vectors[0] != (len(names),):
        raise ConfigError(
            f"{where} takes a vector of {vectors[0][0]} numbers; expected {len(names)}: {listed}."
        )
    picture = pictures[0] if pictures else vectors[0]
    if picture != shape:
        raise ConfigError(
            f"{where} takes pictures of shape {picture}; expected {shape}, the input_shape that it was "
            "given."
        )


def _normalize(pixels: Any, normalization: Normalization, channels: int) -> Any:
    from keras import layers, ops

    scale: float | list[float] = 1.0
    offset: float | list[float] = 0.0
    if normalization == "signed":
        scale, offset = 1 / 127.5, -1.0
    elif normalization == "torch":
        means, deviations = [*_IMAGENET_MEAN], [*IMAGENET_DEVIATION]
        if channels == 4:
            means.append(_ALPHA_MEAN)
            deviations.append(_ALPHA_DEVIATION)
        scale = [1 / (255 * deviation) for deviation in deviations]
        offset = [-m / d for m, d in zip(means, deviations, strict=True)]
    elif normalization == "caffe":
        means = [*_CAFFE_MEAN_BGR]
        if channels == 4:
            means.append(255 * _ALPHA_MEAN)
            pixels = ops.concatenate([ops.flip(pixels[..., :3], -1), pixels[..., 3:]], -1)
        else:
            pixels = ops.flip(pixels, -1)  # RGB to BGR
        scale, offset = [1.0] * channels, [-mean for mean in means]
    elif normalization == "centred":
        means = [*reversed(_CAFFE_MEAN_BGR), *[255 * _ALPHA_MEAN] * (channels - 3)]
        scale, offset = [1.0] * channels, [-mean for mean in means]
    # In float32 whatever the precision: bfloat16 would round away an eighth of the grey levels.
    return layers.Rescaling(scale, offset, dtype="float32", name="normalize")(pixels)


def _without_softmax(model: keras.Model) -> keras.Model:
    """Return the model with a closing softmax or sigmoid taken off each output."""
    import keras
    from keras import activations, layers

    closing = (activations.softmax, activations.sigmoid)
    cut = False
    tensors = []
    for tensor in model.outputs:
        layer = tensor._keras_history.operation
        activation = getattr(layer, "activation", None)
        if isinstance(layer, layers.Softmax) or (
            isinstance(layer, layers.Activation) and activation in closing
        ):
            tensors.append(layer.input)
            cut = True
        else:
            if activation in closing:
                layer.activation = activations.linear
            tensors.append(tensor)
    if not cut:
        return model
    outputs = keras.tree.pack_sequence_as(model.output, tensors)
    return keras.Model(model.input, outputs, name=model.name)
