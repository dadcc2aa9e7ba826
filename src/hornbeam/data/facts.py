"""What one look at each picture tells: format, size, fault, fingerprints, light and sharpness.

Each picture is read and decoded once, by several threads; what was found is remembered below
`remote.cache_directory()` until the file's size or time changes, so that a second `check` or `train`
of the same pictures decodes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from hornbeam import console
from hornbeam.data.dataset import Dataset, Files
from hornbeam.data.images import Pixels
from hornbeam.data.remote import cache_directory, is_remote, join, local_copy
from hornbeam.errors import DataError
from hornbeam.storage import replacing

THUMBNAIL = 24
"""Side of the grey thumbnail that near duplicates are compared by (`duplicates.alike`)."""

FACT = np.dtype([
    ("digest", "S32"),          # BLAKE2b of the bytes, hexadecimal
    ("size", "i8"),             # bytes
    ("format", "S8"),           # by the content, in Pillow's words: JPEG, PNG, …; empty for pixels
    ("mode", "S8"),             # Pillow's: L, RGB, RGBA, P, CMYK, I;16, …
    ("bits", "u1"),             # a channel
    ("width", "i4"),            # upright, in pixels
    ("height", "i4"),
    ("orientation", "u1"),      # EXIF: 1 = as stored, 2 to 8 = mirrored or turned; 0 = not said
    ("animated", "?"),
    ("transparent", "?"),
    ("hash", "u8"),             # perceptual, see `perceptual_hash`
    ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),
    ("brightness", "f4"),       # mean of grey, 0 to 255
    ("darkest", "f4"),          # 5th percentile of grey
    ("brightest", "f4"),        # 99th percentile of grey
    ("sharpness", "f4"),        # see `sharpness`
    ("entropy", "f4"),          # of the histogram of grey, in bits, 0 to 8
])  # fmt: skip
"""One picture. All but `digest`, `size` and the header's fields is 0 where it cannot be decoded."""

_SIDE = 256
"""Longer side in pixels at which light, sharpness and hash are measured, as networks see pictures."""

_VERSION = 1
"""Goes up when a fact is computed in another way; older caches are then ignored."""

_AT_ONCE = 32
"""Pictures that a thread takes at a time."""

_OTHERS = 100_000
"""Files that are not in the dataset and still remembered, for another dataset of the same folder."""

_FRESH = 2.0
"""Seconds. A file changed so lately may change again within one tick of its file system's clock (2 s
on FAT, 1 s on NFS), and is not remembered (Git's "racy" entries)."""


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
    stamps = _Stamps(dataset) if cache and _has_files(dataset) else None
    memory = _Memory.load(dataset) if stamps else None
    fresh: list[tuple[_Stamp, int]] = []

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
        _note_header(fact, data)
    try:
        pixels = dataset.decode(row, data)
    except DataError as error:
        return _Look(fact, _reason(dataset, row, error), True)
    note_pixels(fact, pixels)
    return _Look(fact, "", True)


def _reason(dataset: Dataset, row: int, error: DataError) -> str:
    """Return the sentence without the picture's name, which is not the same everywhere."""
    return str(error).removeprefix(f"{dataset.name(row)}: ")


def _note_header(fact: NDArray[np.void], data: bytes) -> None:
    """Note what the first bytes of a file say."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            fact["format"] = (picture.format or "").encode()[:8]
            fact["mode"] = picture.mode.encode()[:8]
            fact["width"], fact["height"] = picture.size
            fact["animated"] = bool(getattr(picture, "is_animated", False))
            fact["transparent"] = "A" in picture.getbands() or "transparency" in picture.info
            fact["bits"] = 16 if picture.mode.startswith("I") else 8
            if picture.format == "PNG":
                fact["bits"] = data[24]  # Pillow shows 16-bit RGB as RGB; IHDR has the depth here
            orientation = picture.getexif().get(0x0112, 0)
            if isinstance(orientation, int) and 1 <= orientation <= 8:
                fact["orientation"] = orientation
    except Exception:
        pass  # a broken header fails in many ways; decoding gives the verdict


def note_pixels(fact: NDArray[np.void], pixels: Pixels) -> None:
    """Note what the pixels of a picture, uint8 `[height, width, 1, 3 or 4]`, tell."""
    fact["height"], fact["width"] = pixels.shape[:2]
    grey = _shrunk(_grey(pixels))
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()
    shares = counts / counts.sum()
    fact["brightness"] = shares @ np.arange(256)
    fact["darkest"], fact["brightest"] = np.searchsorted(np.cumsum(shares), (0.05, 0.99))
    present = shares[shares > 0]
    fact["entropy"] = max(0.0, -float(present @ np.log2(present)))
    fact["sharpness"] = sharpness(grey)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA)
    fact["hash"] = perceptual_hash(small)
    fact["thumbnail"] = cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)


def _shrunk(grey: Pixels) -> Pixels:
    """Return a picture of which the longer side has `_SIDE` pixels, or fewer if it had fewer.

    Whole factors are averaged and the rest, less than 2, is bilinear: averaging over uneven areas
    took 0.9 ms for a picture of 400x533, nearly as long as decoding it (1.3 ms); this takes 0.1 ms.
    """
    height, width = grey.shape
    factor = max(grey.shape) // _SIDE
    if factor > 1:
        height, width = max(1, height // factor), max(1, width // factor)
        whole = grey[: height * factor, : width * factor]
        grey = np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA))
    scale = _SIDE / max(height, width)
    if scale >= 1:
        return grey
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR))


def _grey(pixels: Pixels) -> Pixels:
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.ascontiguousarray(pixels.reshape(pixels.shape[:2]))
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., :3]), cv2.COLOR_RGB2GRAY))


def perceptual_hash(small: Pixels) -> np.uint64:
    """Return 64 bits that hardly change when a picture is rescaled or recompressed.

    The pHash of Zauner (2010, "Implementation and benchmarking of perceptual image hash functions"):
    which of the 8x8 lowest frequencies of the cosine transform lie above their median.

    Args:
        small: grey uint8 `[32, 32]`.
    """
    low = cv2.dct(small.astype(np.float32))[:8, :8]
    return np.packbits(low > np.median(low)).view(">u8")[0].astype(np.uint64)  # type: ignore[no-any-return]


def sharpness(grey: Pixels) -> float:
    """Return how much fine detail a picture has beside its coarse one, 0 (blurred) to about 2.

    The variance of the Laplacian (Pech-Pacheco et al. 2000), divided by the variance of the picture
    so that contrast does not count.

    Args:
        grey: uint8 `[height, width]`, at the size at which networks see pictures.
    """
    spread = float(cv2.meanStdDev(grey)[1].item()) ** 2
    edges = float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1].item()) ** 2
    return edges / max(spread, 1.0)


class _Stamp(NamedTuple):
    """What a file looked like from outside."""

    location: str
    size: int
    time: int  # of the last change, in nanoseconds
    settled: bool


def _has_files(dataset: Dataset) -> bool:
    return isinstance(dataset.reader, Files) or "shard" in dataset.table.column_names


class _Stamps:
    """The stamps of a dataset's files, or of the records of its shards."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._sharded = "shard" in dataset.table.column_names
        self._start = time.time_ns()
        self._stat = functools.lru_cache(maxsize=65536)(self._stat_file)

    def of(self, row: int) -> _Stamp | None:
        """Return the stamp of a picture; nothing, where there is no such file."""
        if not self._sharded:
            location = self._dataset.location(row)
            return self._stamp(location, location, self._stat_file(location))
        table = self._dataset.table
        shard = join(self._dataset.root, table["shard"][row].as_py())
        return self._stamp(f"{shard}#{table['offset'][row].as_py()}", shard, self._stat(shard))

    def _stamp(self, key: str, location: str, found: os.stat_result | None) -> _Stamp | None:
        if found is None:
            return None
        if not is_remote(location):
            key = os.path.abspath(key)
        settled = self._start - found.st_mtime_ns > _FRESH * 1e9
        return _Stamp(key, found.st_size, found.st_mtime_ns, settled)

    @staticmethod
    def _stat_file(location: str) -> os.stat_result | None:
        try:
            # A remote file is what the local copy says, which every read uses.
            path = local_copy(location) if is_remote(location) else location
            return os.stat(path)  # noqa: PTH116 - a Path a picture costs a tenth of its decoding
        except (OSError, DataError):
            return None


class _Memory:
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
    def load(cls, dataset: Dataset) -> _Memory:
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

    def find(self, stamp: _Stamp) -> tuple[NDArray[np.void], str] | None:
        """Return what is remembered of a file that has not changed since."""
        index = self._index.get(stamp.location)
        if index is None:
            return None
        if (self._sizes[index], self._times[index]) != (stamp.size, stamp.time):
            return None
        return self._rows[index], self._faults[index].as_py()

    def extend(
        self, fresh: Sequence[tuple[_Stamp, int]], rows: NDArray[np.void], faults: Sequence[str]
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
            with replacing(self._path) as temporary:
                metadata = {b"hornbeam": self._version}
                pq.write_table(table.replace_schema_metadata(metadata), temporary)
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
