"""Features of pictures, kept on disk for whoever asks for the same again."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hornbeam.data.remote import cache_directory
from hornbeam.storage import replacing

Floats = NDArray[np.float32]

_LIMIT = 16 * 2**30
"""Bytes of features in the cache, above which those that were not used for longest are removed."""


class Store:
    """Features on disk by the digests of pictures, in Arrow files that are only ever added to.

    Args:
        key: of everything that the features depend on, but the pictures.
        shape: of the features of one picture.
    """

    def __init__(self, key: str, shape: tuple[int, ...]) -> None:
        self._directory = cache_directory() / "features" / key
        self._shape = shape

    def fetch(self, digests: Sequence[str], values: Floats) -> NDArray[np.int64]:
        """Fill in what is known of these pictures, and return the rows of the others."""
        missing = np.ones(len(digests), bool)
        for path in sorted(self._directory.glob("*.arrow")):
            if not missing.any():
                break
            os.utime(self._directory)  # used today
            self._fetch_part(path, digests, values, missing)
        return np.flatnonzero(missing)

    def add(self, digests: Sequence[str], values: Floats) -> None:
        """Store the features of more pictures."""
        self._directory.mkdir(parents=True, exist_ok=True)
        flat = values.reshape(len(values), -1)
        table = pa.table({
            "digest": pa.array(digests, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1]),
        })  # fmt: skip
        with (
            replacing(self._directory / f"{uuid.uuid4().hex}.arrow") as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=4096)
        self._make_room()

    def _make_room(self) -> None:
        others = []
        for path in self._directory.parent.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room as well
                if path != self._directory:
                    others.append((path.stat().st_mtime, _size(path), path))
        total = _size(self._directory) + sum(size for _, size, _ in others)
        for _, size, path in sorted(others):
            if total <= _LIMIT:
                break
            total -= size
            shutil.rmtree(path, ignore_errors=True)

    def _fetch_part(
        self, path: Path, digests: Sequence[str], values: Floats, missing: NDArray[np.bool_]
    ) -> None:
        wanted: dict[str, list[int]] = {}
        for row in np.flatnonzero(missing).tolist():
            wanted.setdefault(digests[row], []).append(row)
        try:
            with pa.memory_map(str(path)) as file:
                reader = pa.ipc.open_file(file)
                for index in range(reader.num_record_batches):
                    batch = reader.get_batch(index)
                    features = batch["features"].flatten().to_numpy()
                    features = features.reshape(len(batch), *self._shape)
                    for place, digest in enumerate(batch["digest"].to_pylist()):
                        for row in wanted.pop(digest, ()):
                            values[row] = features[place]
                            missing[row] = False
        except (OSError, pa.ArrowException, KeyError, ValueError):
            path.unlink(missing_ok=True)  # damaged; what it held is computed anew


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.arrow"))
