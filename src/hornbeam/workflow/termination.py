"""SIGTERM, as `kill` sends it, ends a command in order: what is temporary is removed first."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from hornbeam.errors import InterruptionError

_PAUSE = 0.05
"""Seconds until a signal that nobody heard is sent again."""


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM; like Ctrl-C it passes by whoever catches any `Exception`."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM leave this block as Ctrl-C does.

    Outside of the main thread Python has no handlers, and nothing changes.

    Raises:
        InterruptionError: it did.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the tidying
        raise _TerminatedError

    def say_again(unheard: sys.UnraisableHookArgs) -> None:
        # It came while rubbish was collected (JAX has a callback there), out of which nothing is raised.
        if unheard.exc_type is not _TerminatedError:
            hook(unheard)
            return
        signal.signal(signal.SIGTERM, end)
        again.append(threading.Timer(_PAUSE, os.kill, (os.getpid(), signal.SIGTERM)))
        again[-1].start()

    again: list[threading.Timer] = []
    before, hook = signal.signal(signal.SIGTERM, end), sys.unraisablehook
    sys.unraisablehook = say_again
    try:
        yield
    except _TerminatedError:
        raise InterruptionError("stopped by SIGTERM.", 143) from None
    finally:
        for timer in again:
            timer.cancel()
        signal.signal(signal.SIGTERM, before)
        sys.unraisablehook = hook
