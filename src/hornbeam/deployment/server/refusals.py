"""Why a request gets no answers: a status of HTTP, and one sentence."""

from __future__ import annotations

import json


class Refusal(Exception):  # noqa: N818 - most are no errors of the server
    """A request is not answered.

    Attributes:
        status: of HTTP, see `REASONS`.
        sentence: what is wrong, and what to do.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return what the status obliges to, in lower case."""
        return _HEADERS.get(self.status, [])

    def body(self) -> bytes:
        """Return the sentence as JSON; see `schemas.Problem`."""
        return json.dumps({"error": self.sentence}).encode()


_HEADERS = {
    401: [(b"www-authenticate", b'Bearer realm="hornbeam"')],
    408: [(b"connection", b"close")],
    429: [(b"retry-after", b"1")],
    503: [(b"retry-after", b"1")],
}

REASONS = {
    400: "The request is not HTTP as it should be.",
    401: "The token is missing or another one.",
    403: "Only who has a token may do this, and the server was started without one.",
    404: "There is nothing at this address.",
    405: "The address takes other methods, which the header `Allow` names.",
    408: "The request did not come whole in time.",
    409: "The new bundle is refused; the one before serves on.",
    413: "The request has too many bytes.",
    415: "The media type, or the encoding of the content, is none of those that are taken.",
    422: "There is no picture, there are too many, one alone cannot be read, or another part is wrong.",
    429: "Too many pictures wait already; ask again after `Retry-After` seconds.",
    500: "The model, or the server, failed; its log says more.",
    503: "The answer did not come in time, or the server is stopping.",
}
"""What each status means here, for the description of the addresses."""


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""
