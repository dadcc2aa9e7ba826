"""Paths in a manifest: with `/`, relative to its folder, and not outside it unless that is allowed."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hornbeam.data.remote import is_remote
from hornbeam.errors import DataError

_UNUSUAL = r"^/|\\|^[A-Za-z][A-Za-z0-9+.-]*:|(^|/)\.{1,2}(/|$)|//|[\x00-\x1f]"
"""What is looked at one by one; there may be millions of other paths."""


def relative_paths(
    column: Any, root: Path | str, allow_outside: bool, where: Callable[[int], str]
) -> Any:
    """Return a column of paths with `/`, those inside the folder relative to it.

    Args:
        column: strings, of which none is null.
        root: folder of the manifest: a path, or a remote address.
        allow_outside: whether paths may leave it.
        where: says where row `i` stands: `m.csv, line 5, column 'path'`.

    Raises:
        DataError: a path is empty, has a control character, or leaves the folder unasked.
    """
    row = pc.index(pc.equal(pc.utf8_trim_whitespace(column), ""), True).as_py()
    if row >= 0:
        raise DataError(f"{where(row)}: the path is empty.")
    unusual = pc.match_substring_regex(column, _UNUSUAL)
    if not pc.any(unusual).as_py():
        return column
    values = column.to_pylist()
    for row, is_unusual in enumerate(unusual.to_pylist()):
        if is_unusual:
            values[row] = _inside(values[row], root, allow_outside, functools.partial(where, row))
    return pa.array(values, pa.string())


def _inside(path: str, root: Path | str, allow_outside: bool, where: Callable[[], str]) -> str:
    """Return a path relative to `root`; refuse one that leaves it, unless that is allowed."""
    if re.search(r"[\x00-\x1f]", path):
        raise DataError(f"{where()}: the path {path!r} has a control character.")
    if is_remote(path):
        prefix = f"{str(root).rstrip('/')}/"
        if is_remote(root) and path.startswith(prefix) and ".." not in path.split("/"):
            return path.removeprefix(prefix)
        if allow_outside:
            return path
        raise DataError(_leaves(path, root, where))
    if "\\" in path and (is_remote(root) or not os.path.lexists(os.path.join(root, path))):
        path = path.replace("\\", "/")  # written on Windows
    if is_remote(root):
        plain = os.path.normpath(path)
        if plain == ".." or plain.startswith(("../", "/")):
            if allow_outside and not plain.startswith("/"):
                return path
            raise DataError(_leaves(path, root, where))
        return plain
    whole = os.path.normpath(os.path.join(os.path.abspath(root), path))
    relative = os.path.relpath(whole, os.path.abspath(root))
    if relative == ".." or relative.startswith("../"):
        if allow_outside:
            return whole
        raise DataError(_leaves(path, root, where))
    return relative


def _leaves(path: str, root: Path | str, where: Callable[[], str]) -> str:
    return (
        f"{where()}: '{path}' is outside the manifest's folder {root}; pass --allow-outside if you "
        "trust the manifest."
    )
