"""A worker behind a guard, whose stdin, stdout and stderr are here, whatever lies between."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Literal

from hornbeam.cluster.guard import PULSE
from hornbeam.cluster.starting.starter import SAVED, Host, Told, Worker

_REST = 5.0
"""Seconds for the last lines to come after the end of the process."""


class GuardedWorker(Worker):
    """A local guard, or an ssh that runs one elsewhere."""

    def __init__(
        self,
        rank: int,
        host: Host,
        command: Sequence[str],
        environment: Mapping[str, str],
        told: Told,
    ) -> None:
        self.host = host
        self.rank = rank
        # In a session of its own: Ctrl-C is for the supervisor, which tells all workers in order.
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(
                target=_read, args=(self._process.stdout, "stdout", told), daemon=True
            ),
            threading.Thread(
                target=_read, args=(self._process.stderr, "stderr", told), daemon=True
            ),
        ]
        for reader in self._readers:
            reader.start()
        threading.Thread(target=self._pulse, daemon=True).start()

    @property
    def pid(self) -> int:
        """Number of the process here: the guard, or ssh."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, once all that it printed was told."""
        code = self._process.poll()
        if code is None:
            return None
        for reader in self._readers:
            reader.join(_REST)
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        # A guard has an exit code even where the worker was killed.
        return 128 - code if 128 < code < 193 and code not in SAVED else code

    def save(self) -> None:
        """Ask for a checkpoint."""
        self._say("USR1")

    def terminate(self) -> None:
        """Ask it to save and end."""
        self._say("TERM")

    def kill(self) -> None:
        """End it at once; the guard ends with it, and ssh with the guard."""
        self._say("KILL")
        # Where the connection hangs; a guard that lives notices that it is gone.
        giving_up = threading.Timer(_REST, self._process.kill)
        giving_up.daemon = True
        giving_up.start()

    def _say(self, word: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()

    def _pulse(self) -> None:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PULSE)
                return
            self._say("")


def _read(stream: IO[bytes], name: Literal["stdout", "stderr"], told: Told) -> None:
    with stream:
        for line in stream:
            told(name, line.decode(errors="replace").rstrip("\r\n"))
