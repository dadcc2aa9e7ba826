"""Shards: written, against a plain script and `cp -r`; read in random order, against two formats.

    python benchmarks/shards.py --pictures CLASS_FOLDERS [--count 12000] [--rounds 5]

The pictures are those of `--pictures`, if it is given, and photographs of 500x375 synthesised here.
All ways of a table take turns in each round. What was written is flushed to the disk between two
ways, outside of the time; Hornbeam also flushes its shards within its own. Files are in the page cache.
webdataset is measured where it is installed; it has no random access, so its way is its own: shards in
random order, and a buffer of 1,000 records that are drawn from.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from claims import record

Way = Callable[[], object]

_PER_SHARD = 1024

_GOALS = {
    "plain tf.io.TFRecordWriter script (peer)": 3.0, "the same, sizes by Pillow (peer)": 3.0,
    "the same, no sizes (peer)": 3.0, "cp -r (peer)": 0.5,
}  # fmt: skip
"""How many times as quick as these ours was to write; the others had no goal."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folders of JPEGs, one per class")
    parser.add_argument("--count", type=int, default=12000, help="pictures to synthesise")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where to write; else the temporary directory")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        place = Path(scratch)
        sets = {"synthesised, 500x375": _synthesise(place / "pictures", options.count)}
        if options.pictures:
            sets = {"photographs": options.pictures} | sets
        for name, root in sets.items():
            _writing(name, root, place, options.rounds)
            _reading(name, root, place, options.rounds)


def _writing(name: str, root: Path, place: Path, rounds: int) -> None:
    import tensorflow as tf

    files = [str(path) for path in sorted(root.rglob("*.jpg"))]
    out = place / "written"
    bytes_ = sum(os.path.getsize(file) for file in files)  # noqa: PTH202
    ways: dict[str, Way] = {
        "hornbeam prepare": lambda: _prepare(root, out),
        "hornbeam prepare --workers 1": lambda: _prepare(root, out, workers=1),
        "plain tf.io.TFRecordWriter script (peer)": lambda: _plain(tf, files, root, out, "decode"),
        "the same, sizes by Pillow (peer)": lambda: _plain(tf, files, root, out, "pillow"),
        "the same, no sizes (peer)": lambda: _plain(tf, files, root, out, "none"),
        "cp -r (peer)": lambda: subprocess.run(["cp", "-r", root, out], check=True),
    }

    def after() -> None:
        os.sync()
        shutil.rmtree(out)

    times = _interleaved(ways, rounds, after)
    print(
        f"\n### Writing: {name}, {len(files)} pictures, {bytes_ / 2**20:.0f} MiB, {rounds} rounds\n"
    )
    _table(times, len(files), "hornbeam prepare", f"shards written, {name}")


def _prepare(root: Path, out: Path, **more: Any) -> None:
    from hornbeam.config import PrepareOptions
    from hornbeam.data.shards.prepare import prepare
    from hornbeam.data.sources import open_dataset

    options = PrepareOptions(data=str(root), out=out, examples_per_shard=_PER_SHARD, **more)
    prepare(open_dataset(str(root), options), options)


def _plain(tf: Any, files: list[str], root: Path, out: Path, sizes: str) -> None:
    """Do what the scripts of TF-Slim, Model Garden and the older project do, in one process.

    Args:
        tf: TensorFlow.
        files: pictures, in a random order of their own.
        root: of the class folders.
        out: directory for the shards.
        sizes: `decode` finds height and width as those scripts do; `pillow` from the header; `none`
            leaves them out.
    """
    from PIL import Image

    out.mkdir()
    names = sorted({Path(file).parent.name for file in files})
    order = np.random.default_rng(0).permutation(len(files))
    train = tf.train

    def of_bytes(value: bytes) -> Any:
        return train.Feature(bytes_list=train.BytesList(value=[value]))

    def of_int(value: int) -> Any:
        return train.Feature(int64_list=train.Int64List(value=[value]))

    count = -(-len(files) // _PER_SHARD)
    for shard, rows in enumerate(np.array_split(order, count)):
        with tf.io.TFRecordWriter(str(out / f"train-{shard:05d}-of-{count:05d}")) as writer:
            for row in rows:
                path = Path(files[row])
                data = path.read_bytes()
                feature = {
                    "image/encoded": of_bytes(data),
                    "image/format": of_bytes(b"JPEG"),
                    "image/filename": of_bytes(path.name.encode()),
                    "image/channels": of_int(3),
                    "image/class/label": of_int(names.index(path.parent.name)),
                    "image/class/text": of_bytes(path.parent.name.encode()),
                }
                if sizes == "decode":
                    height, width, _ = tf.io.decode_jpeg(data, channels=3).shape
                elif sizes == "pillow":
                    with Image.open(io.BytesIO(data)) as picture:
                        width, height = picture.size
                if sizes != "none":
                    feature |= {"image/height": of_int(height), "image/width": of_int(width)}
                example = train.Example(features=train.Features(feature=feature))
                writer.write(example.SerializeToString())


def _reading(name: str, root: Path, place: Path, rounds: int) -> None:
    from hornbeam.data.shards.records import Source
    from hornbeam.data.shards.tfrecord import open_prepared

    shards = place / "shards"
    _prepare(root, shards)
    dataset = open_prepared(shards)
    files = sorted(map(str, shards.glob("*.tfrecord")))
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()
    ways: dict[str, Way] = {
        "hornbeam, one thread": lambda: [dataset.read(row) and None for row in order],
        "hornbeam, two threads": lambda: _threaded(dataset.read, order),
    }
    with contextlib.ExitStack() as opened:
        if importlib.util.find_spec("array_record"):
            for label, writing in (
                ("array_record as it comes", ""),
                ("array_record, group_size:1", "group_size:1"),
                ("array_record, group_size:1, uncompressed", "group_size:1,uncompressed"),
            ):
                archive = _as_array_record(files, place / f"{len(ways)}.array_record", writing)
                from array_record.python import array_record_module  # type: ignore[import-untyped]

                reader = array_record_module.ArrayRecordReader(archive)
                opened.callback(reader.close)
                ways[f"{label}, batches of 256 (peer)"] = lambda r=reader: _batched(r, order)  # type: ignore[misc]
        if importlib.util.find_spec("webdataset"):
            tars = _as_tars(dataset, files, place / "tars")
            ways["webdataset, shuffled its way (peer)"] = lambda: _by_webdataset(tars)
        times = _interleaved(ways, rounds)
    bytes_ = sum(len(r.payload) for file in files for r in Source(file).records())
    print(f"\n### Reading in random order, not decoded: {name}, {len(order)} records, "
          f"{bytes_ / 2**20:.0f} MiB, {rounds} rounds\n")  # fmt: skip
    _table(times, len(order), "hornbeam, one thread", f"shards read in random order, {name}")
    shutil.rmtree(shards)
    shutil.rmtree(place / "tars", ignore_errors=True)
    for path in place.glob("*.array_record"):
        path.unlink()


def _threaded(read: Callable[[int], Any], order: list[int]) -> None:
    def some(rows: list[int]) -> None:
        for row in rows:
            read(row)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(some, [order[i : i + 256] for i in range(0, len(order), 256)]))


def _batched(reader: Any, order: list[int]) -> None:
    for start in range(0, len(order), 256):
        reader.read(order[start : start + 256])


def _as_array_record(files: list[str], path: Path, writing: str) -> str:
    from array_record.python import array_record_module  # type: ignore[import-untyped]

    from hornbeam.data.shards.records import Source

    writer = array_record_module.ArrayRecordWriter(str(path), writing)
    for file in files:
        for each in Source(file).records():
            writer.write(bytes(each.payload))
    writer.close()
    return str(path)


def _as_tars(dataset: Any, files: list[str], folder: Path) -> list[str]:
    import tarfile

    folder.mkdir()
    result = []
    for number, rows in enumerate(np.array_split(np.arange(len(dataset)), len(files))):
        result.append(str(folder / f"{number:05d}.tar"))
        with tarfile.open(result[-1], "w") as tar:
            for row in rows.tolist():
                for suffix, data in (("jpg", dataset.read(row)), ("cls", b"1")):
                    info = tarfile.TarInfo(f"{row:08d}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return result


def _by_webdataset(tars: list[str]) -> None:
    import webdataset  # type: ignore[import-not-found,import-untyped,unused-ignore]

    stream = webdataset.WebDataset(tars, shardshuffle=100, empty_check=False).shuffle(1000)
    for sample in stream:
        _ = sample["jpg"]


def _synthesise(root: Path, count: int) -> Path:
    """Write JPEGs of 500x375 that are about as large and as rough as photographs."""
    import cv2

    rng = np.random.default_rng(0)
    originals = []
    for _ in range(64):
        scene = np.zeros((375, 500, 3), np.float32)
        # Like nature's, their spectrum falls with frequency.
        for side in (4, 8, 16, 32, 64, 128):
            grid = rng.normal(0, 60 * (4 / side) ** 0.5, (side, side, 3)).astype(np.float32)
            scene += cv2.resize(grid, (500, 375), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(scene + 128, 0, 255).astype(np.uint8)
        originals.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    for name in range(10):
        (root / f"class{name}").mkdir(parents=True)
    for number in range(count):
        (root / f"class{number % 10}" / f"{number}.jpg").write_bytes(originals[number % 64])
    return root


def _interleaved(
    ways: dict[str, Way], rounds: int, after: Callable[[], object] = lambda: None
) -> dict[str, list[float]]:
    """Run all ways once to warm up, then in turns, each round from another one; return seconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            way = ways[name]
            start = time.perf_counter()
            way()
            if turn:
                times[name].append(time.perf_counter() - start)
            after()
    return times


def _table(times: dict[str, list[float]], count: int, ours: str, claim: str) -> None:
    print("| way | median s | min | max | pictures/s | hornbeam is x times as fast |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, seconds in times.items():
        ratios = [theirs / mine for theirs, mine in zip(seconds, times[ours], strict=True)]
        print(
            f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} "
            f"| {count / statistics.median(seconds):,.0f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f}, {max(ratios):.2f}) |"
        )
        if name.endswith("(peer)"):
            told = f"{count / statistics.median(times[ours]):,.0f} pictures/s"
            goal = _GOALS.get(name)
            record(__file__, claim, name.removesuffix(" (peer)"), ratios, goal=goal, measured=told)


if __name__ == "__main__":
    main()
