"""Files at remote addresses (`http://`, `https://`, `s3://`, `gs://`, …), through fsspec.

What was read once is kept in the local cache and not asked for again. What fails for a moment is
tried again; what hangs is given up. fsspec and its file systems are imported only for an address.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hornbeam.errors import DataError, ResourceError
from hornbeam.storage import write_bytes

_ADDRESS = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")

_ATTEMPTS = 4
_FIRST_PAUSE = 0.5
"""Seconds before the second attempt; each pause is twice the one before."""

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What has nothing to do with the file: under `--on-bad skip` good pictures would be left out."""

_EXTRAS = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
}


def is_remote(location: Path | str) -> bool:
    """Whether this is an address such as `s3://bucket/photos`, and not a path."""
    return isinstance(location, str) and bool(_ADDRESS.match(location))


def join(root: Path | str, path: str) -> str:
    """Return where `path` is: itself if it is an address or absolute, else below `root`."""
    if is_remote(path):
        return path
    if is_remote(root):
        return f"{str(root).rstrip('/')}/{path}"
    return os.path.join(root, path) if root != Path() else path


def absolute(location: str) -> str:
    """Return a path from the root of the file system; an address as it is."""
    return location if is_remote(location) else os.path.abspath(location)


def parent(location: str) -> str:
    """Return the address of the folder that holds a remote file."""
    return location.rstrip("/").rpartition("/")[0]


def cache_directory() -> Path:
    """Return where Hornbeam keeps what it can make or fetch again.

    `$HORNBEAM_CACHE`, else `$XDG_CACHE_HOME/hornbeam`, else `~/.cache/hornbeam`.
    """
    own = os.environ.get("HORNBEAM_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hornbeam"


def read_bytes(location: str, *, cached: bool = True) -> bytes:
    """Return the bytes of a file.

    Args:
        location: a path, or a remote address.
        cached: whether a remote file may come from the local cache, and is put there.

    Raises:
        DataError: it is gone or cannot be read; the message names it.
        ResourceError: the system has no more files or memory to give.
    """
    if is_remote(location):
        return local_copy(location).read_bytes() if cached else _fetch(location)
    try:
        # A Path a picture costs a tenth of its decoding, and a buffer half of reading it.
        with open(location, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise ResourceError(
                f"{location}: {error.strerror}. Raise the limit (ulimit), or give fewer --threads."
            ) from None
        raise DataError(f"{location}: the file cannot be read ({error.strerror}).") from None


def local_copy(location: str, version: str = "") -> Path:
    """Return a local file with the bytes of a remote one, fetched if it is not in the cache.

    Args:
        location: a remote address.
        version: what changes with the content (an ETag, a date), where it is known.
    """
    key = hashlib.blake2b(f"{location}\n{version}".encode(), digest_size=16).hexdigest()
    path = cache_directory() / "remote" / key[:2] / key[2:]
    if not path.is_file():
        content = _fetch(location)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    return path


def list_files(location: str) -> list[str]:
    """Return the paths of all files below a remote folder, relative to it, with `/`.

    Raises:
        DataError: it cannot be listed.
    """
    system, root = _file_system(location)
    found = _patiently(location, lambda: system.find(root))
    prefix = root.rstrip("/") + "/"
    return sorted(path.removeprefix(prefix) for path in found)


def glob_files(pattern: str) -> list[str]:
    """Return the addresses that match a remote pattern, such as `s3://bucket/train-*`."""
    system, inside = _file_system(pattern)
    found = _patiently(pattern, lambda: system.glob(inside))
    return sorted(str(system.unstrip_protocol(path)) for path in found)


def exists(location: str) -> bool:
    """Whether there is a file at a remote address."""
    system, inside = _file_system(location)
    return bool(_patiently(location, lambda: system.exists(inside)))


def _fetch(location: str) -> bytes:
    system, inside = _file_system(location)
    return bytes(_patiently(location, lambda: system.cat_file(inside)))


def _timeout() -> float:
    """Seconds that a server may be silent (`$HORNBEAM_TIMEOUT`)."""
    return float(os.environ.get("HORNBEAM_TIMEOUT", "30"))


def _file_system(location: str) -> tuple[Any, str]:
    scheme = location.partition("://")[0].lower()
    with _explained(location, scheme):
        system = _open_file_system(scheme, _timeout())
        return system, system._strip_protocol(location)


@functools.lru_cache(maxsize=8)
def _open_file_system(scheme: str, timeout: float) -> Any:
    import fsspec

    options: dict[str, Any] = {}
    if scheme in ("http", "https"):
        import aiohttp

        limits = aiohttp.ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)
        options["client_kwargs"] = {"timeout": limits}
    elif scheme in ("s3", "s3a"):
        # Attempts are counted here, for all systems alike.
        options["config_kwargs"] = {
            "connect_timeout": timeout, "read_timeout": timeout, "retries": {"max_attempts": 1},
        }  # fmt: skip
    return fsspec.filesystem(scheme, **options)


@contextlib.contextmanager
def _explained(location: str, scheme: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        package = _EXTRAS.get(scheme, "its fsspec package")
        raise DataError(
            f"{location}: addresses of {scheme}:// need {package}; pip install 'hornbeam[remote]'."
        ) from None
    except ValueError as error:
        raise DataError(f"{location}: {error}.") from None


def _patiently(location: str, action: Any) -> Any:
    """Do it; after a failure that may pass, pause and do it again."""
    pause = _FIRST_PAUSE
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return action()
        except Exception as error:  # each file system has its own kinds
            if attempt == _ATTEMPTS or _is_final(error):
                raise DataError(f"{location}: {_reason(error)}.") from None
            time.sleep(pause)
            pause *= 2
    raise AssertionError("unreachable")


def _is_final(error: Exception) -> bool:
    """Whether trying again cannot help: it is not there, or we may not have it."""
    if isinstance(error, (FileNotFoundError, PermissionError, NotImplementedError)):
        return True
    status = getattr(error, "status", None)
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return True
    return status is not None and 400 <= int(status) < 500 and int(status) not in (408, 425, 429)


def _reason(error: Exception) -> str:
    import asyncio

    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return f"access is refused ({' '.join(str(error).split()) or 'no permission'})"
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)) or "Timeout" in type(error).__name__:
        return (
            f"the server did not answer within {_timeout():g} s, {_ATTEMPTS} times "
            "(HORNBEAM_TIMEOUT sets the seconds)"
        )
    text = " ".join(str(error).split()) or type(error).__name__
    return f"it could not be fetched ({text})"
