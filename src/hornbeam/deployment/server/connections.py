"""uvicorn with bounds on slow and endless heads of requests, and with a stop that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hornbeam.deployment.server.refusals import REASONS, Refusal
from hornbeam.errors import HornbeamError
from hornbeam.handlers import Handler, handling

_MOST_HEAD = 64 * 1024
"""Bytes of a request's head; httptools has no bound of its own."""

_MOST_BEHIND, _MOST_REQUESTS_BEHIND = 2**20, 1000
"""Bytes and requests that a connection may send in advance, before those ahead are answered."""

_ROOM = 32
"""Connections above the limit that are still told so, or asked whether it lives; others are cut."""

_LOOK = 0.25
"""Seconds from one look at who takes their answers to the next."""

_PATIENCE = 1.0
"""Seconds that a client has, while the server stops, to take at least something."""

_RELOADS = getattr(signal, "SIGHUP", None)
"""There is none on Windows."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection whose heads must come whole, and whose answers be taken, within some time.

    uvicorn has timeouts for idle connections only, so that a client who sends a byte now and then, or
    nothing at all after it has connected, would hold a connection for ever, and one that sends a head
    without end while another request is being answered would fill the memory.

    Attributes:
        head_seconds: for a head, set by `bounded`.
        most: connections at a time, set by `bounded`.
    """

    head_seconds = 30.0
    most = 1000

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._answered: RequestResponseCycle | None = None
        self._head = self._behind = 0
        self._in_head, self._moved = True, False
        self._unsent, self._full_since, self._moved_at = 0, 0.0, 0.0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)
        if len(self.connections) > self.most + _ROOM:
            transport.abort()
            return
        self._deadline = self.loop.call_later(self.head_seconds, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer, and tell the request in work: uvicorn tells only the last of several."""
        self._calm()
        self.pipeline.clear()
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, or to what follows a body, and is not whole."""
        self._moved = False
        super().data_received(data)
        if self._moved:
            self._head = 0
        else:
            self._head += len(data)
        self._behind = self._behind + len(data) if self.pipeline else 0
        if (
            self._head > _MOST_HEAD or self._behind > _MOST_BEHIND
            or len(self.pipeline) > _MOST_REQUESTS_BEHIND
        ):  # fmt: skip
            self._cut()
        elif self._in_head or (not self._moved and self._is_idle()):
            if self._deadline is None:
                self._deadline = self.loop.call_later(self.head_seconds, self._expire)
        else:
            self._calm()

    def on_message_begin(self) -> None:
        """A head begins, whatever became of the request before it."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._calm()
        self._in_head, self._moved = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body is none of a head."""
        self._moved = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Tell in JSON, as all errors are, that this is no HTTP."""
        body = Refusal(400, REASONS[400]).body()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()

    def look(self, now: float, seconds: float, patience: float) -> None:
        """Cut who does not take its answers.

        Args:
            now: of the monotonic clock.
            seconds: that all that was written may take.
            patience: seconds in which something of it must be taken.
        """
        unsent = self.transport.get_write_buffer_size()
        if not unsent or not self._unsent:
            self._full_since = self._moved_at = now
        elif unsent < self._unsent:
            self._moved_at = now
        self._unsent = unsent
        if unsent and (now - self._full_since > seconds or now - self._moved_at > patience):
            self.transport.abort()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expire(self) -> None:
        if self.flow.read_paused and not self.transport.is_closing():
            # The rest of the head may have come; it is the server that does not read.
            self._deadline = self.loop.call_later(self.head_seconds, self._expire)
        else:
            self._cut()

    def _calm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cut(self) -> None:
        self._calm()
        if not self.transport.is_closing():
            self.transport.abort()


def bounded(head_seconds: float, most: int) -> type[asyncio.Protocol]:
    """Return a kind of connection that gives heads so many seconds, and of which there are so many."""
    return type("BoundedProtocol", (BoundedProtocol,), {"head_seconds": head_seconds, "most": most})


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


def open_socket(host: str, port: int, share: bool) -> socket.socket:
    """Return a socket that is bound and does not listen yet.

    Args:
        host: name or address.
        port: 0 = one that is free.
        share: with other processes that do so too.

    Raises:
        HornbeamError: the port is taken, or the address is none of this machine's.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, number)
    except (OSError, UnicodeError) as error:
        raise HornbeamError(f"--host {host} is no address of this machine ({error}).") from None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        made.close()
        raise _taken(host, port, error) from None
    return made


def listen(made: socket.socket, host: str, port: int, backlog: int) -> None:
    """Let clients connect. Only this takes the port: two processes may bind it before one listens.

    Raises:
        HornbeamError: another process was faster.
    """
    try:
        made.listen(backlog)
    except OSError as error:
        raise _taken(host, port, error) from None


def _taken(host: str, port: int, error: Exception) -> HornbeamError:
    why = getattr(error, "strerror", None) or error
    return HornbeamError(
        f"Port {port} of {host} cannot be had ({why}); choose another --port, or 0 for one that is free."
    )
