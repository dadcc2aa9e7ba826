"""The workers of one attempt: started together, watched, ended together."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from hornbeam.cluster.causes import USAGE, Ended, find_cause
from hornbeam.cluster.logs import Logs
from hornbeam.cluster.requests import Requests
from hornbeam.cluster.starting.starter import SAVED, Host, Starter, Worker
from hornbeam.world import membership

_NOISE = re.compile(r"\[Gloo\]|WARNING: All log messages before absl|I\d{4} \d\d:")
"""Begins lines of libraries that help nobody at the terminal; the logs have them."""

_LOOK_EVERY = 0.05
_SETTLE = 10.0
"""Seconds in which a worker that ended for a reason of its own is noticed after one that missed it."""

_SAME_FAULT = 5.0
"""Seconds in which all ranks find a wrong option."""

_WITHOUT_PEER = 10.0
"""Seconds, at most, for workers that cannot save together any more, because one of them is gone."""


def _place_on(hosts: Sequence[Host], rank: int) -> dict[str, str]:
    """Return which of the workers on its machine one is, where there are several: each takes one GPU."""
    same = [index for index, host in enumerate(hosts) if host == hosts[rank]]
    if len(same) == 1:
        return {}
    return {"HORNBEAM_LOCAL_SIZE": str(len(same)), "HORNBEAM_LOCAL_RANK": str(same.index(rank))}


class Attempt:
    """Workers that train together.

    Args:
        starter_of: how one is started on a host.
        logs: of what they print.
        requests: what signals ask of us.
        deadline: seconds to save.
        look: is called now and then while they run.
        slow_end: seconds that others may take after rank 0 has finished; `None` for any.
    """

    def __init__(
        self, starter_of: Callable[[Host], Starter], logs: Logs, requests: Requests, deadline: float,
        look: Callable[[], None] = lambda: None, *, slow_end: float | None = 120.0,
    ) -> None:  # fmt: skip
        self._starter_of = starter_of
        self._logs = logs
        self._requests = requests
        self._deadline = deadline
        self._look = look
        self._slow_end = slow_end
        self._workers: list[Worker] = []
        self._said: dict[int, str] = {}
        self._ended: list[Ended] = []
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._done_at: float | None = None
        self._asked_at: float | None = None
        self._kill_at: float | None = None

    def run(
        self, hosts: Sequence[Host], words: Sequence[Sequence[str]],
        environment: Mapping[str, str],
    ) -> list[Ended]:  # fmt: skip
        """Run a worker on each host to the end of all; return how they ended, in that order.

        Args:
            hosts: by rank.
            words: of the command of each rank, behind `hornbeam`.
            environment: of all.
        """
        self._workers, self._said, self._ended = [], {}, []
        self._asked_at = self._kill_at = self._failed_at = self._done_at = None
        try:
            for rank, host in enumerate(hosts):
                self._logs.begin(rank, host, f"hornbeam {' '.join(words[rank])}")
                own = {membership.RANK: str(rank), membership.SIZE: str(len(hosts)),
                       membership.HOST: host.name, **_place_on(hosts, rank)}  # fmt: skip
                self._workers.append(self._starter_of(host).start(
                    rank, host, words[rank], {**environment, **own}, self._listener(rank, host)
                ))  # fmt: skip
            while len(self._ended) < len(self._workers):
                self._collect()
                self._steer()
                self._look()
                time.sleep(_LOOK_EVERY)
        except BaseException:
            for worker in self._workers:
                worker.kill()
            raise
        return list(self._ended)

    def _listener(
        self, rank: int, host: Host
    ) -> Callable[[Literal["stdout", "stderr"], str], None]:
        def told(stream: Literal["stdout", "stderr"], line: str) -> None:
            self._logs.write(rank, host, line)
            own = line.startswith("hornbeam: ")
            if stream == "stderr" and line.strip():
                with self._lock:
                    if own or not self._said.get(rank, "").startswith("hornbeam: "):
                        self._said[rank] = line
            # Its last sentence is told by us, with what follows from it.
            if rank == 0 and not (own and stream == "stderr") and not _NOISE.match(line):
                print(line, file=sys.stdout if stream == "stdout" else sys.stderr, flush=True)

        return told

    def _collect(self) -> None:
        """Note who has ended."""
        known = {each.rank for each in self._ended}
        for worker in self._workers:
            if worker.rank in known:
                continue
            code = worker.poll()
            if code is not None:
                said = self._said.get(worker.rank, "")
                asked = self._asked_at is not None
                self._ended.append(Ended(worker.rank, worker.host, code, said, asked))
                now = time.monotonic()
                if code and not asked:
                    self._failed_at = self._failed_at or now
                if code == 0 and worker.rank == 0:
                    self._done_at = now

    def _steer(self) -> None:
        """Pass on what was asked of us, and end all when one is gone."""
        now = time.monotonic()
        if self._requests.take_save():
            for worker in self._running():
                worker.save()
        if self._requests.stop is not None and self._asked_at is None:
            self._ask_to_end(self._deadline + 5)
        if self._requests.take_at_once():
            self._kill_at = min(self._kill_at or now, now)
        cause = find_cause(self._ended)
        if cause is not None and self._asked_at is None and self._is_settled(cause, now):
            together = cause.code in SAVED  # and the others are about to end, too
            self._ask_to_end(self._deadline if together else min(self._deadline, _WITHOUT_PEER))
        over = now - (self._done_at or now)
        if self._slow_end is not None and over > self._slow_end and self._asked_at is None:
            self._ask_to_end(self._deadline)
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = now + 5
            for worker in self._running():
                worker.kill()

    def _is_settled(self, cause: Ended, now: float) -> bool:
        """Whether nobody is likely to have a better reason."""
        waited = now - (self._failed_at or now)
        if cause.code == USAGE and cause.rank != 0:
            # Rank 0 finds it, too, and its sentence is that of one machine.
            return waited > _SAME_FAULT
        return cause.has_own_reason or waited > _SETTLE

    def _ask_to_end(self, seconds: float) -> None:
        self._asked_at = time.monotonic()
        self._kill_at = self._asked_at + seconds
        for worker in self._running():
            worker.terminate()

    def _running(self) -> list[Worker]:
        ended = {each.rank for each in self._ended}
        return [worker for worker in self._workers if worker.rank not in ended]
