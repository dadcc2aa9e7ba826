"""What Pillow does: it says what a file is, and decodes what OpenCV cannot, or all without that."""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels import jpeg, png
from hornbeam.errors import DataError

Pixels = NDArray[np.uint8]

_BROKEN = (
    OSError, ValueError, SyntaxError, EOFError, RuntimeError, TypeError, LookupError, ArithmeticError,
    AttributeError, struct.error,
)  # fmt: skip
"""What Pillow's readers raise of damaged files; that of AVIF raises RuntimeError."""

try:
    from PIL import Image, ImageOps, UnidentifiedImageError

    AVAILABLE = True
    # Ours is asked before every decoding, and can be raised by an option; Pillow's cannot.
    Image.MAX_IMAGE_PIXELS = None
except ModuleNotFoundError:
    AVAILABLE = False


class Facts(NamedTuple):
    """What is known of a picture that is no JPEG before it is decoded."""

    height: int
    width: int
    only_pillow: bool


def facts_of(data: bytes) -> Facts:
    """Return what the header of a file says.

    Raises:
        DataError: it is no picture, or one that needs Pillow where that is not installed.
    """
    if not AVAILABLE:
        header = png.read_header(data)
        if header is None or not header.plain:
            raise missing(data)
        return Facts(header.height, header.width, only_pillow=False)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            # Pillow decodes a PNG to look for orientation behind its pixels; nobody writes it there.
            # Of a TIFF it tells the size as shown.
            knows = picture.format not in ("PNG", "TIFF") or "exif" in picture.info
            if knows and picture.getexif().get(0x0112, 1) >= 5:
                width, height = height, width
            transparent = "A" in picture.getbands() or "transparency" in picture.info
            # OpenCV 5.0 ignores the orientation of AVIF and drops transparency everywhere; of PGM and
            # PPM with more than 8 bits it takes 65535 for the largest value, whatever the file says.
            only_pillow = transparent or picture.format == "AVIF" or _is_deep(picture)
            return Facts(height, width, only_pillow)
    except UnidentifiedImageError:
        raise DataError(_no_picture(data)) from None
    except _BROKEN as error:
        raise DataError(f"the picture is truncated or damaged ({error})") from None


def decode(data: bytes, channels: int) -> Pixels:
    """Decode a file upright, uint8 `[height, width, channels]`; see `images.decode`.

    Raises:
        DataError: it is no picture, damaged, or Pillow is not installed.
    """
    if not AVAILABLE:
        raise missing(data)
    try:
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            return pixels_of(file, channels)
    except UnidentifiedImageError:
        raise DataError(_no_picture(data)) from None
    except _BROKEN as error:
        raise DataError(f"the picture is truncated or damaged ({error})") from None


def pixels_of(image: Image.Image, channels: int) -> Pixels:
    """Return a picture of Pillow upright, uint8 `[height, width, channels]`; see `images.decode`."""
    picture = ImageOps.exif_transpose(image)
    # Pillow would clip what OpenCV shifts. A deep PGM is "I", scaled to 16 bits.
    if picture.mode.startswith("I;16") or (picture.mode == "I" and image.format == "PPM"):
        high = np.asarray(picture).astype(np.uint32) >> 8
        picture = Image.fromarray(high.astype(np.uint8))
    if channels == 4:
        return np.asarray(picture.convert("RGBA"))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    if channels == 1:
        return np.asarray(picture.convert("RGB").convert("L"))[..., None]
    return np.asarray(picture.convert("RGB"))


def is_image(given: Any) -> bool:
    """Whether this is a picture of Pillow."""
    return AVAILABLE and isinstance(given, Image.Image)


def _is_deep(picture: Image.Image) -> bool:
    """Whether this is a PGM or PPM whose values are not bytes."""
    if picture.format != "PPM":
        return False
    return picture.mode == "I" or any(tile[0] == "ppm" for tile in getattr(picture, "tile", ()))


def decode_reduced(data: bytes, grey: bool, reduction: int) -> Pixels | None:
    """Decode a JPEG at reduced scale, uint8 `[height, width(, 3)]`; `None` for what is none or damaged.

    libjpeg computes fewer coefficients then, as it does for OpenCV.
    """
    if not data.startswith(jpeg.SIGNATURE):
        return None
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.mode not in ("L", "RGB"):
                return None
            mode = "L" if grey else "RGB"
            width, height = file.size
            file.draft(mode, (max(1, width // reduction), max(1, height // reduction)))
            if file.size != (-(-width // reduction), -(-height // reduction)):
                return None
            return np.asarray(ImageOps.exif_transpose(file).convert(mode))
    except (UnidentifiedImageError, *_BROKEN):
        return None


def missing(data: bytes) -> DataError:
    """Return what to say of a file that OpenCV alone does not decode."""
    if data.startswith((jpeg.SIGNATURE, png.SIGNATURE)) and not _is_odd(data):
        return DataError("the picture is truncated or damaged")
    return DataError(
        f"{_no_picture(data)}, or one that only Pillow reads, which is not installed "
        "(pip install pillow)"
    )


def _is_odd(data: bytes) -> bool:
    header = png.read_header(data)
    return header is not None and not header.plain


def _no_picture(data: bytes) -> str:
    start = data[:16].decode("ascii", "replace")
    if start.isprintable():
        return f"this is not a picture (it begins with the text {start!r})"
    return "this is not a picture in a known format"
