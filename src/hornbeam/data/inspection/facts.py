"""What one look at each picture tells: format, size, fault, fingerprints, light and sharpness.

Each picture is read and decoded once, by several threads; what was found is remembered below
`remote.cache_directory()` until the file's size or time changes, so that a second `check` or `train`
of the same pictures decodes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam import console
from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection.measures import FACT, note_header, note_pixels
from hornbeam.data.inspection.memory import Memory, Stamp, Stamps, has_files
from hornbeam.errors import DataError

_AT_ONCE = 32
"""Pictures that a thread takes at a time."""


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known of each picture of a dataset, in the order of its rows.

    Attributes:
        rows: structured array `[pictures]` of `FACT`.
        faults: why each picture cannot be used, without its name; empty for a good one.
        read: how many were read now; the others were remembered.
    """

    rows: NDArray[np.void]
    faults: list[str]
    read: int

    def digests(self) -> list[str]:
        """Return the BLAKE2b digest of every picture, 32 hexadecimal digits."""
        return self.rows["digest"].astype("U32").tolist()  # type: ignore[no-any-return]

    def good(self) -> NDArray[np.bool_]:
        """Return which pictures can be used."""
        return np.array([not fault for fault in self.faults], bool)


class _Look(NamedTuple):
    fact: NDArray[np.void]
    fault: str
    lasting: bool  # the verdict depends on the bytes alone


def gather(dataset: Dataset, threads: int, *, cache: bool = True) -> Facts:
    """Look at every picture once.

    Args:
        dataset: of any kind. Pixels that a user's own reader gives are looked at, not remembered.
        threads: pictures decoded at a time.
        cache: whether to use what is remembered, and to remember.
    """
    count = len(dataset)
    rows = np.zeros(count, FACT)
    faults = [""] * count
    stamps = Stamps(dataset) if cache and has_files(dataset) else None
    memory = Memory.load(dataset) if stamps else None
    fresh: list[tuple[Stamp, int]] = []

    def examine(chunk: range) -> int:
        read = 0
        for row in chunk:
            stamp = stamps.of(row) if stamps else None
            known = memory.find(stamp) if memory and stamp else None
            if known is not None:
                rows[row], faults[row] = known
                continue
            look = _look(dataset, row)
            rows[row], faults[row] = look.fact, look.fault
            read += 1
            if stamp and look.lasting and stamp.settled:
                fresh.append((stamp, row))
        return read

    chunks = [range(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)]
    read = 0
    with contextlib.ExitStack() as stack:
        if memory:
            # Also after Ctrl-C: an hour of looking is not lost.
            stack.callback(lambda: memory.extend(fresh, rows, faults))
        pool = stack.enter_context(_pool(threads))
        advance = stack.enter_context(console.progress("looking at pictures", count))
        for chunk, done in zip(chunks, pool.map(examine, chunks), strict=True):
            read += done
            advance(len(chunk))
    return Facts(rows, faults, read)


@contextlib.contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _look(dataset: Dataset, row: int) -> _Look:
    fact = np.zeros((), FACT)
    try:
        data = dataset.read(row)
    except DataError as error:
        return _Look(fact, _reason(dataset, row, error), False)
    content = data if isinstance(data, bytes) else data.tobytes()
    fact["digest"] = hashlib.blake2b(content, digest_size=16).hexdigest().encode()
    fact["size"] = len(content)
    if isinstance(data, bytes):
        note_header(fact, data)
    try:
        pixels = dataset.decode(row, data)
    except DataError as error:
        return _Look(fact, _reason(dataset, row, error), True)
    note_pixels(fact, pixels)
    return _Look(fact, "", True)


def _reason(dataset: Dataset, row: int, error: DataError) -> str:
    """Return the sentence without the picture's name, which is not the same everywhere."""
    return str(error).removeprefix(f"{dataset.name(row)}: ")
