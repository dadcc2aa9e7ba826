"""How much a network computes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of the layers' weights for one picture, about.

    Each matrix or kernel is used once for each place that its layer answers for. (Of a layer whose
    output nobody knows before it is called, once.)
    """
    total = 0
    for layer in _layers(model):
        try:
            shape = layer.output.shape[1:-1]
        except (AttributeError, ValueError):  # several outputs, or never called by itself
            shape = ()
        places = math.prod(side or 1 for side in shape)
        total += places * sum(math.prod(w.shape) for w in layer.weights if len(w.shape) > 1)
    return total


def _layers(layer: Any) -> Iterator[Any]:
    """Yield the layers that have none inside."""
    inside = getattr(layer, "layers", None)
    if not inside:
        yield layer
    for each in inside or ():
        yield from _layers(each)
