"""Bytes to pixels.

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

from hornbeam.config import MAX_PIXELS
from hornbeam.data.pixels import jpeg
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

REDUCTIONS = (1, 2, 4, 8)
"""Factors by which a picture may be decoded smaller; those that JPEG's blocks of 8x8 allow."""

_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_BROKEN = (OSError, ValueError, SyntaxError, EOFError)

# OpenCV and its codecs report a broken file on stderr as well; our error names the file instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
# The loader runs one thread per core already; more inside each call only compete with them.
cv2.setNumThreads(0)
# Ours is asked before every decoding, and can be raised by an option; Pillow's cannot.
Image.MAX_IMAGE_PIXELS = None


class _Facts(NamedTuple):
    """What is known of a picture that is no JPEG before it is decoded."""

    height: int
    width: int
    only_pillow: bool


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
    facts = _facts(data)
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
        height, width, only_pillow = _facts(data)
    if height * width > max_pixels:
        raise DataError(
            f"the picture has {height}x{width} pixels, more than --max-pixels {max_pixels} allows"
        )
    pixels = None
    if not only_pillow:
        pixels = _decode_by_opencv(data, channels, reduction if is_jpeg else 1)
    if pixels is None:
        pixels = _decode_by_pillow(data, channels)
        is_jpeg = False
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
        return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY), np.uint8)[..., None]
    if channels == 4:
        opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
        return np.concatenate([colours, opaque], axis=2)
    return colours


def shrink(pixels: Pixels, reduction: int) -> Pixels:
    """Average `reduction` by `reduction` pixels into one; sides are rounded up.

    What the last row and column lack is taken as a repetition of them, as JPEG encoders do.
    """
    if reduction == 1:
        return pixels
    height, width = pixels.shape[:2]
    below, right = -height % reduction, -width % reduction
    if below or right:
        pixels = cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    size = ((width + right) // reduction, (height + below) // reduction)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(size[1], size[0], -1)


def _facts(data: bytes) -> _Facts:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            # Pillow decodes a PNG to look for orientation behind its pixels; nobody writes it there.
            # Of a TIFF it tells the size as shown.
            knows = picture.format not in ("PNG", "TIFF") or "exif" in picture.info
            if knows and picture.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
            transparent = "A" in picture.getbands() or "transparency" in picture.info
            # OpenCV 5.0 ignores the orientation of AVIF and drops transparency everywhere.
            only_pillow = transparent or picture.format == "AVIF"
            return _Facts(height, width, only_pillow)
    except UnidentifiedImageError:
        raise DataError(_no_picture(data)) from None
    except _BROKEN as error:
        raise DataError(f"the picture is truncated or damaged ({error})") from None


def _decode_by_opencv(data: bytes, channels: int, reduction: int) -> Pixels | None:
    # OpenCV 5 answers None for truncated files of every format; OpenCV 4 filled them with grey.
    # (Pillow repairs nothing here: ImageFile.LOAD_TRUNCATED_IMAGES stays off.)
    colour = 0 if channels == 1 else cv2.IMREAD_COLOR_RGB
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[reduction] | colour)
    except cv2.error:
        return None  # more pixels than OpenCV takes (2^30): Pillow has no such limit
    if pixels is None:
        return None
    return with_channels(np.asarray(pixels, np.uint8), channels)


def _decode_by_pillow(data: bytes, channels: int) -> Pixels:
    try:
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
            if channels == 4:
                return np.asarray(picture.convert("RGBA"))
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            if channels == 1:
                return np.asarray(picture.convert("RGB").convert("L"))[..., None]
            return np.asarray(picture.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError(_no_picture(data)) from None
    except _BROKEN as error:
        raise DataError(f"the picture is truncated or damaged ({error})") from None


def _no_picture(data: bytes) -> str:
    start = data[:16].decode("ascii", "replace")
    if start.isprintable():
        return f"this is not a picture (it begins with the text {start!r})"
    return "this is not a picture in a known format"
