"""How a process ended, and what it was doing, in words."""

from __future__ import annotations

import contextlib
import json
import re
import signal
from pathlib import Path

from hornbeam.storage import write_json

_REMARK = re.compile(r"\s*$|(INFO|WARNING): |[IW]\d{4} |WARNING: All log messages before absl")
"""Lines that C++ libraries write whatever happens (TensorFlow Lite's, absl's)."""

_told_in: list[Path] = []


def tell_in(path: Path) -> None:
    """Have this process note in a file what it does, for whoever has to say why it ended."""
    _told_in[:] = [path]


def tell(doing: str) -> None:
    """Note what is done from now on, as goes behind "while"; nothing happens without `tell_in`."""
    for path in _told_in:
        write_json(path, {"doing": doing})


def told(path: Path) -> str | None:
    """Return what a process was doing last; `None` if it did not say."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads(path.read_text(encoding="utf-8"))["doing"])
    return None


def in_words(code: int, errors: str, doing: str | None = None) -> str:
    """Return how a process ended, as goes behind its name.

    Args:
        code: as `subprocess` gives it: negative for a signal.
        errors: what it wrote to stderr.
        doing: what it was doing.
    """
    by = f"was ended by {_name(-code)}" if code < 0 else f"ended with code {code}"
    during = f" while {doing}" if doing else ""
    lines = [line for line in errors.splitlines() if not _REMARK.match(line)]
    if lines:
        last = re.sub(r"^hornbeam\.errors\.\w+: ", "", lines[-1].strip())
        return f"{by}{during}: {last}"
    return f"{by}{during}" if doing else f"{by}: it said nothing"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # those for real time have no name
        return f"signal {number}"
