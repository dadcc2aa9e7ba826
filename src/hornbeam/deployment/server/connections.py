"""Connections of uvicorn with bounds on slow and endless heads of requests, and on slow readers."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from hornbeam.deployment.server.refusals import REASONS, Refusal

_MOST_HEAD = 64 * 1024
"""Bytes of a request's head; httptools has no bound of its own."""

_MOST_BEHIND, _MOST_REQUESTS_BEHIND = 2**20, 1000
"""Bytes and requests that a connection may send in advance, before those ahead are answered."""

_ROOM = 32
"""Connections above the limit that are still told so, or asked whether it lives; others are cut."""


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
