"""On which hosts a training goes on after one was lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from hornbeam.cluster.starting.starter import Host

WAIT = 30.0
"""Seconds for which a host that does not answer may come back."""

_PAUSE = 2.0


def unreachable(hosts: Sequence[Host], reachable: Callable[[Host], str | None]) -> dict[str, str]:
    """Return why hosts do not answer, by the names of those that do not; all are asked side by side."""
    with ThreadPoolExecutor(64) as pool:
        reasons = list(pool.map(reachable, hosts))
    return {host.name: why for host, why in zip(hosts, reasons, strict=True) if why is not None}


def largest_world(answering: Sequence[Host], least: int, batch_size: int) -> list[Host]:
    """Return as many hosts, from the first on, as divide the batch; none where `least` cannot be had.

    Example:
        >>> hosts = [Host(name, name) for name in "abcd"]
        >>> len(largest_world(hosts, 1, 32)), len(largest_world(hosts[:3], 1, 32))
        (4, 2)
    """
    for count in range(len(answering), least - 1, -1):
        if batch_size % count == 0:
            return list(answering[:count])
    return []


def wait_for(
    hosts: Sequence[Host], least: int, batch_size: int, reachable: Callable[[Host], str | None],
    left_out: Collection[str] = (), wait: float = WAIT, stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[Host], dict[str, str]]:  # fmt: skip
    """Return the hosts to go on with, and why the others do not answer.

    Args:
        hosts: of the training, the head first.
        least: hosts that are enough; as many as there are where all are needed.
        batch_size: that they must divide.
        reachable: says why a host does not answer.
        left_out: names of hosts that are not to be asked.
        wait: seconds for which too few may become enough.
        stopped: whether somebody wants the waiting to end.
    """
    end = time.monotonic() + wait
    while True:
        missing = unreachable([host for host in hosts if host.name not in left_out], reachable)
        answering = [h for h in hosts if h.name not in missing and h.name not in left_out]
        # Without the head there is neither the run nor an address at which to meet.
        chosen = [] if hosts[0] not in answering else largest_world(answering, least, batch_size)
        if chosen or stopped() or time.monotonic() > end:
            return chosen, missing
        time.sleep(_PAUSE)
