"""`.keras` files are zip archives: which entries they may have, and how large those may be."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

from hornbeam.errors import ModelError

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
_ENTRIES = ("metadata.json", CONFIG, WEIGHTS)
"""What Keras writes for a model without layers that keep files of their own."""

EXPANSION, FLOOR = 20, 16 * 2**20
"""Bytes that a file may become per byte on the disk, and that any may; Keras compresses nothing."""

_LARGEST_CONFIG = 16 * 2**20
"""Bytes; DenseNet201's has 0.7 MB."""


def check_archive(path: Path) -> None:
    """Look through the entries of a `.keras` file; none is unpacked.

    Raises:
        ModelError: there are other entries than Keras writes, some twice, encrypted or linked ones, or
            they declare more than such a file can hold.
        zipfile.BadZipFile: it is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    seen = set()
    for entry in entries:
        name = entry.filename
        if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/"):
            raise refusal(path, f"its entry {name!a} leads out of the archive")
        if name not in _ENTRIES:
            raise refusal(path, f"it holds {name!a}, which no classifier of pictures needs")
        if name in seen:
            raise refusal(path, f"it holds '{name}' twice")
        if stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
            raise refusal(path, f"its entry '{name}' is a link or encrypted")
        seen.add(name)
    if not {CONFIG, WEIGHTS} <= seen:
        missing = CONFIG if CONFIG not in seen else WEIGHTS
        raise ModelError(
            f"{path} cannot be read as a Keras model: it lacks {missing}. Is it whole?"
        )
    declared, there = sum(entry.file_size for entry in entries), path.stat().st_size
    if declared > FLOOR + EXPANSION * there:
        raise refusal(path, f"its {there:,} bytes unpack to {declared:,}")
    sizes = {entry.filename: entry.file_size for entry in entries}
    if sizes[CONFIG] > _LARGEST_CONFIG:
        raise refusal(path, f"its {CONFIG} has {sizes[CONFIG]:,} bytes")


class RefusedError(ModelError):
    """A file is made to do harm, or looks so."""


def refusal(path: Path, reason: str) -> RefusedError:
    """Return the error of such a file."""
    return RefusedError(f"{path} is refused: {reason}.")
