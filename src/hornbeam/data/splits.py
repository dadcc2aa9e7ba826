"""Which pictures train the model and which judge it."""

from __future__ import annotations

import hashlib

import numpy as np

from hornbeam.data.dataset import TRAIN, VALIDATION, Dataset
from hornbeam.data.sources import UNSPLIT
from hornbeam.errors import DataError


def with_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return the dataset with a validation split, made from the training pictures if need be.

    The split is stratified: of each class, `fraction` of the pictures (rounded, at least one). The
    choice depends on the seed and on each path, not on the order or the place of the folder. An
    existing validation split, and the test pictures, stay as they are.

    Args:
        dataset: of any layout.
        fraction: share of the training pictures that judge, between 0 and 1.
        seed: another seed makes another choice.

    Raises:
        DataError: a class has a single training picture.
    """
    if VALIDATION in dataset.splits:
        return dataset
    splits = np.asarray(dataset.table["split"].to_pylist(), dtype=object)
    splits[splits == UNSPLIT] = TRAIN
    task = dataset.tasks[0]
    labels = dataset.labels(task)
    keys = np.array([_key(path, seed) for path in dataset.paths])
    for label, name in enumerate(task.classes):
        rows = np.flatnonzero((labels == label) & (splits == TRAIN))
        if len(rows) < 2:
            raise DataError(
                f"{dataset.root}: class '{name}' has {len(rows)} picture; at least 2 are needed, "
                "one to train and one to validate."
            )
        wanted = min(max(1, round(len(rows) * fraction)), len(rows) - 1)
        splits[rows[np.argsort(keys[rows])][:wanted]] = VALIDATION
    return dataset.with_column("split", splits.tolist())


def _key(path: str, seed: int) -> int:
    digest = hashlib.blake2b(path.encode(), digest_size=8, key=str(seed).encode())
    return int.from_bytes(digest.digest(), "big")
