"""Names of files that a stranger gives: which of them stay where they are put."""

from __future__ import annotations

import unicodedata

_LONGEST = 240
"""Bytes of a part of a path that all file systems take."""

_DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)]
)
"""Names that Windows takes for devices, with any ending."""


def why_unsafe(name: str) -> str | None:
    """Return why a relative path with `/` may not be used inside a directory; `None` if it may.

    Refused is what leaves the directory on any system, what some system takes for another name, and
    what turns the text around it in a message.
    """
    if not name:
        return "it is empty"
    if not name.isprintable():
        return "it has characters that cannot be printed"
    if "\\" in name or ":" in name:
        return "it has a backslash or a colon"
    if name.startswith("/"):
        return "it is absolute"
    for part in name.split("/"):
        if part == "..":
            return "it leads out of the folder"
        if part in ("", "."):
            return "it has an empty part"
        if part[-1] in ". " or part.split(".")[0].lower() in _DEVICES:
            return "Windows takes it for another name"
        if len(part.encode()) > _LONGEST:
            return f"a part of it is longer than {_LONGEST} bytes"
    return None


def key_of(name: str) -> str:
    """Return what two names have in common that some file system takes for one."""
    return unicodedata.normalize("NFC", name).casefold()
