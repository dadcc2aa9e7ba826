"""What signals ask of a supervisor: to let all workers save, or save and end, or end at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from hornbeam.handlers import Handler, handling


class Requests:
    """What was asked for.

    Attributes:
        stop: the signal that is to end all, after a checkpoint.
        at_once: whether there is no time to save: the second Ctrl-C.
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self.at_once = False
        self._save = False

    def take_save(self) -> bool:
        """Return whether a checkpoint was asked for since the last look."""
        asked, self._save = self._save, False
        return asked

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Note SIGTERM, Ctrl-C and SIGUSR1 inside this block."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.stop is not None and number == signal.SIGINT:
                self.at_once = True
            self.stop = self.stop or number

        def save(number: int, frame: FrameType | None) -> None:
            self._save = True

        wanted: dict[int, Handler] = {
            signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGUSR1: save,
        }  # fmt: skip
        with handling(wanted, always=signal.SIGUSR1):
            yield
