"""Is every picture readable? Asked before the training, not in its third hour."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

from hornbeam import console
from hornbeam.data.dataset import TRAIN, VALIDATION, Dataset
from hornbeam.errors import DataError, listing

_AT_ONCE = 8192
"""Pictures handed to the threads at a time: each waiting one costs a kilobyte."""


def verify(dataset: Dataset, on_bad: str, threads: int) -> tuple[Dataset, dict[str, str]]:
    """Decode every picture once, as the training will.

    Args:
        dataset: of any kind.
        on_bad: `error` stops at bad pictures; `skip` leaves them out.
        threads: pictures decoded at a time.

    Returns:
        The dataset without bad pictures and with a `digest` column (BLAKE2b of the bytes, 32
        hexadecimal digits), and what is wrong with each bad one: `{path: sentence}`.

    Raises:
        DataError: there are bad pictures and `on_bad` is `error`; or skipping them leaves none, or
            leaves a class without training or validation pictures.
    """

    def examine(row: int) -> tuple[str, str]:
        try:
            data = dataset.read(row)
            dataset.decode(row, data)
        except DataError as error:
            return "", str(error)
        return hashlib.blake2b(data, digest_size=16).hexdigest(), ""

    with (
        ThreadPoolExecutor(max(1, threads)) as pool,
        console.progress("checking pictures", len(dataset)) as advance,
    ):
        digests, faults = [], []
        for start in range(0, len(dataset), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(dataset)))
            for digest, fault in pool.map(examine, rows):
                digests.append(digest)
                faults.append(fault)
                advance(1)

    bad = {dataset.paths[row]: fault for row, fault in enumerate(faults) if fault}
    verified = dataset.with_column("digest", digests)
    if not bad:
        return verified, bad
    if on_bad == "error":
        more = f" ({len(bad) - 1} more bad pictures.)" if len(bad) > 1 else ""
        raise DataError(
            f"{next(iter(bad.values()))}{more} Mend or remove it, or pass --on-bad skip."
        )
    kept = verified.take([row for row, fault in enumerate(faults) if not fault])
    if not len(kept):
        raise DataError(f"None of the {len(dataset)} pictures in {dataset.root} can be read.")
    for task in dataset.tasks:
        for split, counts in kept.counts(task).items():
            empty = [name for name, count in counts.items() if not count]
            if empty and split in (TRAIN, VALIDATION):
                raise DataError(
                    f"{dataset.root}: no readable {split} picture is left of class {listing(empty)}."
                )
    return kept, bad
