"""From a picture of any shape to the shape that a network takes: which part of it, and how."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels.engine import engine
from hornbeam.data.pixels.images import REDUCTIONS, Pixels

ResizeMode = Literal["crop", "squash", "pad"]

BAR = 128
"""Grey of the bars of `pad`, and of what is erased: the middle, near 0 once a network normalised it.

Bars of a picture with alpha are transparent.
"""

SHRUNK = 3.25
"""How much larger than its result a crop must stay after decoding at reduced scale.

So that the result is that of full decoding, to at least 35 dB (PSNR). Measured on 1,891 photographs of
clothes, 400 to 711 pixels, each at reductions 2 and 4: of those between 2 and 2.5 times as large as
the result, 2 % had less, the worst 27.8 dB; of those between 3 and 3.25, 0.3 %, the worst 32.8; of
the 2,030 above 3.25 one (33.5 dB, a fine knitted pattern), with a median of 49.
"""

SHRUNK_ON_GRID = 2.5
"""The same for a random crop, whose edges may be moved to whole pixels of the reduced picture.

Of the same photographs, between 2 and 2.25 times as large as the result 2 % had less than 35 dB, the
worst 28.9 dB; between 2.25 and 2.5, 0.4 %; of 2,527 above 2.5 two, the worst 32.2, with a median of 49.
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
    stretch = math.exp(rng.uniform(-math.log(aspect), math.log(aspect)) / 2)
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


def reduction_for(scale: float, enough: float = SHRUNK) -> int:
    """Return the largest of `REDUCTIONS` that leaves enough to average.

    Args:
        scale: pixels of the picture to one of the result, where they are fewest.
        enough: `SHRUNK`, or `SHRUNK_ON_GRID` for a crop that is put on the grid.
    """
    return max(factor for factor in REDUCTIONS if factor == 1 or scale >= enough * factor)


def on_grid(box: Box, height: int, width: int, reduction: int) -> Box:
    """Move the edges of a random crop to multiples of `reduction`, at most half of it away.

    It is as many whole pixels of the reduced picture then, and none need be interpolated.

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
    return resize(pixels[box.top : box.bottom, box.left : box.right], size)


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize a picture: uint8 `[height, width, channels]` → `[*size, channels]`.

    As `resize_box`. Between once and twice the size, it is blurred over three pixels just as much as
    the triangle of Pillow and `tf.image.resize(antialias=True)` blurs, and then sampled bilinearly,
    which takes 0.25 ms where OpenCV's average over areas takes 0.79 (230 to 445 pixels to 224, medians
    of 300 photographs). It differs from Pillow's by 37.7 dB at least and 49 as a rule, the average over
    areas by 36.5 and 48. Of stripes too fine for the result it leaves 0.6 to 1.4 times as much behind
    as that average.
    """
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return np.ascontiguousarray(pixels)
    blur = None
    if size[0] < height < 2 * size[0] and size[1] < width < 2 * size[1]:
        blur = _blur(height / size[0]), _blur(width / size[1])
    return engine.resize(pixels, size, blur)


def _blur(scale: float) -> NDArray[np.float32]:
    """Return the three weights that bilinear sampling lacks of a triangle as wide as `scale`, 1 to 2.

    Variances of filters add up: that of a triangle is `scale**2 / 6`, that of sampling 1/6 on average,
    that of the weights twice their outer one.
    """
    outer = (scale**2 - 1) / 12
    return np.array([outer, 1 - 2 * outer, outer], np.float32)


def resize_reduced(pixels: Pixels, box: Box, reduction: int, size: tuple[int, int]) -> Pixels:
    """Cut `box` out of a picture that was decoded at reduced scale, and resize it as `resize_box`.

    Where the edges lie inside reduced pixels, those are shifted and stretched first by less than
    one, so that the result shows the same as at full scale and not what is up to a sixth of its
    pixels beside.

    Args:
        pixels: decoded at `reduction`, uint8 `[height, width, channels]`.
        box: in full-scale pixels.
        reduction: see `images.decode`.
        size: (height, width) of the result.
    """
    if not any(edge % reduction for edge in box):
        return resize_box(pixels, Box(*(edge // reduction for edge in box)), size)
    height = max(1, round(box.height / reduction))
    width = max(1, round(box.width / reduction))
    across, down = box.width / reduction / width, box.height / reduction / height
    patch = engine.stretch(
        pixels,
        (down, box.top / reduction + (down - 1) / 2),
        (across, box.left / reduction + (across - 1) / 2),
        (height, width),
    )
    return resize(patch, size)


def bars(size: tuple[int, int], channels: int) -> Pixels:
    """Return a picture of nothing but bars: grey, and transparent where there is alpha."""
    result = np.full((*size, channels), BAR, np.uint8)
    result[..., 3:] = 0
    return result
