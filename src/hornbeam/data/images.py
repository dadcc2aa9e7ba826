"""Bytes to pixels, and pixels to the size that a network takes.

The same functions serve training, evaluation, prediction and (later) the exported predictor, so
that a picture means the same everywhere.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hornbeam.errors import DataError

Pixels = NDArray[np.uint8]

EXTENSIONS = frozenset(
    f".{suffix}"
    for suffix in (
        "avif", "bmp", "gif", "jfif", "jp2", "jpe", "jpeg", "jpg",
        "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp",
    )
)  # fmt: skip
"""Endings by which a file is taken for a picture, in lower case."""

_JPEG = b"\xff\xd8\xff"

# OpenCV and its codecs report a broken file on stderr as well; our error names the file instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# The loader runs one thread per core already; more inside each call only compete with them.
cv2.setNumThreads(0)


class Box(NamedTuple):
    """A rectangle of a picture in pixels: `left <= x < right`, `top <= y < bottom`."""

    left: int
    top: int
    right: int
    bottom: int


def decode(data: bytes) -> Pixels:
    """Decode a picture to uint8 `[height, width, 3]`, RGB, upright.

    Turned by its EXIF orientation; the first frame of an animation; 16 bits reduced to 8 by their
    high byte; grey and CMYK converted; what is transparent lies on white, as a viewer shows it.

    Args:
        data: the bytes of a file in any format of `EXTENSIONS`.

    Raises:
        DataError: the bytes are empty, truncated, damaged, or no picture; the message has no file
            name, which the caller knows.
    """
    if not data:
        raise DataError("the file is empty")
    if not data.startswith(_JPEG) and _wants_pillow(data):
        return _decode_by_pillow(data)
    # OpenCV 5 answers None for truncated files of every format; OpenCV 4 filled them with grey.
    # (Pillow repairs nothing here: ImageFile.LOAD_TRUNCATED_IMAGES stays off.)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if pixels is None:
        return _decode_by_pillow(data)
    return np.asarray(pixels, np.uint8)


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


def resize_box(pixels: Pixels, box: Box, size: tuple[int, int]) -> Pixels:
    """Cut `box` out of a picture and resize it: uint8 `[*size, 3]`.

    Shrinking averages over areas (antialiased); enlarging is bilinear.
    """
    patch = pixels[box.top : box.bottom, box.left : box.right]
    if patch.shape[:2] == size:
        return np.ascontiguousarray(patch)
    shrinks = patch.shape[0] >= size[0] and patch.shape[1] >= size[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(patch, size[::-1], interpolation=method), np.uint8)


def _wants_pillow(data: bytes) -> bool:
    """Whether only Pillow shows this (not JPEG) picture as a viewer does."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            transparent = "A" in picture.getbands() or "transparency" in picture.info
            # OpenCV 5.0 ignores the orientation of AVIF and drops transparency everywhere.
            return transparent or picture.format == "AVIF"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # OpenCV gives the verdict


def _decode_by_pillow(data: bytes) -> Pixels:
    try:
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(_no_picture(data)) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"the picture is truncated or damaged ({error})") from None


def _no_picture(data: bytes) -> str:
    start = data[:16].decode("ascii", "replace")
    if start.isprintable():
        return f"this is not a picture (it begins with the text {start!r})"
    return "this is not a picture in a known format"
