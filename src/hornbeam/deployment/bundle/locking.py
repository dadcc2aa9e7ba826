"""One export at a time writes a bundle: the others wait, and add to what it has made."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(directory: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Keep other exports out of a bundle inside this block.

    The lock is on a file beside the bundle, as the bundle itself is replaced. It is gone afterwards, and
    whoever is killed holds it no more.

    Args:
        directory: of the bundle, which need not exist.
        wait: called once if there is another export, before its end is waited for.
    """
    path = directory.with_name(f".lock-{directory.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _locked(path, wait)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: nobody else has it
        os.close(handle)


def _locked(path: Path, wait: Callable[[], None]) -> int:
    told = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                wait()
            told = True
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except BaseException:
                os.close(handle)
                raise
        except OSError:  # a file system without locks
            return handle
        # Who had it before has removed the file: then this lock keeps nobody out.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)
