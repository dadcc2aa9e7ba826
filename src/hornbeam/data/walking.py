"""Pictures below a folder, in natural order. No pixels and no table are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from hornbeam.data.pixels.images import EXTENSIONS
from hornbeam.errors import DataError


def walk(root: str, *, strict: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield (path relative to root, whether it is a folder), in natural order; hidden ones are left out.

    Links to folders are followed once. Only the names in one folder, and in those above it, are held
    at a time.

    Args:
        root: the folder.
        strict: refuse names that are not UTF-8, which no table can hold; else they come as they are.
    """
    seen: set[str] = set()

    def inside(place: str, prefix: str) -> Iterator[tuple[str, bool]]:
        real = os.path.realpath(place)
        if real in seen:
            return
        seen.add(real)
        with os.scandir(place) as entries:
            kept = {e.name: e.is_dir() for e in entries if not is_hidden(e.name)}
        for name in sorted(kept, key=natural_key):
            path = prefix + name
            if strict:
                require_utf8(path)
            yield path, kept[name]
            if kept[name]:
                yield from inside(os.path.join(place, name), path + "/")

    yield from inside(root, "")


def walk_pictures(root: str, *, strict: bool = True) -> Iterator[str]:
    """Yield the pictures below a folder, relative to it; see `walk`."""
    for path, is_folder in walk(root, strict=strict):
        if not is_folder and is_picture(path):
            yield path


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or belongs to the system."""
    return name.startswith((".", "__MACOSX", "@eaDir"))


def is_picture(path: str) -> bool:
    """Whether a file is taken for a picture, by its ending."""
    return os.path.splitext(path)[1].lower() in EXTENSIONS


def natural_key(name: str) -> tuple[str, str]:
    """Sort key that puts `class2` before `class10`, and `cat` beside `Cat`.

    Folders are walked and classes are numbered in this order. A number comes before other text, shorter
    ones first; one string takes a tenth of the memory of a list of parts, and there may be millions.
    """
    return re.sub(r"\d+", _ordered, name.casefold()), name


def _ordered(found: re.Match[str]) -> str:
    number = str(int(found[0]))
    return f"\0{chr(len(number))}{number}"


def require_utf8(path: str) -> None:
    """Refuse a name that a table cannot hold.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!r}: the name is not valid UTF-8; rename the file.") from None
