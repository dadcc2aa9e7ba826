"""One shard: its pictures read, looked at, made smaller if that is asked for, and written."""

from __future__ import annotations

import collections
import dataclasses
import io
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from hornbeam.data.dataset import FEATURE, Dataset
from hornbeam.data.pixels import jpeg
from hornbeam.data.pixels.images import Pixels, decode, measure, with_channels
from hornbeam.data.pixels.resize import Box, reduction_for, resize_box
from hornbeam.data.shards import tfexample
from hornbeam.data.shards.records import write_record
from hornbeam.errors import DataError
from hornbeam.storage import replacing

_BUFFER = 1 << 20
"""Bytes written at a time. Of 28 KB records it made `prepare` 1.16 times as fast as Python's 8 KiB."""


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What happens to each picture.

    Attributes:
        shorter_side: larger pictures are shrunk to it, and all are JPEGs; `None` leaves bytes alone.
        quality: of those JPEGs, 1 to 100.
        max_pixels: pictures of more are bad.
        skip_bad: leave bad pictures out, and note why, in place of an error.
        threads: pictures read at a time by each process.
    """

    shorter_side: int | None
    quality: int
    max_pixels: int
    skip_bad: bool
    threads: int = 1


@dataclasses.dataclass(frozen=True)
class Job:
    """A shard to write: its place among all, its path, and its examples in their order."""

    number: int
    path: Path
    dataset: Dataset


class Entry(NamedTuple):
    """What became of one example.

    Attributes:
        offset: of the record's first byte in the shard; -1 where it was left out.
        length: of the record's payload, in bytes.
        height: of the upright picture, in pixels.
        width: of the upright picture, in pixels.
        size: of the encoded picture, in bytes.
        fault: why it was left out, else empty.
    """

    offset: int
    length: int
    height: int
    width: int
    size: int
    fault: str = ""


class _Picture(NamedTuple):
    data: bytes
    format: str
    height: int
    width: int


Advance = Callable[[int], object]


def write_shard(job: Job, encoding: Encoding, advance: Advance) -> list[Entry]:
    """Write one shard, whole or not at all.

    Raises:
        DataError: a picture is bad and may not be left out, or the disk is full.
    """
    entries = []
    labels = _label_features(job.dataset)
    try:
        with replacing(job.path) as temporary, temporary.open("wb", _BUFFER) as file:
            offset = 0
            for row, picture in enumerate(_pictures(job.dataset, encoding)):
                advance(1)
                if isinstance(picture, str):
                    entries.append(Entry(-1, 0, 0, 0, 0, picture))
                    continue
                payload = _payload(job.dataset, row, picture, labels)
                whole = write_record(file, payload)
                entries.append(
                    Entry(offset, len(payload), picture.height, picture.width, len(picture.data))
                )
                offset += whole
    except OSError as error:
        raise DataError(disk_sentence(job.path, error)) from None
    return entries


def disk_sentence(path: Path, error: OSError) -> str:
    """Say that something could not be written, and what to do."""
    return (
        f"{path} cannot be written ({error.strerror}); the finished shards are kept, and the same "
        "command continues with the others."
    )


def _pictures(dataset: Dataset, encoding: Encoding) -> Iterator[_Picture | str]:
    """Yield the pictures of a dataset in order, or why one is left out."""

    def get(row: int) -> _Picture | str:
        try:
            return _picture(dataset, row, encoding)
        except DataError as error:
            if encoding.skip_bad:
                return str(error).removeprefix(f"{dataset.name(row)}: ")
            raise DataError(f"{error} Mend or remove it, or pass --on-bad skip.") from None

    if encoding.threads <= 1:
        yield from map(get, range(len(dataset)))
        return
    with ThreadPoolExecutor(encoding.threads) as pool:
        # Twice the threads are asked for, so that none waits for the slowest.
        rows = iter(range(len(dataset)))
        asked = collections.deque(
            pool.submit(get, row) for row in itertools.islice(rows, 2 * encoding.threads)
        )
        try:
            while asked:
                yield asked.popleft().result()
                asked.extend(pool.submit(get, row) for row in itertools.islice(rows, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def _picture(dataset: Dataset, row: int, encoding: Encoding) -> _Picture:
    """Read one picture, look at its header, and make it smaller if that is asked for."""
    data = dataset.read(row)
    if not isinstance(data, bytes):
        return _from_pixels(data, encoding)
    try:
        height, width = measure(data)
        if height * width > encoding.max_pixels:
            raise DataError(
                f"the picture has {height}x{width} pixels, more than --max-pixels "
                f"{encoding.max_pixels} allows"
            )
        kind = _format(data)
        side = encoding.shorter_side
        if side is None or (kind == "JPEG" and min(height, width) <= side):
            return _Picture(data, kind, height, width)
        reduction = reduction_for(min(height, width) / side)
        pixels = decode(data, reduction=reduction, max_pixels=encoding.max_pixels)
        return _to_jpeg(pixels, (height, width), side, encoding.quality)
    except DataError as error:
        raise DataError(f"{dataset.name(row)}: {error}.") from None


def _from_pixels(pixels: Pixels, encoding: Encoding) -> _Picture:
    height, width = pixels.shape[:2]
    if encoding.shorter_side is not None:
        if pixels.shape[2] == 4:
            pixels = with_channels(pixels, 3)  # JPEG has no transparency: on white, as elsewhere
        return _to_jpeg(pixels, (height, width), encoding.shorter_side, encoding.quality)
    data = cv2.imencode(".png", _blue_first(pixels))[1].tobytes()
    return _Picture(data, "PNG", height, width)


def _to_jpeg(pixels: Pixels, upright: tuple[int, int], side: int, quality: int) -> _Picture:
    """Shrink a picture to its shorter side, if it is larger, and encode it.

    Args:
        pixels: uint8 `[height, width, 1 or 3]`, upright; perhaps at reduced scale.
        upright: (height, width) at full scale.
        side: of the result at most, in pixels.
        quality: of the JPEG.
    """
    scale = min(1.0, side / min(upright))
    height, width = (max(1, round(length * scale)) for length in upright)
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    small = resize_box(pixels, whole, (height, width))
    data = cv2.imencode(".jpg", _blue_first(small), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return _Picture(data.tobytes(), "JPEG", height, width)


def _blue_first(pixels: Pixels) -> Pixels:
    """Return RGB as OpenCV's BGR, RGBA as BGRA, grey as it is."""
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    return np.ascontiguousarray(pixels[..., order])


def _format(data: bytes) -> str:
    """Return `JPEG`, `PNG`, …: Pillow's name of a format."""
    if data.startswith(jpeg.SIGNATURE):
        return "JPEG"
    with Image.open(io.BytesIO(data)) as picture:
        return str(picture.format)


def _payload(dataset: Dataset, row: int, picture: _Picture, labels: dict[str, list[Any]]) -> bytes:
    return tfexample.encode({
        tfexample.ENCODED: picture.data,
        tfexample.FORMAT: picture.format.encode(),
        tfexample.FILENAME: dataset.paths[row].encode(),
        tfexample.HEIGHT: picture.height,
        tfexample.WIDTH: picture.width,
        tfexample.CHANNELS: 3,  # as `images.decode` and TensorFlow's decode_image(channels=3) give it
        **{key: values[row] for key, values in labels.items() if values[row] is not None},
    })  # fmt: skip


def _label_features(dataset: Dataset) -> dict[str, list[Any]]:
    """Return the labels and numbers of all rows under the keys of their features.

    A label that is missing is `None`. One task of single labels has the usual keys. With more tasks,
    or several labels, each has its name in its keys, and the first one of single labels has the usual
    ones as well.
    """
    features: dict[str, list[Any]] = {}
    single = [task for task in dataset.tasks if not task.multi_label]
    for task in dataset.tasks:
        numbers = dataset.table[task.name].to_pylist()
        if task.multi_label:
            texts: list[Any] = [[task.classes[n].encode() for n in some] for some in numbers]
        else:
            texts = [None if n is None else task.classes[n].encode() for n in numbers]
        if task.multi_label or len(dataset.tasks) > 1:
            features[f"image/class/{task.name}/label"] = numbers
            features[f"image/class/{task.name}/text"] = texts
        if single and task is single[0]:
            features[tfexample.LABEL] = numbers
            features[tfexample.TEXT] = texts
    for name in dataset.features:
        features[tfexample.NUMBER + name] = dataset.table[FEATURE + name].to_pylist()
    return features
