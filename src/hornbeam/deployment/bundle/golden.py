"""Golden pictures: a few held-out ones that go with a bundle, with the answers that are right."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hornbeam.deployment.bundle.manifest import Golden
from hornbeam.storage import write_bytes

FOLDER = "golden"

SMALL = 2**20
"""Bytes below which a picture is preferred."""

_TRIES = 4
"""Pictures that are looked at for each that is wanted, for a small one."""

_ENDINGS = (
    (b"\xff\xd8\xff", ".jpg"), (b"\x89PNG", ".png"), (b"GIF8", ".gif"), (b"BM", ".bmp"),
    (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"\0\0\0\x0cjP", ".jp2"),
)  # fmt: skip


def choose_small(
    rows: Iterable[int], read: Callable[[int], bytes | NDArray[np.uint8]], count: int
) -> dict[int, bytes]:
    """Return the content of files by row: the first small ones, else what is smallest.

    Args:
        rows: in the order in which they are preferred.
        read: the bytes of a file, or pixels, which become a PNG.
        count: how many.
    """
    small: dict[int, bytes] = {}
    large: dict[int, bytes] = {}
    for tried, row in enumerate(rows):
        if len(small) == count or tried == count * _TRIES:
            break
        content = read(row)
        if not isinstance(content, bytes):
            content = _png(content)
        (small if len(content) < SMALL else large)[row] = content
        if len(large) > count:
            large.pop(max(large, key=lambda row: len(large[row])))
    rest = sorted(large, key=lambda row: len(large[row]))[: count - len(small)]
    return small | {row: large[row] for row in rest}


def write_golden(
    directory: Path,
    contents: Iterable[bytes],
    features: NDArray[np.float32] | None,
    expected: Mapping[str, NDArray[np.floating]],
) -> tuple[Golden, ...]:
    """Write the files of golden pictures, and return what the bundle says of them.

    They are numbered: names of files may say more than their owner wants to give away.

    Args:
        directory: the bundle.
        contents: of the files.
        features: the numbers beside them, `[pictures, columns]`.
        expected: what the trained model says, by output, `[pictures, …]`.
    """
    (directory / FOLDER).mkdir(exist_ok=True)
    golden = []
    for place, content in enumerate(contents):
        name = f"{FOLDER}/{place:03}{_ending(content)}"
        write_bytes(directory / name, content)
        beside = () if features is None else tuple(float(v) for v in features[place])
        said = {output: numbers(values[place]) for output, values in expected.items()}
        golden.append(Golden(name, hashlib.sha256(content).hexdigest(), beside, said, {}))
    return tuple(golden)


def numbers(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return values as `bundle.json` has them: as many digits as float32 has."""
    return tuple(float(f"{value:.9g}") for value in np.ravel(values))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image.fromarray(flat).save(file, "png")
    return file.getvalue()


def _ending(content: bytes) -> str:
    """Return the ending of a file by how it begins."""
    if content[8:12] == b"WEBP":
        return ".webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return ".avif"
    return next((ending for start, ending in _ENDINGS if content.startswith(start)), ".img")
