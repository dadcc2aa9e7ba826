"""Who works on a trial: one process, alive as long as it holds a lock that dies with it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_STALE = 120.0
"""Seconds of silence after which a process of another machine counts as dead.

Ours is silent for one second at most; file systems over a network may hide changes for a minute.
"""


class Claim:
    """The right to work on a trial. The process that trains it holds it, too: see `descriptor`.

    Where a file system keeps locks to each machine, the note inside says who on another is at it.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._told = 0.0

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Return the claim, if nobody alive has it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError:
            pass  # a file system without locks; the note is left
        if _is_held_elsewhere(file):
            file.close()
            return None
        claim = cls(file)
        claim.tell()
        return claim

    @property
    def descriptor(self) -> int:
        """Of the file; a child that inherits it holds the claim until its own end."""
        return self._file.fileno()

    def tell(self) -> None:
        """Note that we are alive, once a second at most."""
        now = time.monotonic()
        if now - self._told < 1:
            return
        self._told = now
        self._write({"host": platform.node(), "pid": os.getpid(), "time": time.time()})

    def release(self) -> None:
        """Give the trial up, or leave it as finished."""
        self._write({})
        self._file.close()

    def _write(self, note: dict[str, object]) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(note))
        self._file.flush()


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in here, and keep others out."""
    with path.open("a") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_held_elsewhere(file: IO[str]) -> bool:
    """Whether a process of another machine noted within minutes that it is alive."""
    file.seek(0)
    try:
        note = json.loads(file.read() or "{}")
        host, told = note.get("host"), float(note.get("time", 0))
    except (AttributeError, TypeError, ValueError):
        return False  # cut off while it was written, by a crash
    return host not in (None, platform.node()) and time.time() - told < _STALE
