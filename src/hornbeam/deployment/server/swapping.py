"""Another bundle takes the place of the one that serves, once it has proved that it answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbeam.config import ServeOptions
from hornbeam.deployment.bundle.manifest import MANIFEST, Manifest
from hornbeam.deployment.predicting.predictor import Predictor
from hornbeam.errors import BundleError, HornbeamError

Signature = tuple[tuple[str | int, ...], ...] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Served:
    """A bundle that answers.

    Attributes:
        predictor: the bundle, opened, checked and warm.
        identity: its name, and the beginning of a digest of all that its answers depend upon.
        facts: what `/model` tells.
        signature: of its files, before the first of them was opened.
    """

    predictor: Predictor
    identity: str
    facts: dict[str, Any]
    signature: Signature

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers that it takes beside a picture."""
        return self.predictor.manifest.features


def open_bundle(options: ServeOptions, threads: int) -> Served:
    """Open the bundle, check its golden pictures, and warm it up.

    Raises:
        BundleError: it is damaged, cannot be run here, or does not answer as it did.
    """
    before = signature(options.bundle)
    predictor = Predictor(
        options.bundle, format=options.format, threads=threads, batch_size=options.max_batch,
        trust=options.trust, max_pixels=options.max_pixels,
    )  # fmt: skip
    predictor.warm_up()
    manifest = predictor.manifest
    identity = f"{manifest.name}@{_digest(manifest, predictor.format)[:12]}"
    facts = _facts(manifest, predictor.format, options, identity)
    return Served(predictor, identity, facts, before)


def _digest(manifest: Manifest, format: str) -> str:
    """Return what tells bundles apart: the artifact, and all that goes with it, thresholds for one."""
    told = dataclasses.asdict(dataclasses.replace(manifest, max_pixels=0))  # an option here
    return hashlib.sha256(json.dumps([format, told], sort_keys=True).encode()).hexdigest()


def _facts(manifest: Manifest, format: str, options: ServeOptions, identity: str) -> dict[str, Any]:
    told = dataclasses.asdict(manifest)
    artifact = told["artifacts"][format]
    facts = {
        "bundle": identity, "name": manifest.name, "created": manifest.created, "format": format,
        "sha256": artifact["sha256"], "image_size": list(manifest.image_size),
        "resize_mode": manifest.resize_mode, "features": list(manifest.features),
        "tasks": told["tasks"], "groups": told["groups"], "calibration": told["calibration"],
        "abstain": told["abstain"], "unknown": told["unknown"], "contract": artifact["contract"],
        "notes": artifact["notes"], "versions": told["versions"],
        "fingerprints": told["fingerprints"],
        "limits": {
            "bytes": options.max_bytes, "pictures": options.max_pictures,
            "pixels": manifest.max_pixels,
        },
    }  # fmt: skip
    return json.loads(json.dumps(facts, allow_nan=False))  # type: ignore[no-any-return]


class Shelf:
    """The bundle that serves now, and how another takes its place.

    Attributes:
        served: whom the next request asks. Those that wait keep the one that they came to.
        loaded: when, in seconds since 1970.
        error: why the last reload changed nothing; else `None`.
        tried: the signature of the files that were opened last, taken or refused.
    """

    def __init__(self, options: ServeOptions, threads: int, served: Served) -> None:
        self._options, self._threads = options, threads
        self._one_at_a_time = asyncio.Lock()
        self.served = served
        self.loaded = time.time()
        self.error: str | None = None
        self.tried = served.signature

    async def reload(self) -> Served:
        """Open what is at the path now, beside the one that serves; take it if it answers.

        Raises:
            HornbeamError: it does not; the one before serves on.
        """
        async with self._one_at_a_time:
            self.tried = signature(self._options.bundle)
            try:
                new = await _in_daemon(lambda: open_bundle(self._options, self._threads))
            except HornbeamError as error:
                self.error = str(error)
                raise
            except Exception as error:
                # A file that somebody is just writing may fail in any way.
                self.error = f"{type(error).__name__}: {error}"
                raise BundleError(self.error) from error
            self.served, self.loaded, self.error = new, time.time(), None
            self.tried = new.signature
            return new


async def _in_daemon(function: Callable[[], Served]) -> Served:
    """Return what a function returns, in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Served] = loop.create_future()

    def finish(result: Served | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        elif result is not None:
            done.set_result(result)

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=run, name="reload", daemon=True).start()
    return await done


def signature(bundle: Path) -> Signature:
    """Return what changes when any file of a bundle does: path, device, inode, size, time of each."""
    try:
        paths = sorted(bundle.rglob("*")) if bundle.is_dir() else [bundle]
        stats = [(path, path.stat()) for path in paths]
    except OSError:
        return None  # it is being replaced just now
    if bundle.is_dir() and not (bundle / MANIFEST).is_file():
        return None
    return tuple(
        (str(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        for path, found in stats
    )
