"""What the header of a JPEG says: size and orientation, in microseconds and without decoding."""

from __future__ import annotations

import struct
from typing import NamedTuple

SIGNATURE = b"\xff\xd8\xff"

_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length: TEM, RST0 to RST7, SOI."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Start of frame in all its kinds; the three others in that range are tables."""

_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_ORIENTATION = 0x0112
_SHORT = 3


class JpegHeader(NamedTuple):
    """The size as stored, in pixels, and how a viewer turns it (EXIF orientation, 1 to 8)."""

    height: int
    width: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) as a viewer shows it; orientations from 5 on lie on their side."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)


def read_header(data: bytes) -> JpegHeader | None:
    """Read the segments in front of the pixels (ITU-T T.81, annex B; EXIF 2.32, section 4).

    Args:
        data: a JPEG file, or its beginning.

    Returns:
        The size and orientation; `None` where the header is cut off, damaged, or has no size.
    """
    place, orientation, end = 2, 0, len(data)
    while place + 4 <= end:
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        if marker in _STANDALONE:
            place += 2
            continue
        if marker in (_SCAN, _END):
            return None
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in _FRAMES:
            if place + 9 > end:
                return None
            height, width = struct.unpack_from(">HH", data, place + 5)
            return JpegHeader(height, width, orientation or 1) if height and width else None
        if marker == _APP1 and not orientation:
            orientation = _orientation(data[place + 4 : place + 2 + length])
        place += 2 + length
    return None


def _orientation(segment: bytes) -> int:
    """Return the orientation in an APP1 segment, or 0 where it has none."""
    if not segment.startswith(b"Exif\0\0"):
        return 0
    tiff = segment[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and 1 <= value <= 8 else 0
    except struct.error:
        return 0
    return 0
