"""The port that the server listens on."""

from __future__ import annotations

import socket

from hornbeam.errors import HornbeamError


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
