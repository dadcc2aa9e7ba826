"""What the header of a PNG says, for a machine without Pillow (ISO/IEC 15948, section 11)."""

from __future__ import annotations

import struct
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ALPHA = 4
"""The bit of the colour type by which every pixel has an alpha."""


class PngHeader(NamedTuple):
    """The size as stored, in pixels, and whether OpenCV alone shows it as a viewer does."""

    height: int
    width: int
    plain: bool


def read_header(data: bytes) -> PngHeader | None:
    """Read the chunks in front of the pixels; `None` where there is no whole header of a PNG.

    What has transparency or an orientation is not plain.
    """
    if not data.startswith(SIGNATURE) or data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height, _, colour_type = struct.unpack_from(">IIBB", data, 16)
    if not width or not height:
        return None
    plain, place = not colour_type & _ALPHA, 33
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        if kind == b"IDAT":
            break
        plain = plain and kind not in (b"tRNS", b"eXIf")
        place += 12 + length
    return PngHeader(height, width, plain)
