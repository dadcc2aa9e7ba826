"""What signals ask of a training: save, or save and end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from types import FrameType

from hornbeam.errors import InterruptionError
from hornbeam.handlers import Handler, handling
from hornbeam.world.agreement import Agreement
from hornbeam.world.world import World

_SAVES = getattr(signal, "SIGUSR1", None)
"""There is none on Windows."""


class Requests:
    """What was asked for since it was last looked at.

    Of several processes all do it at the same step, whichever was asked.

    Args:
        advice: how to go on, for the message.
        world: the processes that train.

    Attributes:
        save: write a checkpoint soon, and go on.
        stop: the signal that ends the training, after a checkpoint.
    """

    def __init__(self, advice: str = "", world: World | None = None) -> None:
        self._advice = advice
        self._agreement = Agreement(world) if world is not None and world.size > 1 else None
        self._stops = False
        self.save = False
        self.stop: int | None = None

    def ask(self, number: int) -> None:
        """Note a signal, in its handler."""
        if self._stops and number == signal.SIGINT:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        self._stops = self._stops or number != _SAVES
        if self._agreement is not None:
            self._agreement.ask(str(number))
        else:
            self._heed(number)

    def look(self) -> None:
        """Heed what all processes have agreed to do at this step; each must call it as often."""
        for wish in self._agreement.count() if self._agreement is not None else ():
            self._heed(int(wish))

    def close(self, orderly: bool) -> None:
        """Agree no more; see `Agreement.close`."""
        if self._agreement is not None:
            self._agreement.close(orderly)

    def _heed(self, number: int) -> None:
        if number == _SAVES:
            self.save = True
        else:
            self.stop = number

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
    with handling({} if _SAVES is None else {_SAVES: signal.SIG_IGN}, always=_SAVES):
        yield


@contextlib.contextmanager
def heard(requests: Requests) -> Iterator[None]:
    """Note SIGTERM, Ctrl-C and SIGUSR1 inside this block; a second Ctrl-C leaves at once.

    Outside of the main thread Python has no handlers, and nothing is noted.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        requests.ask(number)

    wanted: dict[int, Handler] = {signal.SIGTERM: ask, signal.SIGINT: ask}
    if _SAVES is not None:
        wanted[_SAVES] = ask
    with handling(wanted, always=_SAVES):
        yield
