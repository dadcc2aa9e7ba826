"""Where a dataset comes from: folders, manifests, shards, a user's own reader."""

from __future__ import annotations

import dataclasses
import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hornbeam.config import TableOptions
from hornbeam.data import remote
from hornbeam.data.dataset import TRAIN, VALIDATION, Dataset
from hornbeam.data.tables.examples import read_examples
from hornbeam.data.tables.folders import TASK_NAME, UNSPLIT, Tell, read_folder, refuse
from hornbeam.data.tables.labels import Rows, from_dataset, to_dataset
from hornbeam.data.tables.manifests import is_manifest, read_manifest, read_unlabelled
from hornbeam.data.tasks import Task
from hornbeam.data.walking import require_utf8, walk_pictures
from hornbeam.errors import ConfigError, DataError, did_you_mean, listing

_PATTERN = re.compile(r"[*?\[]")
_AS_IT_IS = TableOptions()
_SHARD = re.compile(r"\.tfrecords?(\.gz)?$|-\d{5}-of-\d{5}$")


def open_dataset(
    location: str | Path | None,
    options: TableOptions = _AS_IT_IS,
    tasks: tuple[Task, ...] | None = None,
    *,
    examples: Any = None,
    tell: Tell = refuse,
    features: Sequence[str] | None = None,
) -> Dataset:
    """Read the table of examples of a folder, a manifest, shards, or a user's reader.

    Args:
        location: a path, a pattern of TFRecord files, or a remote address of either.
        options: columns, labels file, ….
        tasks: what a model can tell, where there is one: it fixes the classes and their order.
        examples: `examples(split)` of a recipe, which takes the place of the location.
        tell: is told of faults that need not stop the reading, instead of raising them.
        features: the numbers that a model takes beside the picture; else those that the options
            name, or all that shards have.

    Raises:
        ConfigError: there is no such place, or it lacks a column.
        DataError: what is there cannot be read as a dataset.
    """
    if features is not None:
        options = options.model_copy(update={"feature_columns": tuple(features)})
    place = str(location or "")
    if examples is not None:
        rows = read_examples(examples, place or None, options.feature_columns)
        return to_dataset(rows, options, tasks)
    if not place:
        raise ConfigError("DATA is missing: folder of pictures, manifest, or TFRecord files.")
    dataset = to_dataset(_read(place, options, tell, tasks), options, tasks)
    if features is None and not options.feature_columns:
        return dataset
    return dataset.with_features(options.feature_columns)


def open_both(
    location: str, validation: str, options: TableOptions, tell: Tell = refuse
) -> Dataset:
    """Read training pictures from one place and validation pictures from another.

    Splits that the two places may have themselves are not looked at.
    """
    training = open_dataset(location, options, tell=tell)
    judging = open_dataset(
        validation, options, training.tasks, tell=tell, features=training.features
    )
    if type(training.reader) is not type(judging.reader):
        raise ConfigError(
            f"{location} and {validation} are of different kinds; give two of pictures or two of shards."
        )
    tables = []
    for dataset, split in ((training, TRAIN), (judging, VALIDATION)):
        place = "shard" if "shard" in dataset.table.column_names else "path"
        whole = [
            remote.absolute(remote.join(dataset.root, p)) for p in dataset.table[place].to_pylist()
        ]
        dataset = dataset.with_column(place, whole).with_column("split", [split] * len(dataset))
        tables.append(dataset.table)
    shared = [name for name in tables[0].column_names if name in tables[1].column_names]
    table = pa.concat_tables([table.select(shared) for table in tables]).combine_chunks()
    root = training.root if remote.is_remote(training.root) else Path(training.root).absolute()
    return dataclasses.replace(training, root=root, table=table)


def open_pictures(
    arguments: Sequence[str | Path],
    *,
    image_column: str | None = None,
    features: Sequence[str] = (),
    allow_outside: bool = False,
) -> Dataset:
    """List pictures without labels: files as they are named, folders with all that is in them.

    Args:
        arguments: paths and addresses of pictures, and folders; or one manifest.
        image_column: of the manifest.
        features: columns of numbers that the model takes beside the picture; only a manifest can
            have them.
        allow_outside: whether the manifest may name files outside its own folder.

    Raises:
        ConfigError: a path does not exist, or a manifest is needed or lacks a column.
        DataError: there is no picture, or a number is missing.
    """
    manifests = [str(argument) for argument in arguments if is_manifest(str(argument))]
    if manifests and len(arguments) > 1:
        raise ConfigError(
            f"{manifests[0]} is taken for a manifest, by the end of its name; give it alone, or leave "
            "it out."
        )
    if manifests:
        root, columns = read_unlabelled(manifests[0], image_column, features, allow_outside)
        return Dataset.from_columns(root, columns.pop("path"), columns.pop("split"), **columns)
    if features:
        raise ConfigError(
            f"The model takes {listing(features)} beside the picture; give a manifest with the columns "
            f"{', '.join(['path', *features])} instead of pictures alone."
        )
    paths: list[str] = []
    for argument in map(str, arguments):
        if remote.is_remote(argument):
            paths.append(argument)
        elif Path(argument).is_dir():
            paths.extend(os.path.join(argument, path) for path in walk_pictures(argument))
        elif Path(argument).exists():
            require_utf8(argument)
            paths.append(argument)
        else:
            raise ConfigError(f"{argument} does not exist.")
    if not paths:
        raise DataError(f"There are no pictures in {listing(map(str, arguments))}.")
    return Dataset.from_columns(Path(), paths, [UNSPLIT] * len(paths))


def subset(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return the dataset with `count` training pictures only, drawn by the seed; all others stay.

    Of every class at least one is kept, where there are enough.
    """
    training = dataset.where(TRAIN)
    if count >= len(training):
        return dataset
    order = np.random.default_rng(seed).permutation(training)
    first: list[int] = []
    for task in dataset.tasks:
        labels = dataset.labels(task)[order]
        if task.multi_label:
            first += [int(order[np.argmax(column)]) for column in labels.T if column.any()]
        else:
            found, places = np.unique(labels, return_index=True)
            first += order[places[found >= 0]].tolist()
    chosen = list(dict.fromkeys([*first, *order.tolist()]))[:count]
    kept = np.setdiff1d(np.arange(len(dataset)), training)
    return dataset.take(np.sort(np.concatenate([kept, np.asarray(chosen, np.int64)])))


def _read(location: str, options: TableOptions, tell: Tell, tasks: tuple[Task, ...] | None) -> Rows:
    # A folder or manifest that is there may have brackets in its name, and is no pattern then.
    is_there = not remote.is_remote(location) and (
        os.path.isdir(location) or (is_manifest(location) and os.path.isfile(location))
    )
    if not is_there and (_PATTERN.search(location) or _SHARD.search(location)):
        return _read_shards(_matching(location), options)
    if is_manifest(location):
        return read_manifest(location, options, tasks)
    root: Path | str = location.rstrip("/") if remote.is_remote(location) else Path(location)
    if isinstance(root, Path):
        _require_directory(root)
        files = sorted(str(path) for path in root.iterdir() if _SHARD.search(path.name))
        prepared = (root / "index.parquet").is_file() or (root / "prepare.json").is_file()
    else:
        files, prepared = [], remote.exists(f"{root}/index.parquet")
    if prepared:
        from hornbeam.data.shards.tfrecord import open_prepared

        return from_dataset(open_prepared(root))
    if files:
        return _read_shards(files, options)
    return read_folder(root, tell, any_class=tasks is not None)


def _read_shards(files: list[str], options: TableOptions) -> Rows:
    from hornbeam.data.shards.tfrecord import Shards, open_prepared, scan_shards

    folders = {os.path.dirname(path) for path in files}
    folder = Path(next(iter(folders)))
    if len(folders) == 1 and (folder / "index.parquet").is_file():  # shards of ours, by a pattern
        whole = open_prepared(folder)
        names = pa.array([os.path.basename(path) for path in files])
        chosen = pc.is_in(whole.table["shard"], names).to_numpy(zero_copy_only=False)
        if chosen.any():
            return from_dataset(whole.take(np.flatnonzero(chosen)))

    table, classes = scan_shards(files, options)
    columns = {name: table[name].combine_chunks() for name in table.column_names if name != "label"}

    def where(row: int, column: str) -> str:
        return f"{table['shard'][row]}, record at byte {table['offset'][row]}"

    root = "" if remote.is_remote(files[0]) else Path()
    labels = {TASK_NAME: table["label"].combine_chunks()}
    order = {TASK_NAME: classes} if classes else {}
    return Rows(root, columns, labels, where, order, Shards())


def _matching(pattern: str) -> list[str]:
    """Return the files of a pattern, or the file that is one."""
    if remote.is_remote(pattern):
        return remote.glob_files(pattern) if _PATTERN.search(pattern) else [pattern]
    files = sorted(path for path in glob.glob(pattern) if os.path.isfile(path))
    if not files and os.path.isfile(pattern):
        files = [pattern]
    if not files:
        raise ConfigError(
            f"There is no file {pattern}; a pattern of TFRecord files is like 'train-*'."
        )
    return files


def _require_directory(root: Path) -> None:
    if root.is_dir():
        if (root / "config.yaml").is_file() and (root / "dataset.parquet").is_file():
            raise ConfigError(f"{root} is a run; expected pictures.")
        return
    if root.exists():
        raise ConfigError(
            f"{root} is a file; expected a folder with one folder per class, a manifest (.csv .json "
            ".jsonl .parquet .txt), or TFRecord files."
        )
    siblings = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
    raise ConfigError(f"The folder {root} does not exist.{did_you_mean(root.name, siblings)}")
