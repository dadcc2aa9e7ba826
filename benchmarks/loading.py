"""Pictures a second from JPEG files to batches of 224x224, against tf.data and a PIL process loader.

All ways cut the same boxes out of the same files, in the same order, and resize with antialiasing;
none varies colours. (Pictures from shards are cut in boxes of their own, drawn alike.) Passes are
interleaved; the first of each way, which warms caches, is not counted. Shown are medians, and the
median of the ratios within each round; and processor time, which says the same where other work
shares the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
from claims import record

from hornbeam.config import PrepareOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.pixels import augment as augmenting
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.pixels.resize import Box
from hornbeam.data.shards.prepare import prepare
from hornbeam.data.shards.tfrecord import open_prepared

SIDE, BATCH, PARALLEL = 224, 16, 2
SHARDS = "hornbeam, shards of 256"
VARIED = Augmentation(area=(0.35, 1.0), aspect=4 / 3)
Way = Callable[[], int]
"""Loads all pictures once; returns how many."""


def ours(dataset: Dataset, reduced: bool = True) -> Way:
    """Our loader; without `reduced`, with every JPEG decoded at full scale."""
    loader = _loader(dataset)

    def run() -> int:
        with contextlib.ExitStack() as stack:
            if not reduced:
                stack.enter_context(mock.patch.object(augmenting, "reduction_for", return_value=1))
            batches = loader.batches(0, loader.steps_per_epoch, threads=PARALLEL)
            return sum(int(batch.weights["label"].sum()) for batch in batches)

    return run


def tf_data(dataset: Dataset) -> Way:
    """TensorFlow's own: `decode_and_crop_jpeg`, which decodes only the crop, and `resize`."""
    import tensorflow as tf

    paths = [dataset.location(row) for row in range(len(dataset))]
    windows = [[b.top, b.left, b.height, b.width] for b in boxes(dataset)]

    def load(path: Any, window: Any) -> Any:
        pixels = tf.image.decode_and_crop_jpeg(tf.io.read_file(path), window, channels=3)
        small = tf.image.resize(pixels, (SIDE, SIDE), antialias=True)
        return tf.cast(tf.round(small), tf.uint8)

    files = tf.data.Dataset.from_tensor_slices((paths, np.array(windows, np.int32)))
    batches = files.map(load, num_parallel_calls=PARALLEL).batch(BATCH).prefetch(2)
    return lambda: sum(len(batch.numpy()) for batch in batches)


def _pil_picture(path: str, box: Any) -> Any:
    from PIL import Image

    with Image.open(path) as file:
        crop = file.convert("RGB").crop(box)
    return np.asarray(crop.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _pil_batch(work: tuple[str, int, list[tuple[str, Box]]]) -> tuple[int, int]:
    name, slot, items = work
    memory = shared_memory.SharedMemory(name)
    out = np.ndarray((BATCH, SIDE, SIDE, 3), np.uint8, memory.buf, slot * BATCH * SIDE * SIDE * 3)
    for i, (path, box) in enumerate(items):
        out[i] = _pil_picture(path, box)
    memory.close()
    return slot, len(items)


class PilProcesses:
    """torchvision's RandomResizedCrop as PIL does it, in two processes that write to shared memory."""

    def __init__(self, dataset: Dataset) -> None:
        paths = [dataset.location(row) for row in range(len(dataset))]
        items = list(zip(paths, boxes(dataset), strict=True))
        self._slots = 2 * PARALLEL
        size = self._slots * BATCH * SIDE * SIDE * 3
        self._memory = shared_memory.SharedMemory(create=True, size=size)
        self._work = [
            (self._memory.name, i % self._slots, items[start : start + BATCH])
            for i, start in enumerate(range(0, len(items), BATCH))
        ]
        self._pool = multiprocessing.get_context("spawn").Pool(PARALLEL)

    def __call__(self) -> int:
        """Load all pictures once; each batch is copied out of the shared memory, as a reader must."""
        total = 0
        every = np.ndarray((self._slots, BATCH, SIDE, SIDE, 3), np.uint8, self._memory.buf)
        for start in range(0, len(self._work), self._slots):
            for slot, count in self._pool.imap(_pil_batch, self._work[start : start + self._slots]):
                total += len(every[slot].copy()[:count])
        return total

    def close(self) -> None:
        """End the processes."""
        self._pool.terminate()
        self._pool.join()
        self._memory.close()
        self._memory.unlink()


_TORCH = """
import json, sys, time
import numpy as np, torch
from PIL import Image
items, side, batch, workers = json.load(open(sys.argv[1])), *map(int, sys.argv[2:5])
class Files(torch.utils.data.Dataset):
    def __len__(self): return len(items)
    def __getitem__(self, i):
        path, box = items[i]
        with Image.open(path) as file:
            crop = file.convert("RGB").crop(box)
        return torch.from_numpy(np.array(crop.resize((side, side), Image.Resampling.BILINEAR)))
loader = torch.utils.data.DataLoader(
    Files(), batch_size=batch, num_workers=workers, persistent_workers=True)
for line in sys.stdin:
    start = time.perf_counter(); count = sum(len(b) for b in loader)
    print(time.perf_counter() - start, flush=True)
"""


class TorchLoader:
    """The same in torch's DataLoader, run by another interpreter that has torch and Pillow."""

    def __init__(self, dataset: Dataset, python: str, directory: Path) -> None:
        paths = [dataset.location(row) for row in range(len(dataset))]
        items = directory / "items.json"
        items.write_text(
            json.dumps([[p, list(b)] for p, b in zip(paths, boxes(dataset), strict=True)])
        )
        command = [python, "-c", _TORCH, str(items), *map(str, (SIDE, BATCH, PARALLEL))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._count = len(paths)

    def __call__(self) -> int:
        """Load all pictures once."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        return self._count

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def shards_of(dataset: Dataset, directory: Path) -> Dataset:
    """Write a dataset into shards of shorter side 256, and open them."""
    options = PrepareOptions(data="/", out=directory, shorter_side=256)
    prepare(dataset, options)
    return open_prepared(directory)


def boxes(dataset: Dataset) -> Iterator[Box]:
    """Yield the box that our loader cuts out of each picture."""
    loader = _loader(dataset)
    for row in range(len(dataset)):
        size = dataset.measure(row, dataset.read(row))
        # As in Loader.batch: stream 1 of the seed, at the place of the picture.
        rng = np.random.default_rng((loader.seed, 1, row))
        yield VARIED.plan(*size, (SIDE, SIDE), rng).box


def _loader(dataset: Dataset) -> Loader:
    return Loader(dataset, batch_size=BATCH, image_size=(SIDE, SIDE), augment=VARIED)


def open_pictures(paths: list[Path]) -> Dataset:
    """Make a dataset of files, all of one class."""
    from hornbeam.data.tasks import Task

    names = [str(path) for path in paths]
    label = {Task("label", ("all",)): [0] * len(names)}
    return Dataset.from_columns(Path("/"), names, ["train"] * len(names), label)


def synthesise(
    photographs: list[Path], directory: Path, size: tuple[int, int], count: int, grain: float
) -> list[Path]:
    """Enlarge photographs to `size` (height, width), with grain as sensors have, as JPEGs.

    Args:
        photographs: to begin with.
        directory: that gets them; is made.
        size: (height, width) in pixels.
        count: of pictures.
        grain: standard deviation of grey noise on each pixel, in levels of 255.
    """
    directory.mkdir()
    rng = np.random.default_rng(0)
    noise = rng.normal(0, grain, (*size, 1)) if grain else 0
    made = []
    for i in range(count):
        pixels: Any = cv2.imread(str(photographs[i % len(photographs)]))
        if pixels.shape[0] > pixels.shape[1]:
            pixels = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE)
        large = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_CUBIC)
        large = np.clip(large + noise, 0, 255).astype(np.uint8)
        made.append(directory / f"{i}.jpg")
        cv2.imwrite(str(made[-1]), large, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return made


def cpu_seconds() -> float:
    """Return the processor time that this process and its living descendants took so far.

    Unlike time on a clock it hardly depends on what else the machine does. Linux only.
    """
    ticks, parents = {}, {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            ticks[int(entry.name)] = int(fields[11]) + int(fields[12])
            parents[int(entry.name)] = int(fields[1])
    total = 0
    for pid, own in ticks.items():
        ancestor = pid
        while ancestor not in (os.getpid(), 0):
            ancestor = parents.get(ancestor, 0)
        total += own if ancestor else 0
    return total / os.sysconf("SC_CLK_TCK")


def _goal(title: str, peer: str) -> float | None:
    """Return how many times as quick as this way ours was to be."""
    if peer == "hornbeam, full decoding":
        return 4.0 if title.startswith("12 mega") else None
    return {"tf.data": 1.5, "PIL, 2 processes": 2.5}.get(peer)


def compare(title: str, ways: dict[str, Way], rounds: int) -> None:
    """Run all ways in turn, several times, and print a table; the first is compared with all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    count = 0
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start, before = time.perf_counter(), cpu_seconds()
            count = way()
            if turn:
                seconds[name].append(time.perf_counter() - start)
                processor[name].append(cpu_seconds() - before)
    print(f"\n{title}: {count} pictures, {rounds} rounds\n")
    print("| way | pictures/s | ours is faster by | lowest | highest | CPU ms each | CPU x ours |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    first = next(iter(ways))
    for name, values in seconds.items():
        ratios = [theirs / own for theirs, own in zip(values, seconds[first], strict=True)]
        each = statistics.median(processor[name]) / count
        more = statistics.median(processor[name]) / statistics.median(processor[first])
        print(
            f"| {name} | {count / statistics.median(values):.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} | {max(ratios):.2f} | {each * 1e3:.2f} | {more:.2f} |"
        )
        if name not in (first, SHARDS):
            told = f"{count / statistics.median(seconds[first]):.0f} pictures/s"
            record(
                __file__, f"loading {title}", name, ratios, goal=_goal(title, name), measured=told
            )

    full, shards = seconds.get("hornbeam, full decoding"), seconds.get(SHARDS)
    if full and shards:
        ratios = [decoded / short for decoded, short in zip(full, shards, strict=True)]
        told = f"{count / statistics.median(shards):.0f} pictures/s"
        record(
            __file__, f"loading {title}, {SHARDS}", "full decoding", ratios, goal=3, measured=told
        )


def main() -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="folder with JPEG photographs")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--large", type=int, default=64, help="pictures of 12 megapixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch-python", help="interpreter that has torch and Pillow")
    parser.add_argument("--only", default="", help="part of the title of the tables to measure")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    photographs = sorted(arguments.pictures.rglob("*.jpg"))
    np.random.default_rng(0).shuffle(photographs)  # type: ignore[arg-type]

    def measure(
        title: str,
        paths: list[Path],
        place: Path,
        against_full: bool = False,
        from_shards: bool = False,
    ) -> None:
        if arguments.only not in title:
            return
        dataset = open_pictures(paths)
        ways: dict[str, Any] = {"hornbeam": ours(dataset)}
        if against_full:
            ways["hornbeam, full decoding"] = ours(dataset, reduced=False)
        ways["tf.data"] = tf_data(dataset)
        ways["PIL, 2 processes"] = PilProcesses(dataset)
        if arguments.torch_python:
            ways["PIL, torch DataLoader"] = TorchLoader(dataset, arguments.torch_python, place)
        if from_shards:
            ways[SHARDS] = ours(shards_of(dataset, place / "shards"))
        try:
            compare(title, ways, arguments.rounds)
        finally:
            for way in ways.values():
                if hasattr(way, "close"):
                    way.close()

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        measure("photographs as they are", photographs[: arguments.count], place)
        middle = synthesise(photographs, place / "middle", (375, 500), arguments.count, 2)
        measure("500x375", middle, place, against_full=True, from_shards=True)
        for grain in (0, 4):
            large = place / f"large{grain}"
            paths = synthesise(photographs, large, (3000, 4000), arguments.large, grain)
            megabytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e6
            title = f"12 megapixels, grain {grain}, {megabytes:.1f} MB each"
            measure(title, paths, place, against_full=True)


if __name__ == "__main__":
    main()
