"""One antialiased affine warp: what turns, shears, zooms and moves a picture, all at once."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels.images import Pixels
from hornbeam.data.pixels.resize import BAR, resize

_BESIDE = 2
"""Pixels around the part that is shown, which interpolation and shrinking look at."""


def scale_of(matrix: NDArray[np.float64]) -> float:
    """Return how many pixels of the picture make one of the result, where they are fewest."""
    return float(np.hypot(matrix[:2, 0], matrix[:2, 1]).min())


def warp(
    pixels: Pixels, matrix: NDArray[np.float64], size: tuple[int, int], reflect: bool
) -> Pixels:
    """Show a picture through an affine map: uint8 `[*size, channels]`.

    The part that is seen is shrunk first by averaging over areas, to about the scale of the result,
    and then warped once with bilinear interpolation. A warp alone would look at four pixels for each
    of the result, and skip those between.

    Args:
        pixels: uint8 `[height, width, channels]`.
        matrix: 3x3, from (x, y, 1) on the result to the picture, both in pixels from the corner of
            the first pixel.
        size: (height, width) of the result.
        reflect: what lies outside the picture is its reflection, else a grey bar.
    """
    height, width = size
    corners = matrix @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    left, right = _seen(corners[0], pixels.shape[1], reflect)
    top, bottom = _seen(corners[1], pixels.shape[0], reflect)
    part = pixels[top:bottom, left:right]
    across, down = np.maximum(1, np.hypot(matrix[:2, 0], matrix[:2, 1]))
    small_width = max(1, round(part.shape[1] / across))
    small_height = max(1, round(part.shape[0] / down))
    small = resize(part, (small_height, small_width))
    to_small = np.diag([small_width / part.shape[1], small_height / part.shape[0], 1.0])
    to_small = to_small @ np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    # OpenCV counts from the middles of pixels.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    inverse = np.linalg.inv(half) @ to_small @ matrix @ half
    result = cv2.warpAffine(
        small, inverse[:2], (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT if reflect else cv2.BORDER_CONSTANT,
        borderValue=(BAR, BAR, BAR, 0),
    )  # fmt: skip
    return np.asarray(result, np.uint8).reshape(height, width, -1)


def _seen(places: NDArray[np.float64], side: int, reflect: bool) -> tuple[int, int]:
    """Return the range of pixels along one axis that the result shows, reflections included."""
    low, high = float(places.min()), float(places.max())
    if reflect:  # what is behind an edge is as far before it
        low, high = min(low, 2 * side - high), max(high, -low)
    low = min(max(0, int(np.floor(low)) - _BESIDE), side - 1)
    return low, max(low + 1, min(side, int(np.ceil(high)) + _BESIDE))
