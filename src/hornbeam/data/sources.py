"""Where a dataset comes from: today folders of pictures, one folder per class.

root/class/**/picture                            a split is made later
root/{train,val|valid|validation,test}/class/**/picture
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hornbeam.config import TableOptions
from hornbeam.data.dataset import TEST, TRAIN, VALIDATION, Dataset, Task, natural_order
from hornbeam.data.images import EXTENSIONS
from hornbeam.errors import ConfigError, DataError, did_you_mean, listing

UNSPLIT = ""
"""The split of examples that still need one."""

TASK_NAME = "label"
"""The task of a dataset whose labels are the names of folders."""

_SPLIT_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
}


def open_dataset(
    location: str, options: TableOptions, tasks: tuple[Task, ...] | None = None
) -> Dataset:
    """Read the table of examples of a folder, a manifest or shards.

    Args:
        location: a path, a pattern of TFRecord files, or a remote address of either.
        options: columns, labels file, ….
        tasks: what a model can tell, where there is one: it fixes the classes and their order.

    Raises:
        ConfigError: there is no such place.
        DataError: what is there cannot be read as a dataset.
    """
    return open_folder(Path(location), tasks[0].classes if tasks else None)


def open_folder(root: Path, classes: tuple[str, ...] | None = None) -> Dataset:
    """List the pictures below `root`, whichever of the two layouts it has.

    Args:
        root: a directory.
        classes: the order of the classes, where a model fixes it; folders may then be missing, but
            none may be new. Without it the order is natural (`class2` before `class10`).

    Returns:
        A dataset of one task, `label`. Without split folders every example's split is `UNSPLIT`.

    Raises:
        ConfigError: `root` is not a directory.
        DataError: there are no pictures, fewer than two classes, a class without pictures, or
            splits whose classes differ.
    """
    _require_directory(root)
    splits = _split_folders(root)
    parts = splits or {UNSPLIT: root}
    found = {split: _class_folders(folder) for split, folder in parts.items()}
    names = sorted({name for folders in found.values() for name in folders}, key=natural_order)
    if not names:
        raise DataError(_why_no_classes(root))
    if classes is None:
        _compare_splits(root, found)
        if len(names) < 2:
            raise DataError(f"{root} has one class, '{names[0]}'; a classifier needs at least two.")
        classes = tuple(names)
    for name in names:
        if name not in classes:
            raise DataError(
                f"{root} has a class '{name}' that the model does not know; it knows "
                f"{listing(classes)}.{did_you_mean(name, classes)}"
            )

    paths, labels, of_split = [], [], []
    for split, folders in found.items():
        for name, pictures in folders.items():
            for path in pictures:
                paths.append(path.relative_to(root).as_posix())
                labels.append(classes.index(name))
                of_split.append(split)
    _require_utf8(paths)
    return Dataset.from_columns(root, paths, of_split, {Task(TASK_NAME, classes): labels})


def open_pictures(arguments: list[Path]) -> Dataset:
    """List pictures without labels: files as they are named, folders with all that is in them.

    Raises:
        ConfigError: a path does not exist.
        DataError: there is no picture.
    """
    paths: list[str] = []
    for argument in arguments:
        if argument.is_dir():
            paths.extend(str(path) for path in _pictures(argument))
        elif argument.exists():
            paths.append(str(argument))
        else:
            raise ConfigError(f"{argument} does not exist.")
    if not paths:
        raise DataError(f"There are no pictures in {listing(map(str, arguments))}.")
    _require_utf8(paths)
    return Dataset.from_columns(Path(), paths, [UNSPLIT] * len(paths))


def _require_directory(root: Path) -> None:
    if root.is_dir():
        return
    if root.exists():
        raise ConfigError(f"{root} is a file; expected a folder with one folder per class.")
    siblings = [p.name for p in root.parent.iterdir()] if root.parent.is_dir() else []
    raise ConfigError(f"The folder {root} does not exist.{did_you_mean(root.name, siblings)}")


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of the splits, or nothing if the folders of `root` are classes.

    They are splits when there is a training folder, every folder has a split's name, and they hold
    folders: a class of pictures of trains may be called `train`.
    """
    folders = _folders(root)
    named = {folder.name.lower(): folder for folder in folders}
    if not set(named) <= set(_SPLIT_FOLDERS) or not {"train", "training"} & set(named):
        return {}
    if not all(_folders(folder) for folder in folders):
        return {}
    splits: dict[str, Path] = {}
    for name in sorted(named, key=lambda name: list(_SPLIT_FOLDERS).index(name)):
        split = _SPLIT_FOLDERS[name]
        if split in splits:
            raise DataError(
                f"{root} has two folders of {split} pictures, '{splits[split].name}' and "
                f"'{named[name].name}'; merge them or move one away."
            )
        splits[split] = named[name]
    return splits


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Return the pictures of each class, refusing a class that has none."""
    classes = {child.name: list(_pictures(child)) for child in _folders(folder)}
    empty = [name for name, pictures in classes.items() if not pictures]
    if empty and len(empty) < len(classes):
        raise DataError(
            f"{folder} has no pictures of class {listing(empty)}; "
            "add some, or remove the folder if it is not a class."
        )
    return {name: pictures for name, pictures in classes.items() if pictures}


def _compare_splits(root: Path, found: dict[str, dict[str, list[Path]]]) -> None:
    trained = set(found.get(TRAIN, next(iter(found.values()))))
    for split, folders in found.items():
        missing, extra = trained - set(folders), set(folders) - trained
        if missing or extra:
            sides = [
                f"{side} has {listing(sorted(names, key=natural_order))} and {other} has not"
                for side, other, names in ((TRAIN, split, missing), (split, TRAIN, extra))
                if names
            ]
            raise DataError(f"The classes of {root} differ: {'; '.join(sides)}.")


def _why_no_classes(root: Path) -> str:
    layout = "expected one folder per class, as in root/cat/1.jpg"
    if next(_pictures(root), None) is not None:
        return f"{root} has pictures, but in no class folder; {layout}."
    kinds = "JPEG, PNG, WebP, GIF, BMP, TIFF, …"
    return f"There are no pictures in {root}; {layout} ({kinds})."


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX"))]
    return [folder / name for name in sorted(names, key=natural_order)]


def _pictures(folder: Path) -> Iterator[Path]:
    """Yield the pictures below a folder, by their extension, in natural order, hidden ones left out.

    Links to folders are followed, each real folder once.
    """
    seen: set[str] = set()

    def walk(place: str) -> Iterator[Path]:
        real = os.path.realpath(place)
        if real in seen:
            return
        seen.add(real)
        with os.scandir(place) as entries:
            kept = [e for e in entries if not e.name.startswith((".", "__MACOSX"))]
        for entry in sorted(kept, key=lambda e: natural_order(e.name)):
            if entry.is_dir():
                yield from walk(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
                yield Path(entry.path)

    yield from walk(str(folder))


def _require_utf8(paths: list[str]) -> None:
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise DataError(f"{path!r}: the name is not valid UTF-8; rename the file.") from None
