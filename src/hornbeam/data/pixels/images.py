"""Bytes to pixels.

The same functions serve training, evaluation, prediction and the exported predictor, so that a picture
means the same everywhere. OpenCV computes; where it is not installed (only what asks a bundle does
without), Pillow and NumPy do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels import jpeg, pillow
from hornbeam.data.pixels.engine import engine
from hornbeam.errors import DataError
from hornbeam.limits import MAX_PIXELS

Pixels = NDArray[np.uint8]

EXTENSIONS = frozenset(
    f".{suffix}"
    for suffix in (
        "avif", "bmp", "gif", "jfif", "jp2", "jpe", "jpeg", "jpg",
        "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp",
    )
)  # fmt: skip
"""Endings by which a file is taken for a picture, in lower case."""

REDUCTIONS = (1, 2, 4, 8)
"""Factors by which a picture may be decoded smaller; those that JPEG's blocks of 8x8 allow."""


def measure(data: bytes) -> tuple[int, int]:
    """Return (height, width) in pixels of a picture, upright, from its header alone.

    Args:
        data: the bytes of a file in any format of `EXTENSIONS`.

    Raises:
        DataError: the bytes are empty or no picture.
    """
    if not data:
        raise DataError("the file is empty")
    header = jpeg.read_header(data) if data.startswith(jpeg.SIGNATURE) else None
    if header:
        return header.upright
    facts = pillow.facts_of(data)
    return facts.height, facts.width


def decode(
    data: bytes, channels: int = 3, reduction: int = 1, max_pixels: int = MAX_PIXELS
) -> Pixels:
    """Decode a picture to uint8 `[height, width, channels]`, upright.

    Turned by its EXIF orientation; the first frame of an animation; 16 bits reduced to 8 by their
    high byte; CMYK converted.

    Args:
        data: the bytes of a file in any format of `EXTENSIONS`.
        channels: 1 for grey; 3 for RGB, where what is transparent lies on white, as a viewer shows
            it; 4 for RGBA, opaque where the file does not say.
        reduction: 1, 2, 4 or 8: each pixel of the result is the mean of that many in both
            directions; sides are rounded up. A JPEG is decoded so, which saves most of the work.
        max_pixels: a picture of more is refused before it takes the memory.

    Raises:
        DataError: the bytes are empty, truncated, damaged, no picture, or one of too many pixels;
            the message has no file name, which the caller knows.
    """
    if not data:
        raise DataError("the file is empty")
    is_jpeg = data.startswith(jpeg.SIGNATURE)
    header = jpeg.read_header(data) if is_jpeg else None
    only_pillow = False
    if header:
        height, width = header.upright
    else:
        height, width, only_pillow = pillow.facts_of(data)
    if height * width > max_pixels:
        raise DataError(
            f"the picture has {height}x{width} pixels, more than --max-pixels {max_pixels} allows"
        )
    pixels = None
    if not only_pillow:
        pixels = engine.decode(data, channels == 1, reduction if is_jpeg else 1)
    if pixels is None:
        return shrink(pillow.decode(data, channels), reduction)
    pixels = with_channels(pixels, channels)
    return pixels if is_jpeg else shrink(pixels, reduction)


def with_channels(pixels: Pixels, channels: int) -> Pixels:
    """Return pixels with 1, 3 or 4 channels, made of those with any of these.

    Args:
        pixels: uint8 `[height, width]` or `[height, width, 1, 3 or 4]`: grey, RGB or RGBA.
        channels: see `decode`.
    """
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found == 1:
        colours: Pixels = np.repeat(pixels, 3, axis=2)
    elif found == 4:
        # As Pillow composites: rounded to nearest.
        alpha = pixels[..., 3:].astype(np.uint32)
        mixed = pixels[..., :3] * alpha + 255 * (255 - alpha)
        colours = ((mixed + 127) // 255).astype(np.uint8)
    else:
        colours = pixels
    if channels == 1:
        return engine.grey_of(colours)[..., None]
    if channels == 4:
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        return np.concatenate([colours, opaque], axis=2)
    return colours


def shrink(pixels: Pixels, reduction: int) -> Pixels:
    """Average `reduction` by `reduction` pixels into one; sides are rounded up.

    What the last row and column lack is taken as a repetition of them, as JPEG encoders do.
    """
    return pixels if reduction == 1 else engine.shrink(pixels, reduction)
