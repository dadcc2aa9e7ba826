"""What signals ask of a training: save, or save and end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from hornbeam.errors import InterruptionError

_SAVES = getattr(signal, "SIGUSR1", None)
"""There is none on Windows."""


class Requests:
    """What was asked for since it was last looked at.

    Args:
        advice: how to go on, for the message.

    Attributes:
        save: write a checkpoint soon, and go on.
        stop: the signal that ends the training, after a checkpoint.
    """

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self.save = False
        self.stop: int | None = None

    def leave(self, step: int) -> None:
        """End the training, which was saved at a step.

        Raises:
            InterruptionError: always.
        """
        assert self.stop is not None
        name = "Ctrl-C" if self.stop == signal.SIGINT else signal.Signals(self.stop).name
        raise InterruptionError(
            f"Stopped by {name} at step {step}, which is saved. {self._advice}", 128 + self.stop
        )


@contextlib.contextmanager
def not_killed_by_saves() -> Iterator[None]:
    """Pass over SIGUSR1 inside this block, where nothing can be saved: it would end the process."""
    if _SAVES is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(_SAVES, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(_SAVES, before)


@contextlib.contextmanager
def heard(requests: Requests) -> Iterator[None]:
    """Note SIGTERM, Ctrl-C and SIGUSR1 inside this block; a second Ctrl-C leaves at once.

    Outside of the main thread Python has no handlers, and nothing is noted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if requests.stop is not None and number == signal.SIGINT:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        requests.stop = number

    def save(number: int, frame: FrameType | None) -> None:
        requests.save = True

    wanted = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if _SAVES is not None:
        wanted[_SAVES] = save
    # What is started with Ctrl-C ignored, as in the background of a script, goes on ignoring it.
    before = {
        n: signal.getsignal(n) for n in wanted
        if n == _SAVES or signal.getsignal(n) != signal.SIG_IGN
    }  # fmt: skip
    for number in before:
        signal.signal(number, wanted[number])
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
