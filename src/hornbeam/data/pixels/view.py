"""How a picture is seen: its box, decoded no larger than needed, brought to the right size.

Training, evaluation and the deployed predictor all come through here. Needs no augmentation, so that
what asks a bundle imports none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from hornbeam.data.pixels.images import Pixels, shrink
from hornbeam.data.pixels.resize import (
    Box,
    ResizeMode,
    bars,
    reduction_for,
    resize_reduced,
    target_box,
    whole_box,
)
from hornbeam.errors import ConfigError


class View(Protocol):
    """What happens to a picture of known size (`augment.Plan` is another)."""

    @property
    def reduction(self) -> int:
        """The scale to decode it at, see `images.decode`."""

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the result of a picture that was decoded at that scale."""


@dataclasses.dataclass(frozen=True)
class PlainView:
    """All that validation and a deployed model do to a picture.

    Attributes:
        size: (height, width) of the result.
        mode: how its shape is reached.
        box: the part of the picture that is shown, in full-scale pixels.
        reduction: see `View`.
    """

    size: tuple[int, int]
    mode: ResizeMode
    box: Box
    reduction: int

    @classmethod
    def of(cls, height: int, width: int, size: tuple[int, int], mode: ResizeMode) -> PlainView:
        """Return the view of a picture of `height` and `width` pixels."""
        box = whole_box(height, width, size, mode)
        return cls(size, mode, box, reduction_for(scale_of_box(box, size, mode)))

    def apply(self, pixels: Pixels) -> Pixels:
        """See `View`."""
        return fit(pixels, self.box, self.reduction, self.size, self.mode)


def scale_of_box(box: Box, size: tuple[int, int], mode: ResizeMode) -> float:
    """Return the pixels of the picture to one of the result, where they are fewest."""
    target = target_box(box, size, mode)
    return min(box.height / target.height, box.width / target.width)


def fit(
    pixels: Pixels, box: Box, reduction: int, size: tuple[int, int], mode: ResizeMode
) -> Pixels:
    """Bring a box of a picture to `size`, between bars where `mode` puts some.

    Args:
        pixels: decoded at `reduction`, uint8 `[height, width, channels]`.
        box: in full-scale pixels.
        reduction: see `images.decode`.
        size: (height, width) of the result.
        mode: how that shape is reached.
    """
    target = target_box(box, size, mode)
    inner = resize_reduced(pixels, box, reduction, (target.height, target.width))
    if inner.shape[:2] == size:
        return inner
    result = bars(size, pixels.shape[2])
    result[target.top : target.bottom, target.left : target.right] = inner
    return result


def see(
    measured: tuple[int, int],
    plan: Callable[[int, int], View],
    decode: Callable[[int], Pixels],
) -> Pixels:
    """Plan first, then decode as small as that allows, and return the result.

    Args:
        measured: (height, width) that the header says.
        plan: what happens to a picture of that size; gives the same each time it is asked.
        decode: the picture, uint8 `[height, width, channels]`, by the reduction.
    """
    view = plan(*measured)
    pixels = decode(view.reduction)
    if pixels.shape[:2] != tuple(-(-side // view.reduction) for side in measured):
        # The header says otherwise than the decoder; it is rare, and the decoder is right.
        pixels = decode(1)
        view = plan(pixels.shape[0], pixels.shape[1])
        pixels = shrink(pixels, view.reduction)
    return view.apply(pixels)


def require_picture(function: Callable[..., Any], result: Any, channels: int) -> Pixels:
    """Return what a function of a recipe made of a picture.

    Raises:
        ConfigError: it is something else than uint8 `[height, width, channels]`.
    """
    name = getattr(function, "__name__", type(function).__name__)
    if not isinstance(result, np.ndarray):
        found = "None" if result is None else f"a {type(result).__name__}"
    else:
        fits = result.ndim == 3 and result.shape[2] == channels and result.size
        if result.dtype == np.uint8 and fits:
            return result
        found = f"{result.dtype} {list(result.shape)}"
    raise ConfigError(
        f"The recipe's {name}() returned {found}; expected an array of uint8 "
        f"[height, width, {channels}]."
    )
