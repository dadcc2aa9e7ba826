"""An artifact is asked about the held-out pictures, in its own runtime, and its time is taken."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.contract.agreement import Answers
from hornbeam.deployment.runtimes.runtime import Runtime

_BATCH = 32
_REPETITIONS = 30
_SECONDS = 1.0
"""At most, for the repetitions: a large network is timed well enough by a few."""


def answers_of(
    runtime: Runtime, images: NDArray[np.uint8], features: NDArray[np.float32] | None
) -> Answers:
    """Return the answers to prepared pictures, float32 `[pictures, …]` by output.

    Args:
        runtime: of the artifact.
        images: uint8 `[pictures, height, width, channels]`, which may lie in a file.
        features: the numbers beside them.
    """
    parts = []
    for start in range(0, len(images), _BATCH):
        beside = None if features is None else features[start : start + _BATCH]
        parts.append(runtime.run(np.ascontiguousarray(images[start : start + _BATCH]), beside))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def milliseconds(
    runtime: Runtime, images: NDArray[np.uint8], features: NDArray[np.float32] | None
) -> float:
    """Return the median time of one picture, without its decoding."""
    image, beside = np.ascontiguousarray(images[:1]), None if features is None else features[:1]
    for _ in range(3):
        runtime.run(image, beside)
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(times) < _REPETITIONS and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        runtime.run(image, beside)
        times.append(time.perf_counter() - start)
    return 1000 * median(times)


def not_finite(found: Answers) -> int:
    """Return how many pictures have an answer that is NaN or infinite."""
    bad = [~np.isfinite(values.reshape(len(values), -1)).all(axis=1) for values in found.values()]
    return int(np.logical_or.reduce(bad).sum())


def size_of(files: list[Path]) -> int:
    """Return the bytes of files."""
    return sum(file.stat().st_size for file in files)
