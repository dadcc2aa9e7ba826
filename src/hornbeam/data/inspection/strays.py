"""Files in a folder of pictures that Hornbeam leaves out: hidden ones, and those of other endings."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from hornbeam.data.inspection.findings import Finding
from hornbeam.data.pixels.images import EXTENSIONS
from hornbeam.data.walking import is_hidden

_FOREIGN = {
    ".heic": "HEIC", ".heif": "HEIC", ".cr2": "raw", ".cr3": "raw", ".nef": "raw", ".arw": "raw",
    ".dng": "raw", ".orf": "raw", ".rw2": "raw", ".raf": "raw", ".svg": "SVG", ".psd": "Photoshop",
    ".jxl": "JPEG XL",
}  # fmt: skip
"""Pictures in formats that are not read, by their extension."""

_HEAD = 65536
"""Bytes of a file that are looked at to tell its format."""


def find_strays(root: Path) -> list[Finding]:
    """Return what is below a folder besides the pictures that Hornbeam takes.

    Other tools take hidden folders (`.ipynb_checkpoints`, `@eaDir`, `__MACOSX`) for classes and the
    `._x.jpg` of macOS for pictures; and photographs of a phone, or without an extension, stay out
    unnoticed.
    """
    hidden, pictures, formats, others = [], [], [], []
    for path, concealed in _walk(str(root)):
        if concealed:
            if _extension(path) in EXTENSIONS:
                hidden.append(path)
        elif _extension(path) not in EXTENSIONS:
            kind = _picture_format(os.path.join(root, path))
            if kind:
                pictures.append(path)
                formats.append(kind)
            else:
                others.append(path)
    findings = []
    if hidden:
        count = "1 picture is" if len(hidden) == 1 else f"{len(hidden)} pictures are"
        sentence = f"{count} hidden or in folders of the system."
        findings.append(Finding("hidden", sentence, tuple(hidden)))
    if pictures:
        one = "1 picture is left out, as its name does not say so."
        many = f"{len(pictures)} pictures are left out, as their names do not say so."
        sentence = one if len(pictures) == 1 else many
        findings.append(Finding("ignored-picture", sentence, tuple(pictures), tuple(formats)))
    if others:
        one = "1 file lies among the pictures and is none."
        many = f"{len(others)} files lie among the pictures and are none."
        sentence = one if len(others) == 1 else many
        findings.append(Finding("ignored-file", sentence, tuple(others)))
    return findings


def _walk(root: str) -> Iterator[tuple[str, bool]]:
    """Yield (path, whether it or a folder above it is hidden) of all files two levels down or more.

    Files beside the class folders (a README, a licence) are nobody's business.
    """
    seen: set[str] = set()

    def walk(place: str, prefix: str, concealed: bool) -> Iterator[tuple[str, bool]]:
        real = os.path.realpath(place)
        if real in seen:
            return
        seen.add(real)
        try:
            with os.scandir(place) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return
        for entry in found:
            name, secret = prefix + entry.name, concealed or is_hidden(entry.name)
            if entry.is_dir():
                yield from walk(entry.path, name + "/", secret)
            elif prefix and entry.is_file():
                yield name, secret

    yield from walk(root, "", False)


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _picture_format(path: str) -> str:
    """Return the format of a file that is a picture, whatever its name; empty for others."""
    foreign = _FOREIGN.get(_extension(path))
    if foreign:
        return foreign
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a name may hold bytes that are no UTF-8
            head = file.read(_HEAD)
        if head[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
            return "HEIC"
        with Image.open(io.BytesIO(head)) as picture:
            kind = picture.format or ""
    except Exception:
        return ""  # Pillow's many ways to say that it is no picture
    return kind if f".{kind.lower()}" in EXTENSIONS or kind in ("JPEG2000", "MPO", "PPM") else ""
