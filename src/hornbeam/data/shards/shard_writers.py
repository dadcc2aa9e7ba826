"""Processes that write whole shards, each one at a time, and end when their parent does.

They import neither Keras nor Grain nor any backend: a process has written its first picture after
0.43 s (median of nine on two cores).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from hornbeam.data.shards.shard import Advance, Encoding, Entry, Job, write_shard
from hornbeam.errors import DataError, HornbeamError

_TOLD_EVERY = 0.2
"""Seconds between two reports of progress."""

_GRACE = 5.0
"""Seconds that a worker gets to end."""


def write_all(
    jobs: Iterable[Job],
    encoding: Encoding,
    workers: int,
    advance: Advance,
    finished: Callable[[Job, list[Entry]], object],
) -> None:
    """Write shards in several processes; with one worker, in this one.

    Args:
        jobs: taken one by one as processes become free.
        encoding: of every picture.
        workers: number of processes.
        advance: is told how many more pictures were done.
        finished: is told of each shard that is whole.

    Raises:
        DataError: as `write_shard`, or a process was killed. No process is left behind.
    """
    if workers <= 1:
        for job in jobs:
            finished(job, write_shard(job, encoding, advance))
        return
    waiting = iter(jobs)
    with _started(workers, encoding) as crew:
        for worker in crew:
            worker.take(next(waiting, None))
        while any(worker.job for worker in crew):
            for connection in wait([worker.connection for worker in crew if worker.job]):
                worker = next(w for w in crew if w.connection is connection)
                message = worker.receive()
                if isinstance(message, int):
                    advance(message)
                elif isinstance(message, Exception):
                    raise message
                else:
                    assert worker.job is not None
                    finished(worker.job, message)
                    worker.take(next(waiting, None))


class _Worker:
    """A process and what it is doing."""

    def __init__(self, encoding: Encoding) -> None:
        # A new interpreter and not a fork: Arrow's and fsspec's threads do not survive one.
        context = multiprocessing.get_context("spawn")
        self.job: Job | None = None
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, encoding), daemon=True)
        with _interrupts_blocked():
            self.process.start()
        theirs.close()

    def take(self, job: Job | None) -> None:
        self.job = job
        if job is not None:
            with contextlib.suppress(OSError):  # it is dead: `receive` says so
                self.connection.send(job)

    def receive(self) -> Any:
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join(_GRACE)
            code, path = self.process.exitcode, self.job and self.job.path
            how = f"was killed (signal {-code})" if code and code < 0 else f"ended (code {code})"
            raise DataError(
                f"A process that wrote {path} {how}; perhaps the memory ran out (--workers takes "
                "fewer). The finished shards are kept, and the same command continues."
            ) from None


@contextlib.contextmanager
def _started(count: int, encoding: Encoding) -> Iterator[list[_Worker]]:
    crew: list[_Worker] = []
    try:
        for _ in range(count):
            crew.append(_Worker(encoding))
        yield crew
    finally:
        for worker in crew:
            worker.connection.close()
            # One that has a job may be far from its end; the others leave by themselves.
            if worker.job is not None:
                worker.process.terminate()
        for worker in crew:
            worker.process.join(_GRACE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    # A process inherits the blocked signal: Ctrl-C goes to all, but only the parent answers. The
    # tracker of `multiprocessing` starts with the first process, and unblocks the signal as it does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, encoding: Encoding) -> None:
    """Write the shards that the parent sends, until it closes the connection."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    # A broken connection is the parent's word that nobody waits any more.
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            job = connection.recv()
            told = _Told(connection)
            try:
                answer: Any = write_shard(job, encoding, told)
            except HornbeamError as error:
                answer = error
            except Exception as error:
                answer = RuntimeError(f"{job.path}: {type(error).__name__}: {error}")
            told.flush()
            connection.send(answer)


class _Told:
    """Sends progress to the parent, now and then."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count, self._due = 0, time.monotonic() + _TOLD_EVERY

    def __call__(self, count: int) -> None:
        self._count += count
        if time.monotonic() >= self._due:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._connection.send(self._count)
        self._count, self._due = 0, time.monotonic() + _TOLD_EVERY


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # the half shard stays under its temporary name, and is swept by the next run
