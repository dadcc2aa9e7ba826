"""TFRecord files that others wrote, with the keys of TensorFlow's Model Garden or of TF-Slim.

They have no index, so each file is read once from end to end; what was found is kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hornbeam import console
from hornbeam.config import TableOptions
from hornbeam.data import remote
from hornbeam.data.shards import tfexample
from hornbeam.data.shards.records import Damaged, Source
from hornbeam.data.tables.folders import SPLIT_NAMES, UNSPLIT
from hornbeam.data.tables.labels import BACKGROUND, read_labels_file
from hornbeam.errors import DataError
from hornbeam.storage import write_table

_SCAN = pa.schema([
    ("offset", pa.int64()), ("length", pa.int64()), ("filename", pa.string()),
    ("numbers", pa.list_(pa.int64())), ("texts", pa.list_(pa.string())),
])  # fmt: skip

_FORMAT = "1"
"""Of a cached scan; changes with what is in it."""

_LABELS = "labels.txt"
"""TF-Slim's name for the class names beside shards: lines such as `0:daisy`."""


def scan_shards(
    files: Sequence[str], options: TableOptions
) -> tuple[pa.Table, tuple[str, ...] | None]:
    """List the examples in TFRecord files.

    Labels are the texts of `image/class/text`. Where there are none, the numbers of
    `image/class/label` are places in `--labels-file`, else in a `labels.txt` beside the files, else
    names themselves. Numbers that never are 0 count from 1, because 0 is kept for a background.

    Args:
        files: paths, or remote addresses, in the order of the table.
        options: of which the labels file and background class matter here.

    Returns:
        Columns `path` (`image/filename`, or shard and number where that is not there or not unique),
        `split` (from the names of the files), `shard`, `offset`, `length`, and `label`: a class name,
        or a list of them if any record has several. And the classes in their order, where numbers or
        a file tell it.

    Raises:
        ConfigError: the labels file cannot be read.
        DataError: a file is damaged or has no examples, or labels contradict each other; the message
            names file and record.
    """
    scans = []
    with console.progress("reading shards", len(files)) as advance:
        for file in files:
            scans.append(_scan(file))
            advance(1)
    table = pa.concat_tables(scans).combine_chunks()
    if not table.num_rows:
        raise DataError(f"There are no records in {files[0]}" + _and_others(files) + ".")
    counts = [scan.num_rows for scan in scans]
    shards = [file for file, count in zip(files, counts, strict=True) for _ in range(count)]
    label, classes = _name_labels(table, shards, files, options)
    columns = {
        "path": _paths(table["filename"], files, counts),
        "split": [infer_split(f) for f, n in zip(files, counts, strict=True) for _ in range(n)],
        "shard": pa.array(shards, pa.string()),
        "offset": table["offset"],
        "length": table["length"],
        "label": label,
    }
    return pa.table(columns).combine_chunks(), classes


def infer_split(location: str) -> str:
    """Return the split that the name of a file tells, else that of its folder, else `UNSPLIT`.

    Example:
        >>> infer_split("flowers/flowers_validation_00000-of-00005.tfrecord")
        'validation'
    """
    name, folder = PurePosixPath(location).name, PurePosixPath(location).parent.name
    for text in (name, folder):
        words = re.split(r"[^a-z]+", text.lower())
        named = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
        if len(named) == 1:
            return named.pop()
    return UNSPLIT


def _scan(location: str) -> pa.Table:
    """Return what is in one file, from the cache if it has not changed."""
    if remote.is_remote(location):
        key = location
    else:
        try:
            state = Path(location).stat()
        except OSError as error:
            raise DataError(f"{location}: the file cannot be read ({error.strerror}).") from None
        key = f"{os.path.realpath(location)}\n{state.st_size}\n{state.st_mtime_ns}"
    digest = hashlib.blake2b(f"{_FORMAT}\n{key}".encode(), digest_size=16).hexdigest()
    kept = remote.cache_directory() / "tfrecord" / digest[:2] / f"{digest[2:]}.parquet"
    try:
        return pq.read_table(kept, schema=_SCAN)
    except (OSError, pa.ArrowException):
        pass  # not there yet, or damaged
    table = pa.Table.from_pylist(list(_examples(location)), schema=_SCAN)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_table(kept, table)
    except OSError as error:
        # A cache that is full or may not be written costs time, and no more.
        console.warn(f"{kept.parent} cannot keep what was read ({error.strerror}).")
    return table


def _examples(location: str) -> Iterator[dict[str, Any]]:
    for record in Source(location).records():
        try:
            features = tfexample.parse(record.payload)
            tfexample.picture(record.payload)
            names = tfexample.texts(features, tfexample.FILENAME)
            yield {
                "offset": record.offset,
                "length": len(record.payload),
                "filename": names[0] if names else "",
                "numbers": tfexample.numbers(features, tfexample.LABEL),
                "texts": tfexample.texts(features, tfexample.TEXT),
            }
        except Damaged as reason:
            name = f"{location}, record {record.number} at byte {record.offset}"
            raise DataError(f"{name}: {reason}.") from None


def _name_labels(
    table: pa.Table, shards: list[str], files: Sequence[str], options: TableOptions
) -> tuple[Any, tuple[str, ...] | None]:
    """Return the label column, and the classes in their order."""
    numbers, texts = table["numbers"].to_pylist(), table["texts"].to_pylist()

    def name(row: int) -> str:
        return f"{shards[row]}, record at byte {table['offset'][row]}"

    for row, (some, others) in enumerate(zip(numbers, texts, strict=True)):
        if not some and not any(others):
            raise DataError(
                f"{name(row)}: the example has neither '{tfexample.LABEL}' nor '{tfexample.TEXT}'."
            )
    if all(any(some) for some in texts):
        labels, classes = _by_text(numbers, texts, name)
    else:
        labels, classes = _by_number(numbers, files, options, name)
    if any(len(some) > 1 for some in labels):
        return pa.array(labels, pa.list_(pa.string())), classes
    return pa.array([some[0] for some in labels], pa.string()), classes


def _by_text(
    numbers: list[list[int]], texts: list[list[str]], name: Any
) -> tuple[list[list[str]], tuple[str, ...] | None]:
    """Take the texts for labels, in the order of their numbers, where each has one."""
    meaning: dict[int, str] = {}
    for row, (some, words) in enumerate(zip(numbers, texts, strict=True)):
        if len(some) != len(words):
            return texts, None
        for number, word in zip(some, words, strict=True):
            if meaning.setdefault(number, word) != word:
                raise DataError(
                    f"{name(row)}: label {number} is '{word}', and '{meaning[number]}' in a record "
                    "before; the files are of different datasets."
                )
    if len(set(meaning.values())) < len(meaning):
        # ImageNet has two classes `crane`. Their numbers tell them apart.
        counts = pc.value_counts(pa.array(meaning.values(), pa.string())).to_pylist()
        shared = {entry["values"] for entry in counts if entry["counts"] > 1}
        meaning = {n: f"{word} ({n})" if word in shared else word for n, word in meaning.items()}
        texts = [[meaning[number] for number in some] for some in numbers]
    return texts, tuple(meaning[number] for number in sorted(meaning))


def _by_number(
    numbers: list[list[int]], files: Sequence[str], options: TableOptions, name: Any
) -> tuple[list[list[str]], tuple[str, ...] | None]:
    """Look the numbers up in a labels file, or take them for names."""
    for row, some in enumerate(numbers):
        if not some:
            raise DataError(
                f"{name(row)}: the example has '{tfexample.TEXT}' and no '{tfexample.LABEL}', by which "
                "others are told; all must have one of the two."
            )
    used = {number for some in numbers for number in some}
    beside = remote.join(remote.parent(files[0]) or ".", _LABELS)
    source = options.labels_file or (Path(beside) if Path(beside).is_file() else None)
    if source is None:
        classes = tuple(str(number) for number in sorted(used))
        return [[str(number) for number in some] for some in numbers], classes
    classes = read_labels_file(source)
    names = dict(enumerate(classes))
    if options.background_class or (0 not in used and not _says_numbers(source)):
        # TF-Slim's ImageNet and the projects that copied it count from 1: 0 is no class of theirs.
        names = {0: BACKGROUND} | {number + 1: word for number, word in enumerate(classes)}
        if max(used) < len(classes) and not options.background_class:
            console.warn(
                f"No label of {files[0]}{_and_others(files)} is 0, so they are taken to count from 1: "
                f"1 is '{classes[0]}'. If 0 is, write the lines of {source} as '0:{classes[0]}'."
            )
    for row, some in enumerate(numbers):
        for number in some:
            if number not in names:
                raise DataError(
                    f"{name(row)}: the label is {number}, but {source} has {len(classes)} classes."
                )
    return [[names[number] for number in some] for some in numbers], classes


def _says_numbers(source: Path) -> bool:
    """Whether the lines of a labels file begin with their own numbers, as in `0:daisy`."""
    return bool(re.match(r"\ufeff?\s*0:", source.read_text(encoding="utf-8")))


def _paths(filenames: Any, files: Sequence[str], counts: list[int]) -> Any:
    if not pc.any(pc.equal(filenames, "")).as_py() and pc.count_distinct(filenames).as_py() == len(
        filenames
    ):
        return filenames
    return pa.array(
        [
            f"{PurePosixPath(file).name}#{number}"
            for file, count in zip(files, counts, strict=True)
            for number in range(count)
        ],
        pa.string(),
    )


def _and_others(files: Sequence[str]) -> str:
    return f" and {len(files) - 1} more" if len(files) > 1 else ""
