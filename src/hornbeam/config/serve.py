"""Options of the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import SecretStr, model_validator

from hornbeam.config.sentences import TRUST
from hornbeam.options import Names, Options, option, positional

TOKEN = "HORNBEAM_TOKEN"
"""Variable of the environment that may hold the token, which a command line shows to everybody."""

_LONGEST_TOKEN = 1024


class ServeOptions(Options):
    """Let a bundle answer over HTTP: pictures in, calibrated answers out; and a page to try it."""

    bundle: Path = positional("folder or .zip of `hornbeam export`", metavar="BUNDLE")
    host: str = option(
        "127.0.0.1", "address to listen at; 0.0.0.0 = all of this machine's", section="server"
    )
    port: int = option(8000, "port; 0 = one that is free", section="server", ge=0, le=65535)
    reuse_port: bool = option(
        False, "share the port with other processes that were started so", section="server"
    )
    page: bool = option(True, "a page at / to try the model in a browser", section="server")
    access_log: bool = option(True, "a line for each request", section="server")
    watch: bool = option(
        False, "take up a new bundle at the same path by itself; else on SIGHUP or POST /reload",
        section="server",
    )  # fmt: skip
    poll: float = option(
        2.0, "seconds from one look at the bundle to the next, with --watch", section="server", gt=0
    )
    drain: float = option(
        0.0, "seconds for which it still answers after SIGTERM while /readyz says no, so that a load "
        "balancer notices", section="server", ge=0,
    )  # fmt: skip
    stop_timeout: int = option(
        30, "seconds that requests in work are given when it stops", section="server", ge=0
    )
    token: SecretStr | None = option(
        None, f"demand `Authorization: Bearer TOKEN` of clients; better by ${TOKEN}, as everybody on "
        "this machine can read command lines", section="access", metavar="TOKEN",
    )  # fmt: skip
    allow_origin: Names = option(
        (), "web pages of other addresses that may ask, separated by commas, or *", section="access"
    )
    top: int = option(
        5, "classes that are named for each picture, unless ?top says otherwise", section="output",
        ge=1,
    )  # fmt: skip
    max_batch: int = option(32, "pictures per forward pass, at most", section="batches", ge=1)
    max_wait: float = option(
        5.0, "milliseconds that a decoded picture waits for others that are being decoded",
        section="batches", ge=0,
    )  # fmt: skip
    max_bytes: int = option(
        32 * 2**20, "bytes of a request; above it 413", section="limits", ge=1024
    )
    max_memory: int = option(
        512 * 2**20, "bytes of the bodies of all requests that are there at a time; above it 429",
        section="limits",
    )  # fmt: skip
    max_pixels: int = option(
        50_000_000, "pixels (height x width) above which a picture is refused, unread; 422",
        section="limits", ge=1,
    )  # fmt: skip
    max_pictures: int = option(64, "pictures of a request; above it 422", section="limits", ge=1)
    max_queue: int = option(512, "pictures that wait; above it 429", section="limits", ge=1)
    max_connections: int = option(
        1000,
        "connections at a time; above it 503, and 32 above it they are cut",
        section="limits",
        ge=1,
    )
    timeout: float = option(
        30.0, "seconds from the last byte of a request to its answer; after them 503",
        section="limits", gt=0,
    )  # fmt: skip
    read_timeout: float = option(
        30.0, "seconds for the head of a request, and as many for the rest; then the connection is cut",
        section="limits", gt=0,
    )  # fmt: skip
    write_timeout: float = option(
        30.0, "seconds in which a client must take its answers; then the connection is cut",
        section="limits", gt=0,
    )  # fmt: skip
    keep_alive: int = option(
        30, "seconds for which an idle connection is kept", section="limits", ge=1
    )
    format: str | None = option(
        None, "which artifact; else the first whose runtime is installed", section="machine"
    )
    threads: int = option(
        0, "pictures decoded at a time, and threads of the runtime; 0 = one per core",
        section="machine", names=("-j", "--workers"), ge=0,
    )  # fmt: skip
    trust: bool = option(False, TRUST, section="machine")

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.max_pictures > self.max_queue:
            raise ValueError(
                f"--max-pictures {self.max_pictures} cannot be more than --max-queue {self.max_queue}"
            )
        if self.max_memory < self.max_bytes:
            raise ValueError(
                f"--max-memory {self.max_memory} cannot be less than --max-bytes {self.max_bytes}"
            )
        return self

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        token = self.secret()
        if token == "":
            # Whoever sets a token, and gets an empty one from somewhere, must not get an open server.
            raise ValueError(f"--token (or ${TOKEN}) is empty; unset it to let everybody ask")
        if token is not None and not (
            token.isascii() and token.isprintable() and " " not in token
            and 8 <= len(token) <= _LONGEST_TOKEN
        ):  # fmt: skip
            raise ValueError(
                f"--token (or ${TOKEN}) should be 8 to {_LONGEST_TOKEN} characters of ASCII without "
                "spaces"
            )
        return self

    def secret(self) -> str | None:
        """Return the token that clients must know, or `None`."""
        if self.token is not None:
            return self.token.get_secret_value()
        return os.environ.get(TOKEN)
