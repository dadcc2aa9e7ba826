"""Runs a worker for a supervisor: `python -m hornbeam.cluster.guard [--deadline SECONDS] -- COMMAND…`.

The supervisor holds the other end of stdin and says there, a word a line, what is to be done: USR1,
TERM, KILL, or nothing at all, which only says that it lives. When stdin ends, or stays silent, the
supervisor or the connection is gone: the worker is told to save and end, and is killed after the
deadline. So whoever dies, nothing goes on by itself. It needs the standard library alone and starts at
once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

SILENCE = 60.0
"""Seconds without a word from the supervisor after which it counts as gone; it says one each `PULSE`."""

PULSE = 5.0

_DIES_WITH_PARENT = 1
"""Of Linux' prctl: which signal a process gets when its parent is gone."""


class _Guard:
    """A worker and what is known of its end."""

    def __init__(self, command: Sequence[str], deadline: float) -> None:
        self._deadline = deadline
        self._kill_at: float | None = None
        self._worker = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=_die_with_parent,
        )  # fmt: skip
        assert self._worker.stdout is not None
        assert self._worker.stderr is not None
        self._relays = [
            threading.Thread(target=_relay, args=(stream.fileno(), to), daemon=True)
            for stream, to in ((self._worker.stdout, 1), (self._worker.stderr, 2))
        ]
        for relay in self._relays:
            relay.start()

    def watch(self, woken: int) -> int:
        """Do what is said on stdin until the worker has ended; return its exit code.

        Args:
            woken: a file descriptor that becomes readable at each signal.
        """
        stdin: int | None = 0
        rest, heard = b"", time.monotonic()
        while (code := self._worker.poll()) is None:
            waiting = [woken, *([] if stdin is None else [stdin])]
            ready, _, _ = select.select(waiting, [], [], 0.2 if self._kill_at else 1.0)
            if woken in ready:
                for number in os.read(woken, 512):
                    if number != signal.SIGCHLD:
                        self.send(number)
            if stdin in ready and stdin is not None:
                said = os.read(stdin, 4096)
                heard = time.monotonic()
                *words, rest = (rest + said).split(b"\n")
                for word in filter(None, words):
                    self._obey(word.decode(errors="replace"))
                if not said:
                    stdin = None
                    self.send(signal.SIGTERM)
            elif stdin is not None and time.monotonic() - heard > SILENCE:
                stdin = None
                self.send(signal.SIGTERM)
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                self.send(signal.SIGKILL)
        self._kill_group()  # processes that decoded for it
        for relay in self._relays:
            relay.join(5)
        return code if code >= 0 else 128 - code

    def send(self, number: int) -> None:
        """Pass a signal on to the worker, and count the time from the first that ends it."""
        if number == signal.SIGKILL:
            self._kill_group()
            return
        if number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            number = signal.SIGTERM
            if self._kill_at is None:
                self._kill_at = time.monotonic() + self._deadline
        with contextlib.suppress(ProcessLookupError):
            self._worker.send_signal(number)

    def _obey(self, word: str) -> None:
        number = getattr(signal, f"SIG{word}", None)
        if number is not None:
            self.send(number)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._worker.pid, signal.SIGKILL)


def _die_with_parent() -> None:
    # Who kills this guard, and not the worker, must not leave it behind.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)


def _relay(source: int, target: int) -> None:
    """Pass on what the worker prints; where nobody reads any more it is dropped.

    A worker that wrote into the broken pipe itself would die of it in the midst of saving.
    """
    lost = False
    with contextlib.suppress(OSError):
        while content := os.read(source, 65536):
            while content and not lost:
                try:
                    content = content[os.write(target, content) :]
                except OSError:
                    lost = True


def main(words: Sequence[str]) -> int:
    """Run a worker; return its exit code, or 128 and the number of the signal that killed it."""
    deadline = 30.0
    if words[:1] == ["--deadline"]:
        deadline, words = float(words[1]), words[2:]
    command = list(words[1:])
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        guard = _Guard(command, deadline)
    except OSError as error:
        print(f"hornbeam: {command[0]} cannot be started ({error.strerror}).", file=sys.stderr)
        return 127
    return guard.watch(woken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
