"""How long models take, one after the other and again: what slows the machine slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

_LONGEST = 1.0
"""Seconds that each call gets in all."""

_ROUNDS = (5, 50)
"""Fewest and most of them."""


def seconds_by_turns(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """Return the median time of each call in seconds, after two to warm up.

    Args:
        calls: made by turns, so that none has the quieter minute of a busy machine.
    """
    for call in calls:
        call()
        call()
    taken: list[list[float]] = [[] for _ in calls]
    least, most = _ROUNDS
    while len(taken[0]) < least or (
        len(taken[0]) < most and sum(map(sum, taken)) < _LONGEST * len(calls)
    ):
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in taken]
