"""Pictures into TFRecord shards: which picture comes into which, what is done already, the index.

    OUT/train-00000-of-00010.tfrecord …   records of tf.train.Example
    OUT/index/train-00000-of-00010.parquet …   where each of its records is: that shard is whole
    OUT/prepare.json      settings and source, written first: what a later run must agree with
    OUT/index.parquet     the table of all examples
    OUT/dataset.json      counts, classes, settings; written last: the directory is whole

All is written under temporary names and renamed, so that a process may be killed at any time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hornbeam import backend, console, storage
from hornbeam.config import PrepareOptions
from hornbeam.data import remote
from hornbeam.data.dataset import Dataset, Files
from hornbeam.data.shards.claim import PARTS, claim, full_disk_explained, locked, release
from hornbeam.data.shards.records import OVERHEAD
from hornbeam.data.shards.shard import Encoding, Entry, Job
from hornbeam.data.shards.shard_writers import write_all
from hornbeam.data.shards.tfrecord import DESCRIPTION, FORMAT, INDEX, Shards, open_prepared
from hornbeam.errors import DataError

_EXAMPLES_PER_SHARD = 1024
_WITHOUT_SPLIT = "all"
_PER_PROCESS = 8000
_PER_PROCESS_ENCODED = 400
_BYTES_PER_PROCESS = 2**29
"""What makes a process worth its start.

Two took 1.32 s for 8,000 pictures of 47 KB, one 1.13; for 16,000 two took 2.05 and one 2.35. Of
pictures that are encoded anew, two took 1.93 s for 1,000, one 2.47 (medians of four on two cores).
"""

_REMOTE_THREADS = 8
"""Pictures of a remote source that each process fetches at a time."""

_SOURCE_ONLY = ("shard", "offset", "length", "digest", "example")
"""Columns that say where the source has a picture, not what it is."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a run of `prepare` came to.

    Attributes:
        examples: in all shards; 0 while some are missing.
        shards: of all parts.
        written: shards that this run wrote.
        missing: shards that other parts still have to write.
        skipped: what is wrong with each picture that was left out: `{path: reason}`.
    """

    examples: int
    shards: int
    written: int
    missing: int
    skipped: dict[str, str]


class _Shard(NamedTuple):
    """A shard that is to be: its file's name and its rows of the dataset, in their order."""

    name: str
    rows: NDArray[np.int64]


def prepare(dataset: Dataset, options: PrepareOptions) -> Prepared:
    """Write a dataset into shards, or what of them is still missing.

    The result depends on the dataset and the settings alone: not on the number of processes,
    machines or interruptions.

    Args:
        dataset: what `options.data` names.
        options: see `hornbeam prepare --help`.

    Raises:
        ConfigError: the directory holds something else, or was prepared in another way.
        DataError: a picture is bad and may not be left out, the disk is full, or a process died.
    """
    out = options.out
    sizes = _sizes(dataset)
    settings = _settings(options) | {"source": _fingerprint(dataset, sizes)}
    shards = _plan(dataset, options)
    claim(out, settings)
    if _is_whole(out, shards):
        description = json.loads((out / DESCRIPTION).read_bytes())
        return Prepared(description["examples"], len(shards), 0, 0, description["skipped"])

    part, parts = options.part_of
    with locked(out, part, parts):
        (out / DESCRIPTION).unlink(missing_ok=True)  # a shard was damaged since
        (out / PARTS).mkdir(exist_ok=True)
        mine = [shard for number, shard in enumerate(shards) if number % parts == part]
        _sweep(out, mine)
        todo = [shard for shard in mine if _entries(out, shard) is None]
        try:
            _write(dataset, out, todo, sizes, options)
        except DataError:
            if options.part is None:
                release(out)
            raise
        finally:
            _sweep(out, mine)  # what killed processes left
        missing = sum(_entries(out, shard) is None for shard in shards)
        if missing:
            return Prepared(0, len(shards), len(todo), missing, {})
        with full_disk_explained(out):
            examples, skipped = _conclude(dataset, out, shards, settings)
    return Prepared(examples, len(shards), len(todo), 0, skipped)


def _settings(options: PrepareOptions) -> dict[str, Any]:
    """Return the options that decide what is in the shards."""
    per_shard = None if options.shards else options.examples_per_shard or _EXAMPLES_PER_SHARD
    return {
        "shards": options.shards,
        "examples_per_shard": per_shard,
        "shorter_side": options.shorter_side,
        # The default counts where it does nothing, so that only one difference is told.
        "quality": options.quality
        if options.shorter_side
        else PrepareOptions.model_fields["quality"].default,
        "seed": options.seed,
        "format": options.format,
        "version": FORMAT,
    }


def _plan(dataset: Dataset, options: PrepareOptions) -> list[_Shard]:
    """Divide the examples of each split among its shards, in an order drawn by the seed."""
    shards = []
    for number, split in enumerate(dataset.splits):
        rows = dataset.where(split)
        order = np.random.default_rng((options.seed, number)).permutation(rows)
        count = options.shards or round(
            len(rows) / (options.examples_per_shard or _EXAMPLES_PER_SHARD)
        )
        count = max(1, min(count, len(rows)))
        prefix = re.sub(r"[^\w.-]", "_", split) or _WITHOUT_SPLIT
        for index, part in enumerate(np.array_split(order, count)):
            shards.append(_Shard(f"{prefix}-{index:05d}-of-{count:05d}.tfrecord", part))
    return shards


def _sizes(dataset: Dataset) -> NDArray[np.int64]:
    """Return the bytes of each picture's file or record, -1 where only reading it would tell."""
    if isinstance(dataset.reader, Shards):
        return np.asarray(dataset.table["length"].to_numpy(), np.int64)
    sizes = np.full(len(dataset), -1, np.int64)
    if isinstance(dataset.reader, Files):
        for row, path in enumerate(dataset.paths):
            location = remote.join(dataset.root, path)
            if not remote.is_remote(location):
                with contextlib.suppress(OSError):  # writing the shard names the file
                    sizes[row] = os.stat(location).st_size  # noqa: PTH116 - a Path takes twice as long
    return sizes


def _fingerprint(dataset: Dataset, sizes: NDArray[np.int64]) -> str:
    """Return 16 digits of what the shards are made of: paths, sizes, labels and splits, in order.

    Dates do not count: copies on other machines have others.
    """
    content = hashlib.blake2b(repr(dataset.tasks).encode(), digest_size=8)
    kept = [name for name in dataset.table.column_names if name not in _SOURCE_ONLY]
    for name in sorted(kept):
        content.update(f"\n{name}\n".encode())
        for chunk in dataset.table.select([name]).to_batches(max_chunksize=65536):
            content.update("".join(f"{value}\0" for value in chunk.column(0).to_pylist()).encode())
    content.update(sizes.astype("<i8").tobytes())
    return content.hexdigest()


def _is_whole(out: Path, shards: list[_Shard]) -> bool:
    """Whether all is written; the size of each shard is looked at, its content not."""
    if not (out / DESCRIPTION).exists():
        return False
    try:
        table = open_prepared(out).table.select(["shard", "offset", "length"])
    except DataError:
        return False  # damaged: it is made again from the indexes of the shards
    ends = pc.add(pc.add(table["offset"], table["length"]), OVERHEAD)
    found = table.append_column("end", ends).group_by("shard").aggregate([("end", "max")])
    expected = dict(zip(found["shard"].to_pylist(), found["end_max"].to_pylist(), strict=True))
    return all(_size(out / shard.name) == expected.get(shard.name, 0) for shard in shards)


def _write(
    dataset: Dataset,
    out: Path,
    todo: list[_Shard],
    sizes: NDArray[np.int64],
    options: PrepareOptions,
) -> None:
    """Write shards, and the index of each once it is whole."""
    is_remote = remote.is_remote(dataset.root)
    encoding = Encoding(
        shorter_side=options.shorter_side,
        quality=options.quality,
        max_pixels=options.max_pixels,
        skip_bad=options.on_bad == "skip",
        threads=options.threads or (_REMOTE_THREADS if is_remote else 1),
    )
    jobs = (
        Job(number, out / shard.name, dataset.take(shard.rows)) for number, shard in enumerate(todo)
    )
    count = sum(len(shard.rows) for shard in todo)
    taken = sum(int(sizes[shard.rows].clip(0).sum()) for shard in todo)
    costly = options.shorter_side is not None or is_remote
    worth = (
        count // (_PER_PROCESS_ENCODED if costly else _PER_PROCESS) + taken // _BYTES_PER_PROCESS
    )
    workers = options.workers or min(backend.cores(), worth)
    if not isinstance(dataset.reader, (Files, Shards)):
        workers = 1  # a user's object may not be sent to another process
    with console.progress("writing shards", count) as advance:

        def finished(job: Job, entries: list[Entry]) -> None:
            with full_disk_explained(out):
                columns = dict(zip(Entry._fields, zip(*entries, strict=True), strict=True))
                storage.write_table(_index(out, job.path.name), pa.table(columns))

        write_all(jobs, encoding, min(workers, len(todo)), advance, finished)


def _entries(out: Path, shard: _Shard) -> pa.Table | None:
    """Return the index of a shard, or nothing if the shard is not whole."""
    size = _size(out / shard.name)
    try:
        table = pq.read_table(_index(out, shard.name))
        ends = pc.max(pc.add(pc.add(table["offset"], table["length"]), OVERHEAD)).as_py()
    except (OSError, pa.ArrowException, KeyError):
        return None
    good = pc.any(pc.greater_equal(table["offset"], 0)).as_py()
    return table if len(table) == len(shard.rows) and size == (ends if good else 0) else None


def _conclude(
    dataset: Dataset, out: Path, shards: list[_Shard], settings: dict[str, Any]
) -> tuple[int, dict[str, str]]:
    """Write the index of all examples and, last, what the directory holds."""
    found = [_entries(out, shard) for shard in shards]
    table = pa.concat_tables([entries for entries in found if entries is not None])
    whole = dataset.take(np.concatenate([shard.rows for shard in shards]))
    names = [shard.name for shard in shards for _ in range(len(shard.rows))]
    good = np.flatnonzero(pc.equal(table["fault"], "").to_numpy(zero_copy_only=False))
    faults = table["fault"].to_pylist()
    skipped = {path: why for path, why in zip(whole.paths, faults, strict=True) if why}
    if not len(good):
        raise DataError(f"None of the {len(whole)} pictures of {dataset.root} can be read.")

    kept = [name for name in whole.table.column_names if name not in _SOURCE_ONLY]
    whole = dataclasses.replace(whole, root=out, table=whole.table.select(kept), reader=Shards())
    whole = whole.with_column("shard", names)
    # Keys of the records, because a task may be called height, width or size.
    for column, name in (("offset", "offset"), ("length", "length"), ("height", "image/height"),
                         ("width", "image/width"), ("size", "image/size")):  # fmt: skip
        whole = whole.with_column(name, table[column].combine_chunks())
    whole = whole.take(good)
    whole.save(out / INDEX)
    splits = whole.table["split"]
    storage.write_json(out / DESCRIPTION, {
        "format": FORMAT,
        "examples": len(whole),
        "splits": {split: pc.sum(pc.equal(splits, split)).as_py() for split in whole.splits},
        "tasks": [
            {"name": task.name, "classes": task.classes, "multi_label": task.multi_label,
             "counts": whole.counts(task)}
            for task in whole.tasks
        ],
        "shards": len(shards),
        "skipped": skipped,
        "settings": settings,
    })  # fmt: skip
    return len(whole), skipped


def _index(out: Path, name: str) -> Path:
    return out / PARTS / f"{Path(name).stem}.parquet"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _sweep(out: Path, shards: list[_Shard]) -> None:
    """Remove what killed processes left of these shards under temporary names."""
    names = {shard.name for shard in shards} | {_index(out, shard.name).name for shard in shards}
    for folder in (out, out / PARTS):
        for path in folder.glob(".part-*"):
            if path.name.split("-", 2)[-1] in names:  # `.part-RANDOM-NAME`, see storage.py
                path.unlink(missing_ok=True)
