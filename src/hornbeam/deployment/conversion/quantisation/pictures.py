"""The training pictures by which integers are fitted and chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import FEATURES, IMAGE
from hornbeam.deployment.conversion.job import Job
from hornbeam.errors import ConfigError

Inputs = dict[str, NDArray[Any]]
"""`image`, uint8 `[pictures, height, width, channels]`, and `features` where there are some."""


def calibration(job: Job) -> Inputs:
    """Return the pictures that ranges are taken from.

    Raises:
        ConfigError: the job has none.
    """
    if job.calibration is None:
        raise ConfigError("Integers need calibration pictures, and this export was given none.")
    return _read(Path(job.calibration), job)


def selection(job: Job) -> Inputs:
    """Return other pictures, on which ways are compared; the same ones where there are no others."""
    return _read(Path(job.selection), job) if job.selection else calibration(job)


BUDGET, FEWEST = 1e11, 48
"""Multiply-adds that a candidate may take on all pictures, 1 to 3 s of two cores, and how many pictures
that must be at least. No clock decides: on a busy machine an export is the same."""


def enough_of(inputs: Inputs, cost: int) -> Inputs:
    """Return the first pictures, fewer of a large network.

    Args:
        inputs: all there are.
        cost: multiply-adds of one picture.
    """
    count = max(FEWEST, int(BUDGET / max(cost, 1)))
    return {name: values[:count] for name, values in inputs.items()}


def _read(path: Path, job: Job) -> Inputs:
    with np.load(path) as content:
        names = (IMAGE, FEATURES) if job.features else (IMAGE,)
        return {name: content[name] for name in names}
