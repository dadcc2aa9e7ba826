"""Around each request: who may ask, headers of safety, a line in the log, a count."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from hornbeam.deployment.server.intake import Message, Receive, discard_body
from hornbeam.deployment.server.metrics import Metrics
from hornbeam.deployment.server.refusals import Refusal

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/", "/healthz", "/readyz"})
"""What is told without a token: that the server lives, and the page, which asks for it."""

HEALTH = frozenset({"/healthz", "/readyz"})
"""What is told however many ask."""

_LINGER_BYTES, _LINGER_SECONDS = 64 * 2**20, 2.0
"""Of a refused body that are read and thrown away, so that the client reads the refusal."""

_SAFETY = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
]

_READABLE_BY = b"access-control-allow-origin"


class Guard:
    """The outermost application of ASGI.

    Args:
        app: what answers.
        token: that must be told, or `None`.
        metrics: where requests are counted.
        known: the addresses that there are; others are counted as one.
        log: told each request in a line, or `None`.
        origins: pages of which other addresses may ask; `*` for all.
        crowded: tells whether there are more connections than allowed.
    """

    def __init__(
        self, app: App, *, token: str | None, metrics: Metrics, known: frozenset[str],
        log: Callable[[str], None] | None, origins: Sequence[str], crowded: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._app, self._metrics, self._known, self._log = app, metrics, known, log
        self._token = token.encode() if token is not None else None
        self._crowded = crowded
        self._origins = frozenset(origin.encode() for origin in origins)
        self._safety = _SAFETY[:-1] if origins else _SAFETY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._headers_for(scope))
        started = time.perf_counter()
        try:
            if scope["path"] not in HEALTH and self._crowded():
                await exchange.refuse(_CROWDED)
            elif self._token is not None and not self._may(scope):
                await exchange.refuse(_NO_TOKEN)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except BaseException:
            exchange.status = exchange.status or 500
            raise
        finally:
            self._note(scope, exchange, time.perf_counter() - started)

    def _headers_for(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Return what each answer has, so that pages which may ask can read refusals, too."""
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        if origin is None:
            return self._safety
        if b"*" in self._origins:
            return [*self._safety, (_READABLE_BY, b"*")]
        if origin in self._origins:
            return [*self._safety, (_READABLE_BY, origin), (b"vary", b"Origin")]
        return self._safety

    def _may(self, scope: Scope) -> bool:
        """Whether the request has the token, where it needs one.

        How long the comparison takes tells nothing of the token but its length.
        """
        if scope["path"] in OPEN:
            return True
        if scope["method"] == "OPTIONS":
            return True  # what browsers ask before they send the token
        for name, value in scope["headers"]:
            if name == b"authorization":
                scheme, _, given = value.partition(b" ")
                return scheme.lower() == b"bearer" and hmac.compare_digest(
                    given.strip(), self._token
                )
        return False

    def _note(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        status = exchange.status or 499
        path = scope["path"] if scope["path"] in self._known else "other"
        self._metrics.request(path, status, seconds)
        if self._log is not None:
            pictures = scope["state"].get("pictures")
            told = f" {pictures} picture{'s' * (pictures != 1)}" if pictures else ""
            client = scope["client"][0] if scope.get("client") else "-"
            address = scope.get("raw_path", b"").decode("ascii", "backslashreplace")[:200]
            self._log(
                f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {client} {scope['method']} {address} {status}"
                f"{told} {1000 * seconds:.1f} ms"
            )


_NO_TOKEN = Refusal(
    401, "This server wants a token: send the header `Authorization: Bearer TOKEN`."
)

_CROWDED = Refusal(503, "There are too many connections already; ask again in a second.")


class _Exchange:
    """A request and its answer, as they go by.

    Attributes:
        status: of the answer, once it has begun.
    """

    __slots__ = ("_receive", "_safety", "_send", "_unread", "status")

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, safety: list[tuple[bytes, bytes]]
    ) -> None:
        self._receive, self._send, self._safety = receive, send, safety
        self.status: int | None = None
        self._unread = any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in scope["headers"]
        )

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            given = {name for name, _ in headers}
            headers += [pair for pair in self._safety if pair[0] not in given]
            if self._unread and b"connection" not in given:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif self._unread and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await discard_body(self.receive, _LINGER_BYTES, _LINGER_SECONDS)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error."""
        body = refusal.body()
        await self.send({
            "type": "http.response.start", "status": refusal.status,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()), *refusal.headers(),
                *([(b"connection", b"close")] if refusal is _CROWDED else []),
            ],
        })  # fmt: skip
        await self.send({"type": "http.response.body", "body": body})
