"""The same as `engine_opencv.py` for a machine without OpenCV: Pillow decodes, NumPy computes.

Every resizing here is separable: a few weighted rows of the picture make a row of the result, and
the same across. JPEG decodes bit for bit as in OpenCV; averages over areas are the same but for one
grey level in few pixels; what is sampled bilinearly differs by one level in an eighth of them. It takes
half as long again (photographs of 400 px to 96).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels import pillow

Pixels = NDArray[np.uint8]
_Taps = tuple[NDArray[np.intp], NDArray[np.float32]]
"""Which rows make each row of the result, and how much of each: both `[rows, taps]`."""


def decode(data: bytes, grey: bool, reduction: int) -> Pixels | None:
    """Decode a JPEG upright at reduced scale, uint8 `[height, width(, 3)]`.

    Returns `None` for anything else, for which `pillow.decode` is as good.
    """
    return pillow.decode_reduced(data, grey, reduction)


def grey_of(colours: Pixels) -> Pixels:
    """Return the grey of RGB, uint8 `[height, width]`, by OpenCV's integers (ITU-R BT.601)."""
    mixed = colours.astype(np.uint32) @ np.array([9798, 19235, 3735], np.uint32)
    return ((mixed + (1 << 14)) >> 15).astype(np.uint8)


def shrink(pixels: Pixels, reduction: int) -> Pixels:
    """See `images.shrink`."""
    height, width = pixels.shape[:2]
    below, right = -height % reduction, -width % reduction
    pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)), mode="edge")
    rows, columns = pixels.shape[0] // reduction, pixels.shape[1] // reduction
    blocks = pixels.reshape(rows, reduction, columns, reduction, -1)
    means = blocks.mean(axis=(1, 3), dtype=np.float32)
    return _rounded(
        np.floor(means + 0.5) if reduction == 2 else means
    )  # halves, as OpenCV has them


def resize(
    pixels: Pixels, size: tuple[int, int], blur: tuple[NDArray[np.float32], ...] | None
) -> Pixels:
    """See `engine_opencv.resize`."""
    height, width = pixels.shape[:2]
    if blur is not None:
        down, across = (
            _three_rows(side, each) for side, each in zip((height, width), blur, strict=True)
        )
        pixels = _apply(pixels, down, across)
    elif height >= size[0] and width >= size[1]:
        return _apply(pixels, _areas(height, size[0]), _areas(width, size[1]))
    scales = height / size[0], width / size[1]
    down, across = (
        _between(scale, (scale - 1) / 2, many, side)
        for scale, many, side in zip(scales, size, (height, width), strict=True)
    )
    return _apply(pixels, down, across)


def stretch(
    pixels: Pixels, down: tuple[float, float], across: tuple[float, float], size: tuple[int, int]
) -> Pixels:
    """See `engine_opencv.stretch`."""
    return _apply(
        pixels,
        _between(*down, size[0], pixels.shape[0]),
        _between(*across, size[1], pixels.shape[1]),
    )


def _apply(pixels: Pixels, down: _Taps, across: _Taps) -> Pixels:
    """Return rows of rows, and columns of those: uint8."""
    rows = _weighted(pixels.reshape(len(pixels), -1), down).reshape(-1, *pixels.shape[1:])
    turned = np.ascontiguousarray(rows.transpose(1, 0, 2))
    columns = _weighted(turned.reshape(len(turned), -1), across)
    return _rounded(columns.reshape(-1, len(rows), pixels.shape[2]).transpose(1, 0, 2))


def _weighted(rows: NDArray[Any], taps: _Taps) -> NDArray[np.float32]:
    places, weights = taps
    result = np.zeros((len(places), rows.shape[1]), np.float32)
    for tap in range(places.shape[1]):
        result += rows[places[:, tap]] * weights[:, tap, None]
    return result


def _rounded(values: NDArray[np.float32]) -> Pixels:
    return np.ascontiguousarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _areas(side: int, many: int) -> _Taps:
    """Each of `many` is the mean of a stretch of `side / many`, which may begin inside a pixel."""
    edges = np.arange(many + 1) * (side / many)
    first = np.floor(edges[:-1] + 1e-9).astype(np.intp)
    places = first[:, None] + np.arange(int(np.ceil(side / many)) + 1)
    inside = np.minimum(places + 1, edges[1:, None]) - np.maximum(places, edges[:-1, None])
    weights = np.clip(inside, 0, None) * (many / side)
    return np.minimum(places, side - 1), weights.astype(np.float32)


def _between(scale: float, shift: float, many: int, side: int) -> _Taps:
    """Each of `many` lies between two, at `scale * place + shift`; beyond the edge is the edge."""
    at = np.arange(many) * scale + shift
    first = np.floor(at).astype(np.intp)
    share = (at - first)[:, None]
    places = np.clip(np.stack([first, first + 1], axis=1), 0, side - 1)
    return places, np.concatenate([1 - share, share], axis=1).astype(np.float32)


def _three_rows(side: int, weights: NDArray[np.float32]) -> _Taps:
    """Each is a mixture of itself and its neighbours."""
    places = np.clip(np.arange(side)[:, None] + np.arange(-1, 2), 0, side - 1)
    return places, np.broadcast_to(weights, (side, 3))
