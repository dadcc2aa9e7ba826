"""Folders of pictures, one folder per class, here or at a remote address.

root/class/**/picture                            a split is made later
root/{train,val|valid|validation,test}/class/**/picture
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from hornbeam import console
from hornbeam.data.dataset import TEST, TRAIN, VALIDATION
from hornbeam.data.remote import is_remote, list_files
from hornbeam.data.tables.labels import Rows
from hornbeam.data.walking import is_hidden, is_picture, natural_key, walk
from hornbeam.errors import DataError, listing

UNSPLIT = ""
"""The split of examples that still need one."""

TASK_NAME = "label"
"""The task of a dataset whose labels are the names of folders."""

SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "eval": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""What folders, columns and files call the splits."""

_SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "test")

Tell = Callable[[str, str], None]
"""Is told of a fault: its kind and a sentence."""


def refuse(kind: str, sentence: str) -> None:
    """Raise what is wrong with a dataset; only warn of what does no harm."""
    if kind == "stray":
        console.warn(sentence)
    else:
        raise DataError(f"{sentence} `hornbeam check` tells all that is wrong.")


def read_folder(root: Path | str, tell: Tell = refuse, any_class: bool = False) -> Rows:
    """List the pictures below `root`, whichever of the two layouts it has.

    Args:
        root: a directory, or a remote address of one.
        tell: is told of classes that differ between splits (`class-mismatch`), of those without
            pictures (`empty-class`), and of pictures in no class folder (`stray`).
        any_class: do not compare the splits, because a model fixes the classes.

    Returns:
        Rows of one task, `label`. Without split folders every example's split is `UNSPLIT`.

    Raises:
        DataError: there are no pictures in class folders.
    """
    folders, pictures = _list(root)
    splits = _find_splits(root, folders)
    paths, labels, of_split, stray = [], [], [], []
    for path in pictures:
        parts = path.split("/")
        inside = parts[1:] if splits else parts
        if len(inside) < 2 or (splits and parts[0] not in splits):
            stray.append(path)
            continue
        paths.append(path)
        of_split.append(splits[parts[0]] if splits else UNSPLIT)
        labels.append(inside[0])
    if not paths:
        raise DataError(_why_no_classes(root, bool(stray)))
    if stray:
        count = "1 picture lies" if len(stray) == 1 else f"{len(stray)} pictures lie"
        tell(
            "stray", f"{count} in no class folder and will be left out, such as {root}/{stray[0]}."
        )
    present: dict[str, set[str]] = {}
    for split, label in zip(of_split, labels, strict=True):
        present.setdefault(split, set()).add(label)
    _find_empty(root, folders, splits, present, tell)
    if not any_class:
        _compare_splits(root, present, tell)
    if splits:  # train, validation, test, in that order
        order = sorted(
            range(len(paths)), key=lambda i: (TRAIN, VALIDATION, TEST).index(of_split[i])
        )
        paths, labels, of_split = (
            [column[i] for i in order] for column in (paths, labels, of_split)
        )
    columns = {"path": pa.array(paths, pa.string()), "split": pa.array(of_split, pa.string())}

    def where(row: int, column: str) -> str:
        return f"{root}/{paths[row]}"

    return Rows(root, columns, {TASK_NAME: pa.array(labels, pa.string())}, where)


def _list(root: Path | str) -> tuple[list[str], list[str]]:
    """Return the folders below `root` down to the second level, and the pictures, relative to it."""
    folders, pictures = [], []
    if isinstance(root, Path) or not is_remote(root):
        for path, is_folder in walk(str(root)):
            if is_folder:
                folders.append(path)
            elif is_picture(path):
                pictures.append(path)
        return [f for f in folders if f.count("/") < 2], pictures
    for path in list_files(str(root)):
        parts = path.split("/")
        if not any(is_hidden(part) for part in parts) and is_picture(path):
            pictures.append(path)
            folders.extend("/".join(parts[: depth + 1]) for depth in range(min(2, len(parts) - 1)))
    pictures.sort(key=lambda path: [natural_key(part) for part in path.split("/")])
    return sorted(set(folders), key=natural_key), pictures


def _find_splits(root: Path | str, folders: list[str]) -> dict[str, str]:
    """Return the split of each folder of `root`, or nothing if those folders are classes.

    They are splits when there is a training folder, every folder has a split's name, and they hold
    folders: a class of pictures of trains may be called `train`.
    """
    top = [folder for folder in folders if "/" not in folder]
    with_folders = {folder.split("/")[0] for folder in folders if "/" in folder}
    lower = {folder.lower() for folder in top}
    if not lower <= set(_SPLIT_FOLDERS) or not {"train", "training"} & lower:
        return {}
    if not set(top) <= with_folders:
        return {}
    splits: dict[str, str] = {}
    for folder in top:
        split = SPLIT_NAMES[folder.lower()]
        twin = next((other for other, of in splits.items() if of == split), None)
        if twin is not None:
            raise DataError(
                f"{root} has two folders of {split} pictures, '{twin}' and '{folder}'; merge them or "
                "move one away."
            )
        splits[folder] = split
    return splits


def _find_empty(
    root: Path | str, folders: list[str], splits: dict[str, str], present: dict[str, set[str]],
    tell: Tell,
) -> None:  # fmt: skip
    for top, split in splits.items() or {"": UNSPLIT}.items():
        depth = 1 if splits else 0
        inside = [f.split("/") for f in folders if f.count("/") == depth]
        names = [parts[-1] for parts in inside if not splits or parts[0] == top]
        empty = [name for name in names if name not in present.get(split, set())]
        if empty and len(empty) < len(names):
            place = f"{root}/{top}".rstrip("/")
            tell(
                "empty-class",
                f"{place} has no pictures of class {listing(empty)}; add some, or remove the folder "
                "if it is not a class.",
            )


def _compare_splits(root: Path | str, present: dict[str, set[str]], tell: Tell) -> None:
    trained = present.get(TRAIN, next(iter(present.values())))
    for split, names in present.items():
        sides = [
            f"{side} has {listing(sorted(extra, key=natural_key))} and {other} has not"
            for side, other, extra in (
                (TRAIN, split, trained - names), (split, TRAIN, names - trained),
            )
            if extra
        ]  # fmt: skip
        if sides:
            tell("class-mismatch", f"The classes of {root} differ: {'; '.join(sides)}.")


def _why_no_classes(root: Path | str, has_pictures: bool) -> str:
    layout = "expected one folder per class, as in root/cat/1.jpg"
    if has_pictures:
        return f"{root} has pictures, but in no class folder; {layout}."
    kinds = "JPEG, PNG, WebP, GIF, BMP, TIFF, …"
    return f"There are no pictures in {root}; {layout} ({kinds})."
