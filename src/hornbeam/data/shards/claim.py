"""Whose a directory of shards is: of one source and one set of options, written by one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hornbeam import storage
from hornbeam.data.shards.shard import disk_sentence
from hornbeam.errors import ConfigError, DataError
from hornbeam.options import flag

SETTINGS = "prepare.json"
"""What the pictures are prepared from, and how."""

PARTS = "index"
"""Folder of the index of each shard. Not beside the shards, where `train-*` would match it."""


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Note the settings in the directory, or compare them with those noted there."""
    path = out / SETTINGS
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; give a directory for the shards.")
    if not path.exists():
        if out.is_dir() and any(not entry.name.startswith(".part-") for entry in out.iterdir()):
            raise ConfigError(
                f"{out} is not empty, and not a directory of `hornbeam prepare`; give another one."
            )
        with full_disk_explained(out):
            out.mkdir(parents=True, exist_ok=True)
            storage.write_json(path, settings)
        return
    try:
        before = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read; remove {out} and prepare it again.") from None
    differing = [_difference(name, before, settings) for name in settings
                 if before.get(name) != settings[name]]  # fmt: skip
    if differing:
        raise ConfigError(
            f"{out} was prepared in another way: {'; '.join(differing)}. Give the same options and "
            "pictures, or another directory."
        )


def release(out: Path) -> None:
    """Forget the settings of a directory with nothing else: mended pictures may then be put there."""
    # What is hidden is the lock, and what `prepare` sweeps.
    kept = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    if kept == {SETTINGS, PARTS} and not any((out / PARTS).iterdir()):
        (out / SETTINGS).unlink()
        (out / PARTS).rmdir()


def _difference(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    if name == "source":
        return "from other pictures, labels or splits"
    if name == "version":
        return "by another version of Hornbeam"
    then, new = (json.dumps(v[name]) if v.get(name) is not None else "none" for v in (before, now))
    return f"{flag(name)} was {then} and is {new}"


@contextlib.contextmanager
def locked(out: Path, part: int, parts: int) -> Iterator[None]:
    """Keep a second process with the same part out; the system unlocks when this one dies."""
    path = out / f".lock-{part + 1}-of-{parts}"
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another `hornbeam prepare` is writing to {out} now; wait for its end."
            ) from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_explained(out: Path) -> Iterator[None]:
    """Say what a failure to write there means."""
    try:
        yield
    except OSError as error:
        raise DataError(disk_sentence(out, error)) from None
