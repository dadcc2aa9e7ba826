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
    """

    def __init__(self) -> None:
        self.stop: int | None = None
        self._at_once = False
        self._save = False

    def take_save(self) -> bool:
        """Return whether a checkpoint was asked for since the last look."""
        asked, self._save = self._save, False
        return asked

    def take_at_once(self) -> bool:
        """Return whether there is no time to save any more: the second Ctrl-C since the last look."""
        asked, self._at_once = self._at_once, False
        return asked

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Note SIGTERM, Ctrl-C and SIGUSR1 inside this block."""

        def stop(number: int, frame: FrameType | None) -> None:
            if self.stop is not None and number == signal.SIGINT:
                self._at_once = True
            self.stop = self.stop or number

        def save(number: int, frame: FrameType | None) -> None:
            self._save = True

        wanted: dict[int, Handler] = {
            signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGUSR1: save,
        }  # fmt: skip
        with handling(wanted, always=signal.SIGUSR1):
            yield
