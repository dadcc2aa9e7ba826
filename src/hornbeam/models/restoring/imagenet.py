"""Keras' own ImageNet weights, fetched or found, without waiting for long where there is no network."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hornbeam.errors import ConfigError, ModelError

_PATIENCE = 4.0
"""Seconds to wait for the server of the ImageNet weights."""


@contextlib.contextmanager
def imagenet_download(constructor: str, wanted: bool = True) -> Iterator[None]:
    """Let Keras fetch or find its ImageNet weights inside this block, without waiting for long.

    Keras keeps what it fetched and needs no network for it. Where its server cannot be reached, a
    download fails at once rather than after minutes.

    Args:
        constructor: of the network in `keras.applications`.
        wanted: whether there is anything to fetch; otherwise the block is left alone.

    Raises:
        ModelError: the weights are not here and cannot be fetched.
    """
    if not wanted:
        yield
        return
    url = _weights_url(constructor)
    # Behind a proxy a direct connection tells nothing; the socket's time limit must do.
    online = "https" in urllib.request.getproxies() or _is_reachable(urlsplit(url).hostname or "")
    earlier = socket.getdefaulttimeout()
    opener = urllib.request._opener  # type: ignore[attr-defined]
    try:
        socket.setdefaulttimeout(4 * _PATIENCE)
        if not online:
            urllib.request.install_opener(_Offline())
        yield
    except Exception as error:
        # Keras wraps the cause in an Exception of its own, with the address in it.
        if isinstance(error, ConfigError) or "URL fetch failure" not in str(error):
            raise
        raise ModelError(
            "The ImageNet weights are not on this machine and cannot be fetched "
            f"({urlsplit(url).hostname} is out of reach); copy them from another machine to "
            f"{_cache() / 'models'}, or pass --weights FILE or --weights none."
        ) from None
    finally:
        socket.setdefaulttimeout(earlier)
        urllib.request._opener = opener  # type: ignore[attr-defined]


class _Offline(urllib.request.OpenerDirector):
    def open(self, *arguments: Any, **options: Any) -> Any:
        raise urllib.error.URLError("out of reach")


def _cache() -> Path:
    import os

    home = os.environ.get("KERAS_HOME")
    return Path(home) if home else Path.home() / ".keras"


def _weights_url(constructor: str) -> str:
    import inspect

    import keras

    module = inspect.getmodule(getattr(keras.applications, constructor))
    for name, value in sorted(vars(module).items()):
        if name.endswith("_PATH") and isinstance(value, str) and "://" in value:
            return value
    return ""


def _is_reachable(host: str) -> bool:
    """Whether a server answers in a few seconds; in a thread, as looking up a name has no timeout."""
    answer: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, 443), timeout=_PATIENCE).close()
            answer.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(answer)
