"""How much work it is to build a model, told by its configuration: a small file may ask for much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hornbeam.models.untrusted.archives import refusal

_MOST = 10_000
"""Calls of layers, of a quarter of a millisecond each; NASNetLarge has 1,039."""

_NO_LAYERS = ("inbound_nodes", "build_config", "compile_config")
"""Parts of a configuration in which nothing is built."""


def check_effort(config: Any, path: Path) -> None:
    """Refuse a configuration that calls layers too often; it is not nested deep.

    Keras calls each layer of a network once for each of its inputs, and those of a Sequential again
    with every layer that it adds; models inside of models multiply that.

    Raises:
        ModelError: they are too many.
    """
    building, _ = _effort(config)
    if building > _MOST:
        raise refusal(
            path, f"building it would call layers {building:,} times, and {_MOST:,} is the most"
        )


def _effort(value: Any) -> tuple[int, int]:
    """Return how many calls of layers it takes to build all in a value, and to call it then."""
    if isinstance(value, list):
        inner = [_effort(each) for each in value]
        return sum(b for b, _ in inner), sum(c for _, c in inner)
    if not isinstance(value, dict):
        return 0, 0
    name = value.get("class_name")
    if name == "Sequential":
        building, calling = _effort_of_row(value.get("config"))
    else:
        parts = [_effort(each) for key, each in value.items() if key not in _NO_LAYERS]
        building, calling = sum(b for b, _ in parts), sum(c for _, c in parts)
        if not isinstance(name, str) or not _is_layer(name):
            return building, calling
        building += calling
    nodes = value.get("inbound_nodes")
    times = max(1, len(nodes)) if isinstance(nodes, list) else 1
    return building, max(1, calling) * times


def _effort_of_row(config: Any) -> tuple[int, int]:
    """Return the same of a Sequential, which calls all that it has with each layer that it adds."""
    layers = config.get("layers") if isinstance(config, dict) else config  # a list in old files
    building = calling = 0
    for each in layers if isinstance(layers, list) else ():
        inside, once = _effort(each)
        calling += once
        building += inside + calling
    return building, calling


def _is_layer(name: str) -> bool:
    """Whether a class may be a layer, and not one of those that Keras writes inside of them."""
    import keras

    others = (keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies)
    return not any(hasattr(space, name) for space in others)
