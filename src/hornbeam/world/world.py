"""The processes of one training, and how they agree.

What is computed together goes over JAX' collectives, inside of `fit`. Everything else, such as options,
checkpoints and signals, goes through the key-value store of `jax.distributed`, which needs no device.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from hornbeam.errors import ConfigError, LostPeerError
from hornbeam.world.membership import RAISED_CODES, Membership, local_device, membership

_PIECE = 2**21
"""Bytes of a value in the store; larger ones go in pieces."""

_SWEEP = 1000
"""Turns after which what was shared is removed from the store."""

_FOREVER = 7 * 24 * 3600 * 1000
"""Milliseconds to wait for others, who may read pictures for days. Whose process or host is lost is
found by its missing heartbeats, long before."""

_HEARTBEAT = 30
"""Seconds without a sign of life after which a process counts as lost."""

_LAST_MEETING = 10_000
"""Milliseconds that a process which ends by an error waits for others that end by the same, however busy
the machine is."""

_VAIN_MEETING = 3000
"""The same where it lost another one, which will not come, while the others may."""

_MEETING = 300
"""Seconds until all processes have to be there at the start."""

_COLLECTIVE = 300
"""Seconds that a step on processors waits for the slowest; HORNBEAM_COLLECTIVE_TIMEOUT changes it."""

_SIGNS = ("gloo", "collective", "rendezvous", "coordination", "heartbeat", "nccl", "peer", "barrier",
          "deadline", "unavailable", "socket", "connection")  # fmt: skip
"""One of these words is in what JAX says, as an error of its own type, when another process is lost."""

_CLEAR_SIGNS = ("gloo", "collective", "rendezvous", "coordination service", "heartbeat", "nccl",
                "by peer", "deadline_exceeded")  # fmt: skip
"""One of these is in it where the error is of a plain type, which may be the user's own, too."""

_RAISED_CODES = {1: 201, 2: 202, 3: 203}
"""What a failure of this process' own ends with where $HORNBEAM_RAISED_CODES is set: see `end`."""


class World:
    """The processes of a training.

    Attributes:
        rank: of this one, in `[0, size)`. The first one, 0, writes the run and speaks.
        size: how many there are; 1 = this one is alone, and agrees with itself.
        host: what messages call this machine.
        folders: temporary ones, which `end` removes.
    """

    def __init__(self, rank: int = 0, size: int = 1, host: str = "", client: Any = None) -> None:
        self.rank = rank
        self.size = size
        self.host = host
        self.client = client
        self.folders: list[Path] = []
        self._turns = itertools.count()

    @property
    def first(self) -> bool:
        """Whether this process writes the run and speaks."""
        return self.rank == 0

    def share(self, value: Any = None) -> Any:
        """Return what the first process gives, which JSON can hold, in all of them.

        All must call it, in the same order of such calls.
        """
        if self.size == 1:
            return value
        content = json.dumps(value).encode() if self.first else None
        return json.loads(self.share_bytes(content))

    def share_bytes(self, content: bytes | None) -> bytes:
        """Return what the first process gives, in all of them."""
        if self.size == 1:
            assert content is not None
            return content
        turn = next(self._turns)
        key = f"hornbeam/share/{turn}"
        with lost_peers():
            if turn % _SWEEP == 0:
                self._sweep()
            if self.first:
                assert content is not None
                self._put(key, content)
            else:
                content = self._take(key)
            if len(content) > _PIECE:  # small ones may stay; a barrier for each would cost more
                self._wait(key)
                if self.first:
                    self.client.key_value_delete(key)
            return content

    def gather(self, value: Any) -> list[Any]:
        """Return what each process gives, which JSON can hold, by rank, in all of them."""
        if self.size == 1:
            return [value]
        key = f"hornbeam/gather/{next(self._turns)}"
        with lost_peers():
            self.client.key_value_set_bytes(f"{key}/{self.rank}", json.dumps(value).encode())
            values = None
            if self.first:
                values = [json.loads(self._get(f"{key}/{rank}")) for rank in range(self.size)]
        return list(self.share(values))

    def collect(self, content: bytes) -> list[bytes]:
        """Return what each process gives, by rank, in the first one; nothing in the others.

        It goes through the first process' memory in one piece; for more than some 100 MB call it often.
        """
        if self.size == 1:
            return [content]
        key = f"hornbeam/collect/{next(self._turns)}"
        with lost_peers():
            if not self.first:
                self._put(f"{key}/{self.rank}", content)
                self._wait(key)
                return []
            found = [content]
            for rank in range(1, self.size):
                found.append(self._take(f"{key}/{rank}"))
                self.client.key_value_delete(f"{key}/{rank}")
            self._wait(key)
            return found

    def meet(self) -> None:
        """Wait until all are here."""
        if self.size > 1:
            with lost_peers():
                self._wait(f"hornbeam/meet/{next(self._turns)}")

    def require_same(self, value: Any, what: str, advice: str) -> None:
        """Require that something is the same in all processes.

        Args:
            value: of this one; JSON can hold it.
            what: it is, for the message: "the pictures in photos".
            advice: sentence that says what to do.

        Raises:
            ConfigError: in all processes, with the hosts where it is another.
        """
        if self.size == 1:
            return
        values = self.gather([self.host, value])
        (first, expected), *others = values
        differing = [f"{host} ({rank})" for rank, (host, found) in enumerate(others, 1)
                     if found != expected]  # fmt: skip
        if differing:
            names = ", ".join(differing)
            raise ConfigError(f"{what} on {names} differ from those on {first} (0). {advice}")

    @contextlib.contextmanager
    def parting(self, *ends: type[Exception]) -> Iterator[None]:
        """Part at the end of this block; what follows is the first process' alone.

        Args:
            *ends: errors that all processes have at once; after others they cannot meet.
        """
        try:
            yield
        except ends:
            self._leave()
            raise
        self._leave()

    def _leave(self) -> None:
        if self.size == 1:
            return
        with lost_peers():
            self.meet()
            self.part()

    def part(self) -> None:
        """Be one of several processes no longer; all must do so at about the same time."""
        import jax

        jax.distributed.shutdown()
        self.client = None

    def _sweep(self) -> None:
        """Remove what all have read."""
        self._wait(f"hornbeam/sweep/{next(self._turns)}")
        if self.first:
            self.client.key_value_delete("hornbeam/share/")
            self.client.key_value_delete("hornbeam/gather/")

    def _put(self, key: str, content: bytes) -> None:
        pieces = [content[i : i + _PIECE] for i in range(0, max(1, len(content)), _PIECE)]
        for number, piece in enumerate(pieces):
            self.client.key_value_set_bytes(f"{key}/{number}", piece)
        self.client.key_value_set_bytes(f"{key}/count", str(len(pieces)).encode())

    def _take(self, key: str) -> bytes:
        count = int(self._get(f"{key}/count"))
        return b"".join(self._get(f"{key}/{piece}") for piece in range(count))

    def _get(self, key: str) -> bytes:
        return bytes(self.client.blocking_key_value_get_bytes(key, _FOREVER))

    def _wait(self, key: str) -> None:
        self.client.wait_at_barrier(key, _FOREVER)


_here = World()


def here() -> World:
    """Return the processes that this one has joined; itself alone before `join`."""
    return _here


def join() -> World:
    """Meet the other processes of this training, if it was started as one of several.

    Keras must run on JAX, and neither must have computed anything yet.

    Raises:
        ConfigError: the environment is contradictory, or Hornbeam is another one on some host.
        LostPeerError: not all came.
    """
    global _here

    found = membership(os.environ)
    if found is None or _here.size > 1:
        return _here
    _here = World(found.rank, found.size, found.host, _connect(found))
    _here.require_same(
        _versions(), "Hornbeam, Python, Keras, JAX or NumPy",
        "Install the same versions everywhere; with --hosts, --install does it.",
    )  # fmt: skip
    return _here


def is_worker() -> bool:
    """Whether this process was started as one of several."""
    return membership(os.environ) is not None


def end(code: int) -> int:
    """Return a command's exit code; of several processes, end this one at once.

    Who hears but the highest code of all processes, as from srun, would take a failure of one of them
    for a loss, which is what the others tell (4). With $HORNBEAM_RAISED_CODES failures are higher.

    After an error the others may not come to where JAX would wait for them. If all have it they do come
    here, and none of them is taken for lost.
    """
    told = _RAISED_CODES.get(code, code) if os.environ.get(RAISED_CODES) else code
    if _here.size > 1:
        for folder in _here.folders:
            shutil.rmtree(folder, ignore_errors=True)
        sys.stdout.flush()
        sys.stderr.flush()
        with contextlib.suppress(RuntimeError):
            if _here.client is not None:
                vain = code == LostPeerError.exit_code
                _here.client.wait_at_barrier(
                    "hornbeam/end", _VAIN_MEETING if vain else _LAST_MEETING
                )
                _here.part()  # else JAX would abort those who are still here when the first one is not
        os._exit(told)
    return told


@contextlib.contextmanager
def lost_peers() -> Iterator[None]:
    """Say in one sentence that another process was lost, where JAX says it in its way.

    Raises:
        LostPeerError: in its place.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX raises the first mostly, at times the second
        if _here.size == 1 or not _is_loss(error):
            raise
        _lost(error)


def _is_loss(error: Exception) -> bool:
    from jax.errors import JaxRuntimeError

    said = str(error).lower()
    signs = _SIGNS if isinstance(error, JaxRuntimeError) else _CLEAR_SIGNS
    return any(sign in said for sign in signs)


def _lost(error: Exception) -> NoReturn:
    told = " ".join(str(error).split())
    raise LostPeerError(
        f"Process {_here.rank} of {_here.size} on {_here.host} lost another one, or waited for it in "
        f"vain ({told[:200]}). What was saved before is whole; --resume goes on from there."
    ) from None


def _connect(found: Membership) -> Any:
    import jax

    seconds = os.environ.get("HORNBEAM_COLLECTIVE_TIMEOUT", str(_COLLECTIVE))
    flags = os.environ.get("XLA_FLAGS", "")
    if "collective_timeout" not in flags:
        # Without it processors wait for ever where one process takes fewer steps than another.
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_collective_timeout_seconds={seconds}".strip()
    # It would take SIGTERM, for which `training.signals` agrees on a step.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            found.coordinator, found.size, found.rank, local_device_ids=local_device(os.environ),
            cluster_detection_method="deactivate",
            initialization_timeout=_MEETING, heartbeat_timeout_seconds=_HEARTBEAT,
            shutdown_timeout_seconds=_HEARTBEAT,
        )  # fmt: skip
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise LostPeerError(
            f"Process {found.rank} of {found.size} on {found.host} did not meet the others at "
            f"{found.coordinator} within {_MEETING} seconds ({told[:200]}). Is the port open, and does "
            "that name lead there from every host?"
        ) from None
    from jax._src import distributed  # the store has no public name; Orbax takes it from here too

    return distributed.global_state.client


def _versions() -> dict[str, str]:
    import platform
    from importlib import metadata

    names = ("hornbeam", "keras", "jax", "jaxlib", "numpy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}
