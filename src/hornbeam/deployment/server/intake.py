"""The body of a request, read within its limits: of bytes, of memory for all, of time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from hornbeam.deployment.server.refusals import ClientGoneError, Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


class Memory:
    """Bytes of the bodies of all requests that are there.

    Attributes:
        held: now.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """Yield a request's part of it, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.taken

    def take(self, count: int) -> None:
        """Count bytes that came.

        Raises:
            Refusal: there are too many already.
        """
        if self.held + count > self._most:
            raise Refusal(429, "Too many bytes wait already; ask again in a second.")
        self.held += count


class Share:
    """A request's part of the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.taken = 0

    def take(self, count: int) -> None:
        """See `Memory.take`."""
        self._memory.take(count)
        self.taken += count


async def read_body(
    receive: Receive, length: str | None, share: Share, max_bytes: int, seconds: float
) -> bytes:
    """Return a body.

    What has no Content-Length is counted as it comes; what claims to be too long is not read.

    Args:
        receive: of ASGI.
        length: the header of that name.
        share: where its bytes are counted.
        max_bytes: more are refused.
        seconds: in which all of it must have come.

    Raises:
        Refusal: 408, 413, 429.
        ClientGoneError: it never came whole.
    """
    # What is no number was refused by the HTTP parser.
    if length is not None and int(length) > max_bytes:
        raise _too_many(max_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part = message.get("body", b"")
                if part:
                    size += len(part)
                    if size > max_bytes:
                        raise _too_many(max_bytes)
                    share.take(len(part))
                    parts.append(part)
                if not message.get("more_body", False):
                    return parts[0] if len(parts) == 1 else b"".join(parts)
    except TimeoutError:
        raise Refusal(408, f"The request did not come whole within {seconds:g} s.") from None


async def discard_body(receive: Receive, most: int, seconds: float) -> None:
    """Read on for a while, to no purpose but that the client gets to read why it was refused.

    Who closes a connection while bytes come in resets it, and the answer is lost with it.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while most > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                most -= len(message.get("body", b""))


def _too_many(most: int) -> Refusal:
    return Refusal(413, f"The request has more than {most} bytes; send smaller or fewer pictures.")
