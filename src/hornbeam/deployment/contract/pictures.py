"""Which pictures calibrate, which ones judge and which ones go with a bundle; and their pixels."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError

_BATCH = 32
_SEED = 0

_JUDGED, _CALIBRATED, _GOLDEN = 1, 2, 3
"""Streams of random numbers, so that who asks for more golden pictures gets the same others."""


class Prepared(NamedTuple):
    """Pictures as the network takes them.

    Attributes:
        images: uint8 `[pictures, height, width, channels]`.
        features: float32 `[pictures, columns]`; `None` where there are none.
    """

    images: NDArray[np.uint8]
    features: NDArray[np.float32] | None

    def part(self, start: int, stop: int) -> Prepared:
        """Return some pictures in a row."""
        beside = None if self.features is None else self.features[start:stop]
        return Prepared(np.ascontiguousarray(self.images[start:stop]), beside)

    @property
    def inputs(self) -> Any:
        """What a Keras model takes."""
        if self.features is None:
            return self.images
        return {"image": self.images, "features": self.features}


def prepare(
    dataset: Dataset, path: Path, *, image_size: tuple[int, int, int], threads: int, **pipeline: Any
) -> Prepared:
    """Decode pictures once, for all formats, into a file that is mapped: 512 of 224 px are 77 MB.

    Args:
        dataset: the pictures.
        path: of the file, `.npy`.
        image_size: see `Loader`.
        threads: pictures decoded at a time.
        **pipeline: see `workflow.judgement.pipeline_of`.

    Raises:
        DataError: the disk has no room for them.
    """
    loader = Loader(dataset, batch_size=_BATCH, image_size=image_size, **pipeline)
    images = _mapped(path, (len(dataset), *image_size))
    batches = loader.batches(0, loader.steps_per_epoch, threads=threads)
    for step, batch in enumerate(batches):
        part = images[step * _BATCH : (step + 1) * _BATCH]
        part[:] = batch.images[: len(part)]
    images.flush()
    features = dataset.feature_values() if dataset.features else None
    return Prepared(images, features)


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Return a new array in a file, whose room is taken at once: a full disk would end the process."""
    size = math.prod(shape)
    try:
        images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        free = shutil.disk_usage(path.parent).free
        raise DataError(
            f"{shape[0]} decoded pictures need {size:,} bytes, and the temporary directory "
            f"{path.parent} has {free:,} free; set TMPDIR to a place with more, or ask for fewer "
            "pictures (--contract-pictures, --calibration-pictures)."
        ) from None
    return images


def rows_to_judge(dataset: Dataset, count: int) -> NDArray[np.int64]:
    """Return the rows of so many pictures, drawn without regard to their classes, in their order."""
    chosen = np.random.default_rng((_SEED, _JUDGED)).permutation(len(dataset))[:count]
    return np.sort(chosen)


def rows_to_calibrate(
    dataset: Dataset, tasks: Sequence[Task], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of training pictures for calibration, and of others to choose by.

    As many of each class as there are, in turn. Where there are few, half of them choose.

    Args:
        dataset: training pictures, and no others.
        tasks: of the model.
        count: of either.
    """
    order = _in_turn(dataset, tasks, _CALIBRATED)
    count = min(count, max(1, len(order) - len(order) // 3))
    return np.sort(order[:count]), np.sort(order[count : 2 * count])


def rows_to_take_along(dataset: Dataset, tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Return all rows in the order in which they are golden: one of each class in turn."""
    return _in_turn(dataset, tasks, _GOLDEN)


def _in_turn(dataset: Dataset, tasks: Sequence[Task], stream: int) -> NDArray[np.int64]:
    """Return all rows: a drawn one of each class, then a second one of each, and so on."""
    order = np.random.default_rng((_SEED, stream)).permutation(len(dataset))
    kinds = _kinds(dataset, tasks)[order]
    by_kind = np.argsort(kinds, kind="stable")
    place = np.empty(len(order), np.int64)
    place[by_kind] = np.arange(len(order)) - np.searchsorted(kinds[by_kind], kinds[by_kind])
    return np.asarray(order[np.lexsort((kinds, place))], np.int64)


def _kinds(dataset: Dataset, tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Return the class of each picture, of the task with most classes; of several marks the rarest."""
    task = max(tasks, key=lambda task: (not task.multi_label, len(task.classes)))
    labels = dataset.labels(task)
    if not task.multi_label:
        return labels.astype(np.int64)
    counts = np.where(labels, labels.sum(axis=0), len(labels) + 1)
    return np.where(labels.any(axis=1), counts.argmin(axis=1), -1).astype(np.int64)
