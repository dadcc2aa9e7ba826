"""Handlers of signals, for a block of code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

Handler = Callable[[int, FrameType | None], None] | signal.Handlers


@contextlib.contextmanager
def handling(wanted: Mapping[int, Handler], always: int | None) -> Iterator[None]:
    """Have signals handled inside this block, and as before behind it.

    Outside of the main thread Python has no handlers, and nothing changes.

    Args:
        wanted: handlers by signal. What is started with Ctrl-C ignored, as in the background of a
            script, goes on ignoring it; the same of the others.
        always: the signal whose handler is set even then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.getsignal(number) for number in wanted
        if number == always or signal.getsignal(number) != signal.SIG_IGN
    }  # fmt: skip
    for number in before:
        signal.signal(number, wanted[number])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
