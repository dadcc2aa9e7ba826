"""uvicorn's server with signals of its own, and with a stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from hornbeam.deployment.server.connections import BoundedProtocol
from hornbeam.handlers import Handler, handling

_LOOK = 0.25
"""Seconds from one look at who takes their answers to the next."""

_PATIENCE = 1.0
"""Seconds that a client has, while the server stops, to take at least something."""

_RELOADS = getattr(signal, "SIGHUP", None)
"""There is none on Windows."""


class Hup:
    """Whether somebody has asked for another bundle by SIGHUP.

    Attributes:
        asked: set by the signal.
    """

    def __init__(self) -> None:
        self.asked = False

    def note(self, sig: int, frame: FrameType | None) -> None:
        """See `signal.signal`."""
        self.asked = True

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note the signal, which would end the process otherwise."""
        with handling({} if _RELOADS is None else {_RELOADS: self.note}, always=_RELOADS):
            yield


class SignalledServer(uvicorn.Server):
    """uvicorn's server: SIGTERM and Ctrl-C end it, SIGHUP asks for another bundle.

    Args:
        config: of uvicorn.
        on_ready: called once, when it listens.
        on_stop: called once, when it begins to stop.
        on_hup: called for SIGHUP, in the loop.
        hup: where the signal is noted.
        on_end: called once, when all is answered, or cut.
        drain: seconds for which it still takes requests after the signal.
        write_seconds: in which a client must take its answers.

    Attributes:
        stopped_by: the name of the signal, once there was one.
        cut: requests that were not answered within uvicorn's `timeout_graceful_shutdown`.
    """

    def __init__(
        self, config: uvicorn.Config, *, on_ready: Callable[[], None], on_stop: Callable[[], None],
        on_hup: Callable[[], None], hup: Hup, on_end: Callable[[], None], drain: float,
        write_seconds: float,
    ) -> None:  # fmt: skip
        super().__init__(config)
        self._on_ready, self._on_stop, self._on_hup = on_ready, on_stop, on_hup
        self._on_end = on_end
        self._drain = drain
        self._write_seconds = write_seconds
        self._hup = hup
        self._ending = False
        self._leave_at: float | None = None
        self.stopped_by = ""
        self.cut = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        self._looking = asyncio.create_task(self._look())
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Look ten times a second what signals asked for."""
        leave = await super().on_tick(counter)
        if self._hup.asked:
            self._hup.asked = False
            self._on_hup()
        if not leave or self.force_exit:
            return leave
        if self._leave_at is None:
            self._leave_at = time.monotonic() + self._drain
            self._on_stop()
        return time.monotonic() >= self._leave_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; requests that it gives up are counted."""
        self._ending = True
        await super().shutdown(sockets)
        self._looking.cancel()
        left = set(self.server_state.tasks)
        self.cut = len(left)
        if left:
            for task in left:
                task.cancel()  # at a second signal uvicorn does not
            await asyncio.wait(left, timeout=1)  # until they have told their clients
        self._on_end()

    async def _look(self) -> None:
        """Cut clients that do not take their answers; soon, when it stops."""
        patience = min(_PATIENCE, self.config.timeout_graceful_shutdown or 0)
        while True:
            await asyncio.sleep(min(_LOOK, self._write_seconds / 4))
            for each in list(self.server_state.connections):
                if isinstance(each, BoundedProtocol):
                    each.look(
                        time.monotonic(), self._write_seconds,
                        patience / 2 if self._ending else math.inf,
                    )  # fmt: skip

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listen to signals; unlike uvicorn's, this one does not raise them again at the end."""
        wanted: dict[int, Handler] = {
            signal.SIGTERM: self.handle_exit, signal.SIGINT: self.handle_exit,
        }  # fmt: skip
        if _RELOADS is not None:
            wanted[_RELOADS] = self._hup.note
        with handling(wanted, always=_RELOADS):
            yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note a signal that ends the server; a second Ctrl-C does so at once."""
        self.stopped_by = signal.Signals(sig).name
        super().handle_exit(sig, frame)
