"""Pictures in TFRecord shards: ours, which have an index, and other people's, which are scanned."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hornbeam.data import remote
from hornbeam.data.dataset import Dataset
from hornbeam.data.shards import tfexample
from hornbeam.data.shards.foreign import scan_shards
from hornbeam.data.shards.records import Damaged, Source
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError

__all__ = ["DESCRIPTION", "INDEX", "Shards", "open_prepared", "scan_shards"]

INDEX = "index.parquet"
DESCRIPTION = "dataset.json"
"""Written last: a directory without it is not whole."""

FORMAT = 1
"""Of the directory. A later one that this version cannot read gets another number."""

_OPEN_FILES = 128
"""Shards that are open at a time; systems allow a process 256 files and more."""

_TABLES = 4
"""Datasets whose columns are at hand: training, validation, test, and one more."""


class _Places(NamedTuple):
    """Where the records of a table are, in arrays that a row is looked up in quickly."""

    table: pa.Table
    locations: list[str]
    shards: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Shards:
    """Gets pictures from the records of TFRecord files; every checksum is looked at.

    May be used by many threads; worker processes that it is sent to open the files themselves.
    """

    def __init__(self) -> None:
        self._reset()

    def read(self, dataset: Dataset, row: int) -> bytes:
        """Return the encoded bytes of one picture.

        Raises:
            DataError: the shard is gone or damaged; the message names it and the record.
        """
        places = self._tables.get(id(dataset.table)) or self._find(dataset)
        location = places.locations[places.shards[row]]
        offset, length = int(places.offsets[row]), int(places.lengths[row])
        try:
            payload = self._source(location).read(offset, length)
            return tfexample.picture(payload)
        except Damaged as reason:
            raise DataError(f"{dataset.name(row)}: {reason}.") from None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._reset()

    def _reset(self) -> None:
        self._sources: dict[str, Source] = {}
        self._tables: dict[int, _Places] = {}
        self._lock = threading.Lock()

    def _source(self, location: str) -> Source:
        source = self._sources.get(location)
        if source is None:
            source = Source(location)
            with self._lock:
                while len(self._sources) >= _OPEN_FILES:
                    self._sources.pop(next(iter(self._sources)))
                source = self._sources.setdefault(location, source)
        return source

    def _find(self, dataset: Dataset) -> _Places:
        table = dataset.table
        shards = pc.dictionary_encode(table["shard"].combine_chunks())
        places = _Places(
            table,  # held, so that its id is not given to another table
            [remote.join(dataset.root, name) for name in shards.dictionary.to_pylist()],
            np.asarray(shards.indices.to_numpy(), np.int32),
            np.asarray(table["offset"].to_numpy(), np.int64),
            np.asarray(table["length"].to_numpy(), np.int64),
        )
        with self._lock:
            while len(self._tables) >= _TABLES:
                self._tables.pop(next(iter(self._tables)))
            self._tables[id(table)] = places
        return places


def open_prepared(directory: Path | str) -> Dataset:
    """Open a directory that `hornbeam prepare` wrote; no shard is read.

    Args:
        directory: a path, or a remote address.

    Raises:
        DataError: it is not whole, or was written by a later version.
    """
    description = read_description(directory)
    tasks = tuple(
        Task(task["name"], tuple(task["classes"]), task["multi_label"])
        for task in description["tasks"]
    )
    index = remote.join(directory, INDEX)
    # A directory that was prepared anew at the same address has another description.
    version = hashlib.sha256(repr(description).encode()).hexdigest()
    path = remote.local_copy(index, version) if remote.is_remote(index) else Path(index)
    return Dataset.load(path, directory, tasks, Shards())


def read_description(directory: Path | str) -> dict[str, Any]:
    """Return what `dataset.json` of a prepared directory says.

    Raises:
        DataError: it is missing or damaged, or of a later version.
    """
    location = remote.join(directory, DESCRIPTION)
    if not remote.is_remote(location) and not Path(location).exists():
        raise DataError(
            f"{directory} has no {DESCRIPTION}: it was not prepared to the end; run the same "
            "`hornbeam prepare` again, which continues."
        )
    try:
        description: dict[str, Any] = json.loads(remote.read_bytes(location, cached=False))
        version = int(description["format"])
        for task in description["tasks"]:
            _ = task["name"], task["classes"], task["multi_label"]
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{location} is damaged; prepare the pictures again.") from None
    if version > FORMAT:
        raise DataError(
            f"{directory} was prepared by a later version of Hornbeam; update this one."
        )
    return description
