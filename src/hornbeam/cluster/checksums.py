"""Checksums of all files below a place; the text of this file is sent to hosts and run there, too.

So it imports the standard library alone, and needs no Hornbeam.
"""
# ruff: noqa: PTH123 - there may be millions of files, for which paths as objects are slow

from __future__ import annotations

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor


def of(place: str) -> dict[str, str]:
    """Return digests of BLAKE2b, 16 bytes each, by the names of files below a folder, or of one file."""
    names = [""] if not os.path.isdir(place) else [
        os.path.relpath(os.path.join(folder, name), place)
        for folder, _, files in os.walk(place) for name in files
    ]  # fmt: skip
    # Hashing and reading let go of Python's lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(
            lambda name: _digest(os.path.join(place, name) if name else place), names
        )
        return dict(zip(names, digests))  # noqa: B905 - Python 3.7


def _digest(path: str) -> str:
    content = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            for part in iter(lambda: file.read(1 << 20), b""):
                content.update(part)
    except OSError as error:
        return "unreadable: {}".format(error.strerror)  # noqa: UP032
    return content.hexdigest()


if __name__ == "__main__":
    print(json.dumps(of(sys.argv[1])))
