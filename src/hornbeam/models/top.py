"""The top of a backbone: its last stage, which fine-tuning begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbeam.models.blocks import block_depths
from hornbeam.models.classifier import BACKBONE
from hornbeam.models.freezing import learnable_variables
from hornbeam.models.scopes import HEAD, layers_by_path

if TYPE_CHECKING:
    import keras


def top_paths(model: keras.Model, batch_norm: bool = False) -> set[str]:
    """Return the variables of the head and of the backbone's last stage, but for its batch norms.

    A stage is the blocks whose feature maps are the smallest that have weights: `block_13` to the
    end of MobileNetV2, `conv5` of ResNet50. On clothing, training it (1.6 of 2.3 million weights of
    MobileNetV2) gained 2.9 points on the validation pictures in 3 epochs of 30 s; training all
    gained the same in 3 of 88 s (docs/log.md).

    Args:
        model: a classifier with a layer named `backbone`, which is not frozen.
        batch_norm: take the batch norms of that stage as well.
    """
    import keras

    depths = block_depths(model)
    backbone = model.get_layer(BACKBONE)
    kernels = [layer for layer in backbone.layers if any(len(v.shape) > 1 for v in layer.weights)]
    sides = {layer.name: _area(layer) for layer in kernels}
    # Squeeze-and-excitation has smaller maps than what comes out; VGG ends with pooling.
    smallest = min(area for area in sides.values() if area >= _area(backbone))
    last = {layer for layer, area in sides.items() if area == smallest}
    deepest = max(
        depth for path, depth in depths.items() if _layer_of(path, f"{BACKBONE}/") in last
    )
    norms = {
        path for path, layer in layers_by_path(model)
        if isinstance(layer, keras.layers.BatchNormalization) and not batch_norm
    }  # fmt: skip
    return {
        path for path in learnable_variables(model)
        if path.startswith(f"{HEAD}/")
        or (depths[path] <= deepest and path.rpartition("/")[0] not in norms)
    }  # fmt: skip


def _layer_of(path: str, prefix: str) -> str:
    return path.removeprefix(prefix).partition("/")[0] if path.startswith(prefix) else ""


def _area(layer: keras.layers.Layer) -> int:
    """Return how many places the layer's output has: 1 for a vector."""
    area = 1
    for side in layer.output.shape[1:-1]:
        area *= side or 1
    return area
