"""Facts of pictures, remembered until the file changes: a Parquet file for each folder, in the cache."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hornbeam import console
from hornbeam.data.dataset import Dataset, Files
from hornbeam.data.inspection.measures import FACT
from hornbeam.data.remote import cache_directory, is_remote, join, local_copy
from hornbeam.errors import DataError
from hornbeam.storage import write_table

_VERSION = 1
"""Goes up when a fact is computed in another way; older caches are then ignored."""

_OTHERS = 100_000
"""Files that are not in the dataset and still remembered, for another dataset of the same folder."""

_FRESH = 2.0
"""Seconds. A file changed so lately may change again within one tick of its file system's clock (2 s
on FAT, 1 s on NFS), and is not remembered (Git's "racy" entries)."""


class Stamp(NamedTuple):
    """What a file looked like from outside."""

    location: str
    size: int
    time: int  # of the last change, in nanoseconds
    settled: bool


def has_files(dataset: Dataset) -> bool:
    """Whether the pictures lie in files, or records of files, and not in a user's own reader."""
    return isinstance(dataset.reader, Files) or "shard" in dataset.table.column_names


class Stamps:
    """The stamps of a dataset's files, or of the records of its shards."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._sharded = "shard" in dataset.table.column_names
        self._start = time.time_ns()
        self._stat = functools.lru_cache(maxsize=65536)(self._stat_file)

    def of(self, row: int) -> Stamp | None:
        """Return the stamp of a picture; nothing, where there is no such file."""
        if not self._sharded:
            location = self._dataset.location(row)
            return self._stamp(location, location, self._stat_file(location))
        table = self._dataset.table
        shard = join(self._dataset.root, table["shard"][row].as_py())
        return self._stamp(f"{shard}#{table['offset'][row].as_py()}", shard, self._stat(shard))

    def _stamp(self, key: str, location: str, found: os.stat_result | None) -> Stamp | None:
        if found is None:
            return None
        if not is_remote(location):
            # A folder above may have a name that is no UTF-8, which no table can hold.
            key = os.fsencode(os.path.abspath(key)).decode("utf-8", "backslashreplace")
        settled = self._start - found.st_mtime_ns > _FRESH * 1e9
        return Stamp(key, found.st_size, found.st_mtime_ns, settled)

    @staticmethod
    def _stat_file(location: str) -> os.stat_result | None:
        try:
            # A remote file is what the local copy says, which every read uses.
            path = local_copy(location) if is_remote(location) else location
            return os.stat(path)  # noqa: PTH116 - a Path a picture costs a tenth of its decoding
        except (OSError, DataError):
            return None


class Memory:
    """What was found of the pictures below one folder: a Parquet file in the cache."""

    def __init__(self, path: Path, version: bytes, table: pa.Table | None) -> None:
        self._path = path
        self._version = version
        self._table = table
        self._index: dict[str, int] = {}
        self._sizes = self._times = np.zeros(0, np.int64)
        self._rows = np.zeros(0, FACT)
        if table is not None:
            self._index = {name: i for i, name in enumerate(table["location"].to_pylist())}
            self._sizes, self._times = table["size"].to_numpy(), table["time"].to_numpy()
            self._rows = _unpacked(table["fact"])
            self._faults = table["fault"].combine_chunks()

    @classmethod
    def load(cls, dataset: Dataset) -> Memory:
        """Read what is remembered; a file that is damaged or of another version counts as none."""
        root = dataset.root if is_remote(dataset.root) else Path(dataset.root).resolve()
        key = hashlib.blake2b(f"{root}".encode(errors="surrogateescape"), digest_size=16)
        version = _version(dataset.max_pixels)
        path = cache_directory() / "facts" / f"{key.hexdigest()}.parquet"
        try:
            # Not mapped: another process may replace the file meanwhile.
            table = pq.read_table(path, memory_map=False)
            if (table.schema.metadata or {}).get(b"hornbeam") == version:
                return cls(path, version, table)
        except Exception:
            pass  # whatever is wrong with a cache, it can be made again
        return cls(path, version, None)

    def find(self, stamp: Stamp) -> tuple[NDArray[np.void], str] | None:
        """Return what is remembered of a file that has not changed since."""
        index = self._index.get(stamp.location)
        if index is None:
            return None
        if (self._sizes[index], self._times[index]) != (stamp.size, stamp.time):
            return None
        return self._rows[index], self._faults[index].as_py()

    def extend(
        self, fresh: Sequence[tuple[Stamp, int]], rows: NDArray[np.void], faults: Sequence[str]
    ) -> None:
        """Remember more. What was known of other files stays, unless that were most of it."""
        if not fresh:
            return
        chosen = [row for _, row in fresh]
        table = pa.table(
            {
                "location": pa.array([stamp.location for stamp, _ in fresh], pa.string()),
                "size": pa.array([stamp.size for stamp, _ in fresh], pa.int64()),
                "time": pa.array([stamp.time for stamp, _ in fresh], pa.int64()),
                "fault": pa.array([faults[row] for row in chosen], pa.string()),
                "fact": _packed(rows[chosen]),
            }
        )
        if self._table is not None:
            known = pc.is_in(self._table["location"], value_set=table["location"].combine_chunks())
            others = self._table.filter(pc.invert(known))
            if others.num_rows <= max(_OTHERS, 2 * len(rows)):
                table = pa.concat_tables([others, table])
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            metadata = {b"hornbeam": self._version}
            write_table(self._path, table.replace_schema_metadata(metadata))
        except OSError as error:
            console.warn(f"What was found of the pictures cannot be remembered ({error}).")


def _packed(rows: NDArray[np.void]) -> pa.Array:
    """Return facts as an Arrow array of fixed-size bytes."""
    buffer = pa.py_buffer(np.ascontiguousarray(rows).tobytes())
    return pa.Array.from_buffers(pa.binary(FACT.itemsize), len(rows), [None, buffer])


def _unpacked(column: pa.ChunkedArray) -> NDArray[np.void]:
    """Return the facts in an Arrow column."""
    parts = [
        np.frombuffer(chunk.buffers()[1], FACT, len(chunk), chunk.offset * FACT.itemsize)
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, FACT), *parts])


def _version(max_pixels: int) -> bytes:
    """Return what must be equal for facts to be equal: our version, the codecs', the limits."""
    return repr((_VERSION, FACT.descr, max_pixels, cv2.__version__, PIL.__version__)).encode()
