"""The blocks of a network, from the head back to the stem: what layer-wise decay of the rate counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.models.classifier import BACKBONE
from hornbeam.models.scopes import HEAD, layers_by_path, variables_by_path

if TYPE_CHECKING:
    import keras

_BLOCK_NAMES = re.compile(
    r"(.*stage_?\d+_block_?\d+)_|"  # ConvNeXt, compact
    r"(.*stage_?\d+)_down|"  # compact
    r"(.*downsampling_block_\d+)|"  # ConvNeXt
    r"(conv\d+_block\d+|pool\d+)_|"  # ResNet, DenseNet
    r"(block\d+[a-z]|block_\d+|block\d+)_|"  # EfficientNet, MobileNetV2, VGG, Xception
    r"(expanded_conv(?:_\d+)?)_|"  # MobileNetV2 and V3
    r"conv_(?:dw|pw)_(\d+)|"  # MobileNet
    r"(?:.*_)?(?:normal|reduction|adjust)_(?:.*?_)?(stem_\d+|reduce_\d+|\d+)$"  # NASNet
)
"""What the families of `keras.applications` call the layers of one block."""

_NAMED = 0.6
"""Share of the layers that must bear a block's name; else the graph decides (Inception: 0 and 0.1)."""

_STEM = "stem"


def block_depths(model: keras.Model) -> dict[str, int]:
    """Return for each variable how many blocks back from the head it is: 0 = the head.

    The last block of the backbone has 1, and what follows it (a last convolution, a norm) too; the
    stem has the largest number. Where there is no backbone, the last block counts as the head.

    Args:
        model: a classifier of ours, a recipe's, or any other.

    Returns:
        The depth by path, with the paths of `variables_by_path`.
    """
    paths = [path for path, _ in layers_by_path(model)]
    body, prefix, first = model, "", 0
    if BACKBONE in {layer.name for layer in model.layers}:
        body, prefix, first = model.get_layer(BACKBONE), f"{BACKBONE}/", 1
    else:
        while len(inner := [layer for layer in body.layers if layer.weights]) == 1 and hasattr(
            inner[0], "layers"
        ):
            body = inner[0]
    blocks = blocks_of(body)
    depth_of = {
        name: first + len(blocks) - 1 - index
        for index, block in enumerate(blocks)
        for name in block
    }
    by_layer = {
        path: 0 if prefix and path.startswith(f"{HEAD}/")
        else depth_of.get(path.removeprefix(prefix).partition("/")[0], 0)
        for path in paths
    }  # fmt: skip
    result = {}
    for path in variables_by_path(model):
        layer = path
        while layer not in by_layer:
            layer = layer.rpartition("/")[0]
        result[path] = by_layer[layer]
    return result


def blocks_of(network: keras.Model) -> list[list[str]]:
    """Return the names of the layers with weights, block by block from the stem on.

    Blocks are told by the names that the families of `keras.applications` give; of other networks a
    block is what lies between two layers that everything must pass.

    Args:
        network: its layers are in the order of the graph, as Keras has them.
    """
    names = [layer.name for layer in network.layers if layer.weights]
    keys = [_block_name(name) for name in names]
    if sum(key is not None for key in keys) < _NAMED * len(names):
        return _blocks_by_graph(network)
    blocks: dict[str, list[str]] = {}
    current = _STEM
    for name, key in zip(names, keys, strict=True):
        # A layer of no name is a shortcut of the block before it, or comes after the last.
        current = key or current
        blocks.setdefault(current, []).append(name)
    return list(blocks.values())


def _block_name(layer: str) -> str | None:
    found = _BLOCK_NAMES.match(layer)
    return next(filter(None, found.groups())) if found else None


def _blocks_by_graph(network: keras.Model) -> list[list[str]]:
    layers = network.layers
    cuts = _cut_points(layers)
    blocks: list[list[str]] = []
    has_kernel = True
    current: list[str] = []
    for index, layer in enumerate(layers):
        if layer.weights:
            current.append(layer.name)
            has_kernel = has_kernel or any(len(v.shape) > 1 for v in layer.weights)
        if index in cuts and current:
            if has_kernel or not blocks:
                blocks.append(current)
            else:  # a norm alone belongs to what it follows
                blocks[-1].extend(current)
            current, has_kernel = [], False
    if current:
        blocks.append(current)
    return blocks


def _cut_points(layers: Sequence[Any]) -> set[int]:
    """Return the places in the order of layers through which all must pass."""
    place = {id(layer): index for index, layer in enumerate(layers)}
    last_use = list(range(len(layers)))
    for index, layer in enumerate(layers):
        for node in getattr(layer, "_inbound_nodes", []):
            for tensor in node.input_tensors:
                source = place.get(id(tensor._keras_history.operation))
                if source is not None:
                    last_use[source] = max(last_use[source], index)
    cuts, reach = set(), 0
    for index in range(len(layers)):
        if reach <= index:
            cuts.add(index)
        reach = max(reach, last_use[index])
    return cuts
