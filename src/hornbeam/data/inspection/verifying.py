"""Every picture read once before a training, and what cannot be read left out."""

from __future__ import annotations

from hornbeam.data.dataset import TRAIN, VALIDATION, Dataset
from hornbeam.data.inspection.facts import Facts, gather
from hornbeam.errors import DataError, listing


def verify(
    dataset: Dataset, on_bad: str, threads: int, cache: bool = True
) -> tuple[Dataset, dict[str, str]]:
    """Decode every picture once, as the training will.

    Args:
        dataset: of any kind.
        on_bad: `error` stops at bad pictures; `skip` leaves them out.
        threads: pictures decoded at a time.
        cache: whether pictures that were looked at before, and have not changed, are not read again.

    Returns:
        The dataset without bad pictures and with a `digest` column (BLAKE2b of the bytes, 32
        hexadecimal digits), and what is wrong with each bad one: `{path: sentence}`.

    Raises:
        DataError: there are bad pictures and `on_bad` is `error`; or skipping them leaves none, or
            leaves a class without training or validation pictures.
    """
    return sift(dataset, gather(dataset, threads, cache=cache), on_bad)


def sift(dataset: Dataset, facts: Facts, on_bad: str) -> tuple[Dataset, dict[str, str]]:
    """Return what `verify` does, of pictures that were looked at: those with `facts.good()`."""
    faults = [
        f"{dataset.name(row)}: {fault}" if fault else "" for row, fault in enumerate(facts.faults)
    ]
    bad = {dataset.paths[row]: fault for row, fault in enumerate(faults) if fault}
    verified = dataset.with_column("digest", facts.digests())
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
        before = dataset.counts(task)
        for split, counts in kept.counts(task).items():
            # A class of the labels file, or the background, may have had none.
            empty = [n for n, count in counts.items() if before[split][n] and not count]
            if empty and split in (TRAIN, VALIDATION):
                raise DataError(
                    f"{dataset.root}: no readable {split} picture is left of class {listing(empty)}."
                )
    return kept, bad
