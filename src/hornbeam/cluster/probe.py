"""What a host says about itself: the text of this file is sent there and run by any Python from 3.7 on.

So it imports the standard library alone, and needs no Hornbeam.
"""
# ruff: noqa: PTH123, PTH202 - there may be millions of files, for which paths as objects are slow

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

PACKAGES = ("keras", "jax", "jaxlib", "numpy", "opencv-python-headless", "grain")
"""What computes: other versions of them may compute other numbers."""

_ENDS = 1 << 16
"""Bytes at either end of a large file that its fingerprint is made of."""


def look(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a host says about itself.

    Args:
        wanted: `paths` to take fingerprints of, `folder` of the run, `shared`, a file that only whoever
            shares the folder can see, and `head`, address and port, or nothing.
    """
    begun, package = time.time(), _package()
    found = {
        "python": list(sys.version_info[:3]),
        "executable": sys.executable,
        "hornbeam": package and source_digest(package),
        "version": _versions(["hornbeam"])["hornbeam"],
        "packages": _versions(PACKAGES),
        "free": _free(wanted["folder"]),
        "paths": {path: fingerprint(path) for path in wanted["paths"]},
        "shared": bool(wanted["shared"]) and os.path.exists(wanted["shared"]),
        "hostname": socket.gethostname(),
        "resolves": _resolved(),
        "accelerator": any(map(os.path.exists, ("/dev/nvidiactl", "/dev/accel0", "/dev/vfio"))),
        "head": _reach(wanted["head"]),
    }
    return {**found, "clock": [begun, time.time()]}


def source_digest(package: str) -> str:
    """Return 16 digits of all Python files of a package."""
    content = hashlib.blake2b(digest_size=8)
    for place, folders, names in os.walk(package):
        folders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(place, name)
                content.update(os.path.relpath(path, package).encode())
                with open(path, "rb") as file:
                    content.update(file.read())
    return content.hexdigest()


def fingerprint(path: str) -> list[Any] | None:
    """Return number, bytes and digest of a file, a folder or a pattern; nothing if there is none.

    Of a folder names and sizes count; of files that were named, and of shards, both ends do, too.
    """
    if os.path.isdir(path):
        found = list(_walk(path))
        digest = hashlib.blake2b(digest_size=8)
        for name, size in found:
            digest.update((name + "\0" + str(size) + "\n").encode(errors="surrogateescape"))
            if ".tfrecord" in name or name == "dataset.json":
                digest.update(_ends(os.path.join(path, name), size))
    else:
        named = [path] if os.path.isfile(path) else sorted(glob.glob(path))
        found = [(name, os.path.getsize(name)) for name in named]
        digest = hashlib.blake2b(digest_size=8)
        for name, size in found:
            digest.update((os.path.basename(name) + "\0" + str(size) + "\n").encode())
            digest.update(_ends(name, size))
    if not found and not os.path.isdir(path):
        return None
    return [len(found), sum(size for _, size in found), digest.hexdigest()]


def _walk(root: str) -> Iterator[tuple[str, int]]:
    """Yield names below a folder with their sizes, in order; hidden ones are left out."""
    for place, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                path = os.path.join(place, name)
                yield (
                    os.path.relpath(path, root),
                    os.path.getsize(path) if os.path.exists(path) else -1,
                )


def _ends(path: str, size: int) -> bytes:
    with open(path, "rb") as file:
        head = file.read(_ENDS)
        file.seek(max(len(head), size - _ENDS))
        return head + file.read()


def _package() -> str | None:
    """Return the folder of Hornbeam, without importing it, or nothing."""
    try:
        from importlib.util import find_spec

        spec = find_spec("hornbeam")
    except (ImportError, ValueError):
        return None
    return os.path.dirname(spec.origin) if spec and spec.origin else None


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    try:
        from importlib.metadata import PackageNotFoundError, version
    except ImportError:  # Python 3.7
        return {name: None for name in names}  # noqa: C420 - mypy
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _free(folder: str) -> int:
    """Return the free bytes where a folder is, or will be."""
    while folder and not os.path.isdir(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    return shutil.disk_usage(folder or "/").free


def _resolved() -> list[str]:
    """Return the addresses of this host's own name."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return []
    return sorted({str(place[4][0]) for place in found})


def _reach(head: Sequence[Any] | None) -> str | None:
    """Return why the head's port cannot be reached; nothing where it can, or need not."""
    if not head:
        return None
    try:
        socket.create_connection((head[0], head[1]), timeout=5).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.argv[1]))))
