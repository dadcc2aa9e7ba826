"""Records of TFRecord files: their frame, their checksums, and what is wrong with a damaged one.

A record is its length (uint64), the checksum of those 8 bytes, the payload, and the payload's
checksum; all little-endian, checksums are CRC-32C, masked (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np

from hornbeam.data import remote
from hornbeam.errors import DataError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")

OVERHEAD = _HEADER.size + _CHECKSUM.size
"""Bytes of a record besides its payload."""

_GZIP = b"\x1f\x8b"


class Damaged(Exception):  # noqa: N818 - it is a reason, which a reader puts behind a name
    """What is wrong with a record; whoever knows its name makes a sentence of both."""


class Record(NamedTuple):
    """One record of a file.

    Attributes:
        number: counted from 0.
        offset: of its first byte in the file.
        payload: what it carries, checked.
    """

    number: int
    offset: int
    payload: memoryview


class Source:
    """An open file of records. Reads at any place, from any number of threads at a time.

    It reads through a memory map: of records of 28 KB in memory that took 14 µs, `pread` and its copy
    16 (medians of 13 passes over 3,781, with the picture taken out). A file that is cut short under
    its map would kill the process (SIGBUS), so the size is asked for before every read (0.4 µs); what
    is left is a cut within those microseconds.

    Args:
        location: a path, or a remote address, of which a local copy is read.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        path = remote.local_copy(location) if remote.is_remote(location) else location
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - a location may be a string
                self.size = os.fstat(file.fileno()).st_size
                # Nothing can be mapped of an empty file.
                self._map = (
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self.size else None
                )
        except OSError as error:
            raise DataError(f"{location}: the file cannot be read ({error.strerror}).") from None
        # google-crc32c takes an array and no memoryview, and a slice of the map would be a copy.
        self._bytes = np.frombuffer(self._map or b"", np.uint8)

    def read(self, offset: int, length: int) -> memoryview:
        """Return the payload of the record at `offset`, checked.

        Args:
            offset: of its first byte.
            length: of its payload, in bytes, as an index knows it.

        Raises:
            Damaged: it is not there, or not whole.
        """
        end = offset + length + OVERHEAD
        # Looked at before anything is touched: a damaged length may be any number.
        if offset < 0 or length < 0 or end > self.size or self._map is None:
            raise Damaged(_ends_early(self.size))
        now = self._map.size()  # of the file, not of the map
        if end > now:
            raise Damaged(_ends_early(now))
        if _length(self._map[offset : offset + _HEADER.size]) != length:
            raise Damaged("another record is there; the index is of another file")
        start = offset + _HEADER.size
        payload = self._bytes[start : start + length]
        checksum = google_crc32c.value(payload)
        if _masked(checksum) != _CHECKSUM.unpack_from(self._map, start + length)[0]:
            raise Damaged("the checksum is wrong; the file is damaged")
        return payload.data

    def records(self) -> Iterator[Record]:
        """Yield all records from the first to the last.

        Raises:
            DataError: the file is compressed, is none of records, or is damaged; the message names
                the record and its place.
        """
        offset, number = 0, 0
        while self._map is not None and offset < self.size:
            try:
                header = self._map[offset : offset + _HEADER.size]
                if not offset:
                    self._require_records(header)
                if len(header) < _HEADER.size:
                    raise Damaged(_ends_early(self.size))
                payload = self.read(offset, _length(header))
            except Damaged as reason:
                name = f"{self.location}, record {number} at byte {offset}"
                raise DataError(f"{name}: {reason}.") from None
            yield Record(number, offset, payload)
            offset += len(payload) + OVERHEAD
            number += 1

    def _require_records(self, start: bytes) -> None:
        # The checksum first: 0x8b1f is also the beginning of a length.
        if len(start) < _HEADER.size or _is_header(start):
            return
        if start.startswith(_GZIP):
            raise DataError(
                f"{self.location} is compressed by gzip, and records of it cannot be read one by one; "
                "decompress it first (gunzip)."
            )
        raise DataError(
            f"{self.location} is not a TFRecord file, or is damaged at its first byte, or compressed."
        )


def write_record(file: BinaryIO, payload: bytes) -> int:
    """Write one record; return how many bytes it took."""
    length = len(payload).to_bytes(8, "little")
    file.write(length + _CHECKSUM.pack(_masked(google_crc32c.value(length))))
    file.write(payload)
    file.write(_CHECKSUM.pack(_masked(google_crc32c.value(payload))))
    return len(payload) + OVERHEAD


def _masked(checksum: int) -> int:
    # As record_writer.h does: the checksum of data that holds checksums would be a weak one.
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _is_header(data: bytes) -> bool:
    checksum = int.from_bytes(data[8:], "little")
    return checksum == _masked(google_crc32c.value(data[:8]))


def _length(data: bytes) -> int:
    if not _is_header(data):
        raise Damaged("the checksum of its length is wrong; the file is damaged")
    return int.from_bytes(data[:8], "little")


def _ends_early(size: int) -> str:
    return f"the file ends early, after {size} bytes; it was cut short, so make or fetch it again"
