"""From a picture of any shape to the shape that a network takes: which part of it, and how."""

from __future__ import annotations

from typing import Literal, NamedTuple

import cv2
import numpy as np

from hornbeam.data.images import REDUCTIONS, Pixels

ResizeMode = Literal["crop", "squash", "pad"]

BAR = 128
"""Grey of the bars of `pad`, and of what is erased: the middle, near 0 once a network normalised it.

Bars of a picture with alpha are transparent.
"""

SHRUNK = 3.0
"""How much larger than its result a crop must stay after decoding at reduced scale.

Measured on 400 photographs of the clothing dataset (400 to 711 pixels), reductions 2, 4 and 8:
against full decoding and one averaging over areas, the worst photograph keeps 24 dB at 1.1, 30 dB
at 1.75 and 34 dB at 2.5; see docs/log.md and tests/data/test_resize.py for what it keeps at 3.
"""


class Box(NamedTuple):
    """A rectangle of a picture in pixels: `left <= x < right`, `top <= y < bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def height(self) -> int:
        """Bottom less top."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Right less left."""
        return self.right - self.left


def central_box(height: int, width: int, size: tuple[int, int]) -> Box:
    """Return the largest central box of a picture that has the aspect ratio of `size`.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        size: (height, width) that the box will be resized to.
    """
    scale = min(height / size[0], width / size[1])
    box_height = min(height, max(1, round(size[0] * scale)))
    box_width = min(width, max(1, round(size[1] * scale)))
    top, left = (height - box_height) // 2, (width - box_width) // 2
    return Box(left, top, left + box_width, top + box_height)


def whole_box(height: int, width: int, size: tuple[int, int], mode: ResizeMode) -> Box:
    """Return the box that a picture is seen through when nothing is random.

    `crop` sees the largest central one of the right aspect ratio; `squash` and `pad` see all.
    """
    return central_box(height, width, size) if mode == "crop" else Box(0, 0, width, height)


def random_box(
    height: int,
    width: int,
    size: tuple[int, int],
    area: tuple[float, float],
    aspect: float,
    rng: np.random.Generator,
    mode: ResizeMode = "crop",
) -> Box:
    """Draw a rectangle for a random resized crop (Szegedy et al. 2015, arXiv:1409.4842).

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        size: (height, width) that the rectangle will be resized to.
        area: smallest and largest share of the area of `whole_box`, whose aspect ratio is the mean.
        aspect: factor, at least 1, by which the ratio may be stretched either way.
        rng: the source of randomness; draws the same number of values whatever the picture.
        mode: see `whole_box`.
    """
    full = whole_box(height, width, size, mode)
    share = rng.uniform(*area)
    stretch = np.exp(rng.uniform(-np.log(aspect), np.log(aspect)) / 2)
    place_y, place_x = rng.random(2)
    box_height = min(height, max(1, round(full.height * share**0.5 * stretch)))
    box_width = min(width, max(1, round(full.width * share**0.5 / stretch)))
    top = round(float(place_y) * (height - box_height))
    left = round(float(place_x) * (width - box_width))
    return Box(left, top, left + box_width, top + box_height)


def target_box(box: Box, size: tuple[int, int], mode: ResizeMode) -> Box:
    """Return where on the result a box of the picture lies: everywhere but with `pad`.

    There it keeps its aspect ratio, in the middle, as large as fits.
    """
    height, width = size
    if mode != "pad":
        return Box(0, 0, width, height)
    scale = min(height / box.height, width / box.width)
    inner_height = min(height, max(1, round(box.height * scale)))
    inner_width = min(width, max(1, round(box.width * scale)))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    return Box(left, top, left + inner_width, top + inner_height)


def reduction_for(scale: float) -> int:
    """Return the largest of `REDUCTIONS` that leaves enough to average.

    Args:
        scale: pixels of the picture to one of the result, where they are fewest.
    """
    return max(factor for factor in REDUCTIONS if factor == 1 or scale >= SHRUNK * factor)


def on_grid(box: Box, height: int, width: int, reduction: int) -> Box:
    """Move the edges of a box to multiples of `reduction`, at most half of it away.

    So that it is as many whole pixels of the reduced picture: no edge has to be interpolated, and
    the reduced crop shows what the full one does. At a scale of `SHRUNK` that is a sixth of a pixel
    of the result.

    Args:
        box: in full-scale pixels.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        reduction: see `images.decode`.
    """
    if reduction == 1:
        return box

    def edges(low: int, high: int, side: int) -> tuple[int, int]:
        last = side // reduction  # the pixel behind it, if any, is of fewer pixels
        low = min(round(low / reduction), last - 1)
        return low * reduction, max(low + 1, min(round(high / reduction), last)) * reduction

    top, bottom = edges(box.top, box.bottom, height)
    left, right = edges(box.left, box.right, width)
    return Box(left, top, right, bottom)


def resize_box(pixels: Pixels, box: Box, size: tuple[int, int]) -> Pixels:
    """Cut `box` out of a picture and resize it: uint8 `[*size, channels]`.

    Shrinking averages over areas (antialiased); enlarging is bilinear.
    """
    patch = pixels[box.top : box.bottom, box.left : box.right]
    if patch.shape[:2] == size:
        return np.ascontiguousarray(patch)
    shrinks = patch.shape[0] >= size[0] and patch.shape[1] >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    result = cv2.resize(patch, size[::-1], interpolation=method)
    return np.asarray(result, np.uint8).reshape(*size, -1)  # OpenCV drops a single channel


def bars(size: tuple[int, int], channels: int) -> Pixels:
    """Return a picture of nothing but bars: grey, and transparent where there is alpha."""
    result = np.full((*size, channels), BAR, np.uint8)
    result[..., 3:] = 0
    return result
