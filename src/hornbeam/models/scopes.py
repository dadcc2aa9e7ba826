"""The variables of a classifier by path, and which of them are trained.

A path is made of the names of layers: `backbone/block_13_expand/kernel`, `head/label/bias`. It does
not depend on how often a name was used in this process, as Keras' own `Variable.path` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hornbeam.models.classifier import BACKBONE

if TYPE_CHECKING:
    import keras

HEAD = "head"
"""First part of the paths of the layers that turn features into logits."""


def variables_by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Return all weights of a model, in its order, by path; those of seeds are left out.

    Args:
        model: a classifier of ours, a recipe's, or any other. Where there is a layer called
            `backbone`, the other layers with weights are the head.
    """
    result: dict[str, keras.Variable] = {}
    for path, layer in layers_by_path(model):
        for variable in layer.weights:
            name = _name_within(layer, variable)
            full, number = f"{path}/{name}", 1
            while full in result:  # two weights of one name in one layer
                full, number = f"{path}/{name}_{number}", number + 1
            result[full] = variable
    return result


def layers_by_path(model: keras.Model) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield the layers that have weights, with their paths; models inside are entered."""
    import keras

    names = {layer.name for layer in model.layers}
    for layer in model.layers:
        if not layer.weights:
            continue
        prefix = f"{HEAD}/" if BACKBONE in names and layer.name != BACKBONE else ""
        if isinstance(layer, keras.Model):
            # A recipe's own model, wrapped by us, adds no part to the paths.
            wrapped = len([inner for inner in model.layers if inner.weights]) == 1
            inside = "" if wrapped and layer.name != BACKBONE else f"{prefix}{layer.name}/"
            for path, inner in layers_by_path(layer):
                yield inside + path, inner
        else:
            yield prefix + layer.name, layer


def _name_within(layer: keras.layers.Layer, variable: keras.Variable) -> str:
    """Return the name of a variable inside its layer: `kernel`, or `query/kernel`."""
    _, found, name = variable.path.partition(f"{layer.name}/")
    return name if found else str(variable.name)
