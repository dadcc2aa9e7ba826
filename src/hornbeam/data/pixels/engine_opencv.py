"""What OpenCV does with pixels; `engine_numpy.py` does the same where it is not installed."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}

# OpenCV and its codecs report a broken file on stderr as well; our error names the file instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# The loader runs one thread per core already; more inside each call only compete with them.
cv2.setNumThreads(0)


def decode(data: bytes, grey: bool, reduction: int) -> Pixels | None:
    """Decode a file upright, uint8 `[height, width(, 3)]`; `None` where it cannot."""
    # OpenCV 5 answers None for truncated files of every format; OpenCV 4 filled them with grey.
    # (Pillow repairs nothing here: ImageFile.LOAD_TRUNCATED_IMAGES stays off.)
    colour = 0 if grey else cv2.IMREAD_COLOR_RGB
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduction] | colour)
    except cv2.error:
        return None  # more pixels than OpenCV takes (2^30): Pillow has no such limit
    return None if pixels is None else np.asarray(pixels, np.uint8)


def grey_of(colours: Pixels) -> Pixels:
    """Return the grey of RGB, uint8 `[height, width]`."""
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), np.uint8)


def shrink(pixels: Pixels, reduction: int) -> Pixels:
    """See `images.shrink`."""
    height, width = pixels.shape[:2]
    below, right = -height % reduction, -width % reduction
    if below or right:
        pixels = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    size = ((width + right) // reduction, (height + below) // reduction)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(size[1], size[0], -1)


def resize(
    pixels: Pixels, size: tuple[int, int], blur: tuple[NDArray[np.float32], ...] | None
) -> Pixels:
    """Average over areas where both sides shrink, else sample bilinearly; uint8 `[*size, channels]`.

    Args:
        pixels: uint8 `[height, width, channels]`.
        size: (height, width) of the result.
        blur: three weights down and three across, of a blur that goes before sampling bilinearly.
    """
    shrinks = pixels.shape[0] >= size[0] and pixels.shape[1] >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    if blur is not None:
        down, across = blur
        pixels = cv2.sepFilter2D(pixels, -1, across, down, borderType=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
        method = cv2.INTER_LINEAR
    result = cv2.resize(pixels, size[::-1], interpolation=method)
    return np.asarray(result, np.uint8).reshape(*size, -1)  # OpenCV drops a single channel


def stretch(
    pixels: Pixels, down: tuple[float, float], across: tuple[float, float], size: tuple[int, int]
) -> Pixels:
    """Sample bilinearly at `scale * place + shift`, places counted from the middles of pixels.

    Args:
        pixels: uint8 `[height, width, channels]`; repeated beyond its edges.
        down: scale and shift of rows.
        across: scale and shift of columns.
        size: (height, width) of the result.
    """
    moved = np.array([[across[0], 0, across[1]], [0, down[0], down[1]]])
    result = cv2.warpAffine(
        pixels, moved, size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(result, np.uint8).reshape(*size, -1)
