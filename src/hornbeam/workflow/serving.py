"""`hornbeam serve`: a bundle answers over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable

import uvicorn

from hornbeam import backend, console
from hornbeam.config import ServeOptions
from hornbeam.deployment.server.app import Server
from hornbeam.deployment.server.connections import bounded
from hornbeam.deployment.server.sockets import listen, open_socket
from hornbeam.deployment.server.stopping import Hup, SignalledServer
from hornbeam.deployment.server.swapping import Served, Shelf, open_bundle, signature
from hornbeam.errors import HornbeamError

_BACKLOG = 2048
"""Connections that the system holds until they are taken."""


def serve(options: ServeOptions) -> int:
    """Answer until a signal ends it; return 0 if all that was accepted was answered."""
    hup = Hup()
    threads = options.threads or backend.cores()
    # Bound first: nobody should wait for a model to hear that the port is in use.
    with hup.noted(), open_socket(options.host, options.port, options.reuse_port) as listener:
        served = open_bundle(options, threads)
        listen(listener, options.host, options.port, _BACKLOG)
        if options.secret() is None and not _is_loopback(listener):
            console.warn(
                f"everybody who reaches {options.host} may ask; set $HORNBEAM_TOKEN to demand a token."
            )
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(options, threads, served, listener, hup))


async def _serve(
    options: ServeOptions, threads: int, served: Served, listener: socket.socket, hup: Hup
) -> int:
    """See `serve`; here with a loop."""
    _log_errors()
    shelf = Shelf(options, threads, served)
    server = Server(
        options, shelf, threads, _say if options.access_log else None,
        lambda: len(listening.server_state.connections),
    )  # fmt: skip

    async def reload() -> None:
        with contextlib.suppress(HornbeamError):
            await server.reload()
        _say(_told(shelf))

    tasks: set[asyncio.Task[None]] = set()

    def on_hup() -> None:
        tasks.add(task := asyncio.create_task(reload()))
        task.add_done_callback(tasks.discard)

    def on_stop() -> None:
        server.stopping = True
        _say(f"{listening.stopped_by}: stopping; {server.pipeline.waiting} pictures wait.")

    listening = SignalledServer(
        uvicorn.Config(
            server.app, http=bounded(options.read_timeout, options.max_connections), ws="none",
            lifespan="off", backlog=_BACKLOG,
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_keep_alive=options.keep_alive,
            timeout_graceful_shutdown=options.stop_timeout,
        ),
        on_ready=lambda: _say(
            f"Serving {served.identity} ({served.predictor.format}) at {_address(listener)}"
        ),
        on_stop=on_stop, on_hup=on_hup, hup=hup, on_end=server.pipeline.end, drain=options.drain,
        write_seconds=options.write_timeout,
    )  # fmt: skip
    if options.watch:
        tasks.add(asyncio.create_task(_watch(options, shelf, reload)))
    try:
        await listening.serve([listener])
    finally:
        for task in tasks:
            task.cancel()
    if listening.cut:
        when = (
            "at the second signal" if listening.force_exit else f"after {options.stop_timeout:g} s"
        )
        _say(f"Stopped; {listening.cut} requests were cut {when}.")
        return 1
    _say("Stopped; all requests that were accepted are answered.")
    return 0


async def _watch(options: ServeOptions, shelf: Shelf, reload: Callable[[], object]) -> None:
    """Take up what is at the bundle's path whenever it changes, and has stopped changing.

    What was refused is tried again when it has changed once more: a copy may have paused.
    """
    seen = shelf.tried
    while True:
        await asyncio.sleep(options.poll)
        now = await asyncio.to_thread(signature, options.bundle)
        if now is not None and now == seen and now != shelf.tried:
            await reload()  # type: ignore[misc]
        seen = now


def _told(shelf: Shelf) -> str:
    """Say what came of a reload."""
    if shelf.error is not None:
        return f"Reload: refused, {shelf.served.identity} serves on: {shelf.error}"
    return f"Reload: {shelf.served.identity} ({shelf.served.predictor.format}) serves now"


def _say(line: str) -> None:
    """Print a line at once; names in it may hold what breaks lines, or cannot be written."""
    if sys.stdout is None:  # it was closed before the start
        return
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    encoding = sys.stdout.encoding or "utf-8"
    with contextlib.suppress(OSError):  # who reads the log has left; those who ask have not
        sys.stdout.write(plain.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()


def _log_errors() -> None:
    """Let uvicorn tell errors of ours, with traceback, on stderr; and no more."""
    logger = logging.getLogger("uvicorn.error")
    logger.handlers = [logging.StreamHandler()]
    logger.propagate = False
    logger.setLevel(logging.ERROR)
    # A damaged form is the client's matter, and told to it.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
