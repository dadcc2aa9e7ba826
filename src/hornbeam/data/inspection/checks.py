"""What is wrong with pictures and labels: asked before the training, not in its third hour."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.dataset import TEST, TRAIN, VALIDATION, Dataset, Files
from hornbeam.data.inspection.duplicates import exact_groups, near_duplicate_groups, rows_of_groups
from hornbeam.data.inspection.facts import Facts
from hornbeam.data.inspection.findings import KINDS, Action, Finding
from hornbeam.data.inspection.strays import find_strays
from hornbeam.data.remote import is_remote
from hornbeam.data.tables.labels import BACKGROUND
from hornbeam.errors import listing

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "MPO": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",), "GIF": (".gif",), "BMP": (".bmp",), "DIB": (".bmp",),
    "WEBP": (".webp",), "TIFF": (".tif", ".tiff"), "AVIF": (".avif",), "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}  # fmt: skip
"""Extensions of each format; the first is suggested."""

_FIRST_KEPT = {TEST: 0, VALIDATION: 1, TRAIN: 2, "": 3}
"""Of copies in several splits the one that judges stays: its scores stay comparable."""

_IMBALANCE = 20
"""Times that the largest class may have the pictures of the smallest before it is told."""


def find_faults(
    dataset: Dataset,
    facts: Facts,
    *,
    near: int,
    smallest_class: int,
    threads: int,
    folder: Path | None = None,
    told: Iterable[tuple[str, str]] = (),
) -> list[Finding]:
    """Return everything that is wrong with a dataset, or worth knowing, problems first.

    Args:
        dataset: of any kind.
        facts: what `facts.gather` found of its pictures.
        near: bits in which the perceptual hashes of near duplicates may differ, 0 to 10.
        smallest_class: pictures below which a class is called tiny.
        threads: that search for near duplicates.
        folder: of class folders that the dataset was read from; its other files are looked at, too.
        told: kinds and sentences of what was found while the dataset was read.
    """
    findings = [Finding(kind, sentence) for kind, sentence in told if kind in KINDS]
    findings += _find_bad(dataset, facts)
    findings += _find_copies(dataset, facts, near, threads)
    findings += _find_wrong_extensions(dataset, facts)
    findings += _find_class_faults(dataset, facts, smallest_class, {f.kind for f in findings})
    findings += find_oddities(dataset, facts)
    if folder is not None and _has_own_files(dataset):
        findings += find_strays(folder)
    order = list(KINDS)
    return sorted(findings, key=lambda finding: order.index(finding.kind))


def find_oddities(dataset: Dataset, facts: Facts) -> Iterator[Finding]:
    """Yield notes about pictures that can be used and are unusual.

    Thresholds are such that of 3,781 ordinary photographs of clothes at most a few are named; what
    they miss and find is measured by `benchmarks/check.py`.
    """
    rows, good = facts.rows, facts.good()
    width, height = rows["width"].astype(float), rows["height"].astype(float)
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    side = np.sqrt(width * height)
    flat = rows["entropy"] < 1
    typical = float(np.median(side[good])) if good.any() else 1.0

    def sizes(row: int) -> str:
        return f"{width[row]:.0f}x{height[row]:.0f}"

    def greys(row: int) -> str:
        return f"mean grey {rows['brightness'][row]:.0f} of 255"

    tests: list[tuple[str, NDArray[np.bool_], str, Callable[[int], str]]] = [
        ("small", shorter < 24, "less than 24 pixels high or wide", sizes),
        ("odd-size", (side < typical / 4) | (side > typical * 8),
         f"far from the others' size, typically {typical:.0f} pixels", sizes),
        ("odd-aspect", longer > 4 * np.maximum(shorter, 1), "over 4 times as long as wide", sizes),
        ("dark", rows["brightest"] < 64, "hardly anything but black", greys),
        ("bright", rows["darkest"] > 215, "hardly anything but white", greys),
        ("blurry", (rows["sharpness"] < 0.005) & ~flat & (shorter >= 64), "without sharp edges",
         lambda row: f"sharpness {rows['sharpness'][row]:.4f}"),
        ("low-information", flat, "of one or two shades",
         lambda row: f"{rows['entropy'][row]:.1f} bits"),
        ("rotated", rows["orientation"] > 1, "stored turned or mirrored, with a tag that says so",
         lambda row: f"orientation {rows['orientation'][row]}"),
        ("animated", rows["animated"], "with more than one frame", sizes),
        ("transparent", rows["transparent"], "with transparent parts", sizes),
        ("cmyk", rows["mode"] == b"CMYK", "for printing, in CMYK", sizes),
        ("deep", rows["bits"] > 8, "with more than 8 bits a channel", sizes),
    ]  # fmt: skip
    for kind, which, what, text in tests:
        chosen = np.flatnonzero(which & good).tolist()
        if chosen:
            count = "1 picture is" if len(chosen) == 1 else f"{len(chosen)} pictures are"
            yield _finding(dataset, kind, f"{count} {what}.", chosen, map(text, chosen))


def _find_bad(dataset: Dataset, facts: Facts) -> Iterator[Finding]:
    """Yield pictures that cannot be used, by what is the matter."""
    kinds = defaultdict(list)
    for row, fault in enumerate(facts.faults):
        if not fault:
            continue
        fact = facts.rows[row]
        if int(fact["width"]) * int(fact["height"]) > dataset.max_pixels:
            kinds["too-large"].append(row)
        elif not fact["digest"]:
            kinds["missing"].append(row)
        elif not fact["size"]:
            kinds["empty"].append(row)
        else:
            kinds["truncated" if fact["format"] else "unreadable"].append(row)
    for kind, rows in kinds.items():
        title = KINDS[kind].title
        sentence = f"{len(rows)} pictures: {title}." if len(rows) > 1 else f"1 picture: {title}."
        yield _finding(dataset, kind, sentence, rows, (facts.faults[row] for row in rows))


def _find_copies(dataset: Dataset, facts: Facts, near: int, threads: int) -> Iterator[Finding]:
    """Yield groups of pictures that are the same, and of those that are nearly."""
    good = np.flatnonzero(facts.good())
    places = _Places(dataset)
    exact = [good[rows] for rows in exact_groups(facts.rows["digest"][good])]
    for rows in exact:
        yield from _judge_group(dataset, places, rows, "label-conflict", "leak", "exact-duplicate")
    # Of equal files one stands for all: what is wrong with those was said above.
    copies = np.concatenate([np.zeros(0, np.int64), *(rows[1:] for rows in exact)])
    single = np.setdiff1d(good, copies)
    chosen = facts.rows[single]
    groups = near_duplicate_groups(chosen["hash"], chosen["thumbnail"], near, threads)
    for rows in rows_of_groups(groups):
        yield from _judge_group(
            dataset, places, single[rows], "near-label-conflict", "near-leak", "near-duplicate"
        )


def _judge_group(
    dataset: Dataset, places: _Places, rows: NDArray[np.int64],
    conflict: str, leak: str, harmless: str,
) -> Iterator[Finding]:  # fmt: skip
    """Yield what is wrong with pictures that are copies of each other."""
    rows = np.array(sorted(rows, key=lambda row: _FIRST_KEPT.get(places.split(row), 4)))
    labels = {places.label(row) for row in rows}
    splits = sorted({places.split(row) for row in rows}, key=lambda name: _FIRST_KEPT.get(name, 4))
    near = conflict.startswith("near")
    what = (
        f"{len(rows)} pictures that are nearly the same" if near else f"{len(rows)} equal pictures"
    )
    details = [places.describe(row) for row in rows]
    if len(labels) > 1:
        sentence = f"{what} are labelled {listing(sorted(labels))}."
        yield _finding(dataset, conflict, sentence, rows, details)
    if len(splits) > 1:
        sentence = f"{what} are in {' and in '.join(splits)}."
        action = "review" if len(labels) > 1 else _deletion(dataset)
        yield _finding(dataset, leak, sentence, rows, details, action)
    elif len(labels) == 1:
        yield _finding(
            dataset, harmless, f"{what} have one label.", rows, details,
            None if near else _deletion(dataset),
        )  # fmt: skip


def _deletion(dataset: Dataset) -> Action:
    """Whether a copy can be deleted by itself: a record of a shard cannot."""
    return "delete" if _has_own_files(dataset) else "review"


class _Places:
    """The split and the label of each picture, in words."""

    def __init__(self, dataset: Dataset) -> None:
        self._splits = dataset.table["split"]
        self._labels = [(task, dataset.labels(task)) for task in dataset.tasks]

    def split(self, row: int) -> str:
        return str(self._splits[row].as_py())

    def label(self, row: int) -> str:
        names = []
        for task, labels in self._labels:
            value = labels[row]
            marked = np.flatnonzero(value) if task.multi_label else [value] if value >= 0 else []
            names.append("+".join(task.classes[index] for index in marked))
        return ", ".join(names)

    def describe(self, row: int) -> str:
        return " · ".join(filter(None, [self.split(row), self.label(row)]))


def _find_wrong_extensions(dataset: Dataset, facts: Facts) -> Iterator[Finding]:
    """Yield pictures whose name says another format than their content."""
    if not _has_own_files(dataset):
        return
    rows, names = [], []
    taken = set(dataset.paths)
    known = {suffix for suffixes in _SUFFIXES.values() for suffix in suffixes}
    formats = facts.rows["format"].astype("U8").tolist()
    for row, (path, kind) in enumerate(zip(dataset.paths, formats, strict=True)):
        stem, suffix = os.path.splitext(path)
        right = _SUFFIXES.get(kind)
        if not right or suffix.lower() in right or suffix.lower() not in known or facts.faults[row]:
            continue
        name, number = stem + right[0], 1
        while name in taken:
            name, number = f"{stem}-{number}{right[0]}", number + 1
        taken.add(name)
        rows.append(row)
        names.append(name)
    if rows:
        what = "1 name says" if len(rows) == 1 else f"{len(rows)} names say"
        sentence = f"{what} another format than the content."
        yield _finding(dataset, "wrong-extension", sentence, rows, names)


def _find_class_faults(
    dataset: Dataset, facts: Facts, smallest: int, known: set[str]
) -> Iterator[Finding]:
    """Yield classes with too few usable pictures, or in one split and not in another."""
    usable = dataset.take(np.flatnonzero(facts.good()))
    for task in dataset.tasks:
        counts = usable.counts(task)
        if "class-mismatch" not in known:
            for split, of_class in counts.items():
                missing = [
                    name for name, count in of_class.items()
                    if not count and any(other[name] for other in counts.values())
                ]  # fmt: skip
                if missing:
                    where = f"The {split} pictures" if split else "The pictures without a split"
                    sentence = f"{where} have no usable one of class {listing(missing)}."
                    yield Finding("class-mismatch", sentence)
        # What can be trained on, where that is known.
        totals = counts.get(TRAIN) or {
            name: sum(of_class[name] for of_class in counts.values()) for name in task.classes
        }
        for name, count in totals.items():
            if (
                not count
                and name != BACKGROUND  # which has none of its own
                and "empty-class" not in known
                and not any(c[name] for c in counts.values())
            ):
                yield Finding("empty-class", f"There is no usable picture of class '{name}'.")
            elif count == 1:
                yield Finding("single-picture-class", f"Class '{name}' has 1 picture.")
            elif 1 < count < smallest:
                sentence = f"Class '{name}' has {count} pictures, fewer than {smallest}."
                yield Finding("tiny-class", sentence)
        present = {name: count for name, count in totals.items() if count}
        if not present:
            continue
        most, least = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        if present[most] >= _IMBALANCE * present[least]:
            sentence = (
                f"Class '{most}' has {present[most]} pictures and '{least}' {present[least]}: "
                f"{present[most] / present[least]:.0f} times as many."
            )
            yield Finding("imbalance", sentence)


def _finding(
    dataset: Dataset, kind: str, sentence: str, rows: Iterable[int], details: Iterable[str],
    action: Action | None = None,
) -> Finding:  # fmt: skip
    paths = dataset.paths
    if (
        action is None
        and not _has_own_files(dataset)
        and KINDS[kind].action in ("delete", "rename")
    ):
        action = "review"
    return Finding(kind, sentence, tuple(paths[row] for row in rows), tuple(details), action)


def _has_own_files(dataset: Dataset) -> bool:
    sharded = "shard" in dataset.table.column_names
    return isinstance(dataset.reader, Files) and not sharded and not is_remote(dataset.root)
