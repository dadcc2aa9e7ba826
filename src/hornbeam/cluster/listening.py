"""A port of the head that is open for a moment, so that the others can try to reach it."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator

from hornbeam.cluster.starting.ssh import in_shell, ssh_words
from hornbeam.cluster.starting.starter import Host

_CODE = """import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
"""Listens on the head, if that is another machine, until we close its stdin."""


@contextlib.contextmanager
def listening(head: Host, port: int | None) -> Iterator[tuple[int | None, str | None]]:
    """Listen on the head inside this block; yield the port, or why there is none.

    Args:
        head: this machine or another.
        port: that is wanted; else one that is free.
    """
    if head.here:
        try:
            server = _server(port or 0)
        except OSError as error:
            yield None, f"its port {port} cannot be had: {os.strerror(error.errno or 0)}"
            return
        with server:
            yield server.getsockname()[1], None
        return
    code = in_shell(f"exec python3 -c '{_CODE}' {port or 0}")
    process = subprocess.Popen(
        [*ssh_words(head), code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = process.stdout.readline().strip()
        try:
            # Where nothing was said the probe of the head tells why.
            yield (int(said), None) if said.isdigit() else (None, None)
        finally:
            process.stdin.close()


def _server(port: int) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(("", port), family=family, dualstack_ipv6=both)
