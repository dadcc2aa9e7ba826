"""Which pictures train the model and which judge it.

What must stay together (a group, near duplicates, copies) is a *unit*. A unit's side follows from a hash
of its name and the seed alone, so pictures that are added later move no other. Chance then makes the
shares of the classes vary; where a class is off by more than chance explains, or has none on a
side, the units nearest to the border change sides. With an earlier split nothing that it holds moves,
whatever is added, and new pictures fill what is short.

Stratification over several labels goes from the rarest to the most frequent, after Sechidis, Tsoumakas
and Vlahavas 2011 ("On the Stratification of Multi-Label Data").
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hornbeam.data.dataset import SPLITS, TRAIN, VALIDATION, Dataset
from hornbeam.data.tables.folders import UNSPLIT
from hornbeam.errors import DataError, listing

_CHANCE = 3.0
"""Standard deviations that a class's number on a side may be off before units change sides, …"""

_HALF = 0.5
"""… and the share of that number: of 5 pictures, chance may put 3 where 1 is wanted."""


def with_validation(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Return the dataset with a validation split, made from the training pictures if need be.

    An existing validation split, and the test pictures, stay as they are.

    Args:
        dataset: of any layout; pictures of a `group` stay together.
        fraction: share of the training pictures that judge, between 0 and 1.
        seed: another seed makes another choice.

    Raises:
        DataError: a class has a single training picture.
    """
    unsplit = dataset.where(UNSPLIT)
    if VALIDATION in dataset.splits:
        return with_sides(dataset, np.maximum(sides_of(dataset), 0)) if len(unsplit) else dataset
    if not len(unsplit):
        unsplit = dataset.where(TRAIN)
    part = dataset.take(unsplit)
    _require_two(part)
    sides = divide(part, (1 - fraction, fraction, 0.0), seed)
    whole = sides_of(dataset)
    whole[unsplit] = sides
    return with_sides(dataset, whole)


def divide(
    dataset: Dataset,
    ratios: tuple[float, float, float],
    seed: int,
    *,
    together: Sequence[NDArray[np.int64]] = (),
    fixed: NDArray[np.int64] | None = None,
    exact: bool = False,
) -> NDArray[np.int64]:
    """Assign every example to train, validation or test.

    Args:
        dataset: with its labels; a `group` column keeps together.
        ratios: shares of the three, adding up to 1.
        seed: another seed makes another choice.
        together: each int64 `[examples]`: examples of the same number stay together (duplicates).
        fixed: int64 `[examples]`: sides that were given before, -1 for none; they stay.
        exact: meet the ratios as nearly as units allow.

    Returns:
        int64 `[examples]`: 0, 1 or 2.
    """
    units, keys = _units(dataset, seed, together)
    marks, pinned = _unit_table(dataset, units, len(keys), fixed)
    sides = np.searchsorted(np.cumsum(ratios)[:2], keys, side="right")
    # A side without a share gets nothing, whatever the rounding of the sums.
    sides = np.where(np.asarray(ratios)[sides] > 0, sides, 0)
    free = pinned < 0
    sides = np.where(free, sides, pinned)
    loose = not exact and bool(free.all())
    _rebalance(sides, keys, marks, np.asarray(ratios), free, loose)
    result = np.asarray(sides[units], np.int64)
    # What new pictures have joined may have been on two sides before; it stays on both.
    return result if fixed is None else np.where(fixed >= 0, fixed, result)


def sides_of(dataset: Dataset) -> NDArray[np.int64]:
    """Return the side of every example, 0, 1 or 2; -1 where it still needs one."""
    names = pa.array(SPLITS, pa.string())
    return np.asarray(
        pc.fill_null(pc.index_in(dataset.table["split"], names), -1).to_numpy(), np.int64
    )


def with_sides(dataset: Dataset, sides: NDArray[np.int64]) -> Dataset:
    """Return the dataset with these sides as its splits."""
    return dataset.with_column("split", pa.array(SPLITS, pa.string()).take(pa.array(sides)))


def _require_two(dataset: Dataset) -> None:
    for task in dataset.tasks:
        if task.multi_label:
            continue
        labels = dataset.labels(task)
        counts = np.bincount(labels[labels >= 0], minlength=len(task.classes))
        lonely = [name for name, count in zip(task.classes, counts, strict=True) if count == 1]
        if lonely:
            raise DataError(
                f"{dataset.root}: {'classes' if len(lonely) > 1 else 'class'} {listing(lonely)} "
                "with 1 picture; at least 2 are needed, one to train and one to validate; add some, or "
                "leave it out. `hornbeam check` tells all that is wrong."
            )


def _units(
    dataset: Dataset, seed: int, together: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the unit of every example, and of every unit its key: uniform in [0, 1).

    A unit's key is the hash of its group's name, else of its picture's path. Of several that are
    near duplicates it is that of the first in the table's order, which pictures that are added
    under later names do not change.
    """
    if "group" in dataset.table.column_names:
        names = dataset.table["group"]
        # A picture without a group is a group of its own; a group must not be mistaken for a path.
        names = pc.if_else(
            pc.equal(pc.fill_null(names, ""), ""),
            dataset.table["path"],
            pc.binary_join_element_wise("group", names, "\0"),
        )
        encoded = pc.dictionary_encode(names).combine_chunks()
        units = np.asarray(encoded.indices.to_numpy(), np.int64)
        keys = _hashes(encoded.dictionary, seed)
    else:
        units = np.arange(len(dataset), dtype=np.int64)
        keys = _hashes(dataset.table["path"], seed)
    for numbers in together:
        units, keys = _merge(units, keys, numbers)
    return units, keys


def _merge(
    units: NDArray[np.int64], keys: NDArray[np.float64], together: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Join units that share a number of `together`; the first unit gives the key."""
    parent = np.arange(len(keys))

    def find(unit: int) -> int:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return int(unit)

    order = np.argsort(together, kind="stable")
    same = np.flatnonzero(together[order][1:] == together[order][:-1])
    for place in same.tolist():
        a, b = find(units[order[place]]), find(units[order[place + 1]])
        parent[max(a, b)] = min(a, b)
    roots = np.array([find(unit) for unit in range(len(keys))]) if len(same) else parent
    kept, merged = np.unique(roots, return_inverse=True)
    return merged[units].astype(np.int64), keys[kept]


def _hashes(names: Any, seed: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each name: BLAKE2b, keyed with the seed."""
    key = str(seed).encode()
    blake2b = hashlib.blake2b
    chunks = names.chunks if isinstance(names, pa.ChunkedArray) else [names]
    found = [
        np.frombuffer(
            b"".join(
                blake2b(name, digest_size=8, key=key).digest()
                for name in chunk.slice(start, 1 << 16).cast(pa.binary()).to_pylist()
            ),
            "<u8",
        )
        for chunk in chunks
        for start in range(0, len(chunk), 1 << 16)
    ]
    whole = np.concatenate(found) if found else np.zeros(0, np.uint64)
    return (whole >> np.uint64(11)).astype(np.float64) / 2.0**53


class _Marks:
    """Which units hold how many examples of each class: a sparse table, sorted by class."""

    def __init__(self, units: NDArray[np.int64], classes: NDArray[np.int64], count: int) -> None:
        order = np.lexsort((units, classes))
        pairs = np.stack([classes[order], units[order]])
        change = np.flatnonzero(np.any(pairs[:, 1:] != pairs[:, :-1], axis=0)) + 1
        starts = np.concatenate([[0], change]) if pairs.shape[1] else np.zeros(0, np.int64)
        self.units = pairs[1, starts]
        self.classes = pairs[0, starts]
        self.counts = np.diff(np.append(starts, pairs.shape[1]))
        self.starts = np.searchsorted(self.classes, np.arange(count + 1))
        self.count = count

    def of(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the units that hold a class, and how many examples of it each."""
        part = slice(self.starts[label], self.starts[label + 1])
        return self.units[part], self.counts[part]


def _unit_table(
    dataset: Dataset, units: NDArray[np.int64], count: int, fixed: NDArray[np.int64] | None
) -> tuple[_Marks, NDArray[np.int64]]:
    """Return which classes of all tasks each unit holds, and the side it was given before, or -1."""
    all_units, all_classes, first = [], [], 0
    for task in dataset.tasks:
        column = dataset.table[task.name]
        if task.multi_label:
            all_units.append(units[pc.list_parent_indices(column).to_numpy()])
            all_classes.append(pc.list_flatten(column).to_numpy().astype(np.int64) + first)
        else:
            labels = dataset.labels(task)
            all_units.append(units[labels >= 0])
            all_classes.append(labels[labels >= 0].astype(np.int64) + first)
        first += len(task.classes)
    if not dataset.tasks:  # only the shares of all pictures count
        all_units, all_classes, first = [units], [np.zeros(len(units), np.int64)], 1
    marks = _Marks(np.concatenate(all_units), np.concatenate(all_classes), first)
    pinned = np.full(count, -1, np.int64)
    if fixed is not None:
        known = np.flatnonzero(fixed >= 0)
        # From the last to the first: where an earlier split divided a unit, its first example wins.
        pinned[units[known[::-1]]] = fixed[known[::-1]]
    return marks, pinned


def _rebalance(
    sides: NDArray[np.int64], keys: NDArray[np.float64], marks: _Marks, ratios: NDArray[np.float64],
    free: NDArray[np.bool_], loose: bool,
) -> None:  # fmt: skip
    """Move units between sides, in place, where a class is off by too much.

    Args:
        sides: of every unit.
        keys: of every unit; those nearest to the border of two sides move first.
        marks: what each unit holds.
        ratios: shares of the sides.
        free: which units may move.
        loose: leave what chance explains; else be as exact as units allow.
    """
    totals = np.bincount(marks.classes, weights=marks.counts, minlength=marks.count)
    settled = ~free
    # The rarest first: they have the fewest ways to be put right. What holds them is then settled.
    for label in np.argsort(totals, kind="stable").tolist():
        members, counts = marks.of(label)
        want = totals[label] * ratios
        allowed = np.full(3, 0.5)
        if loose:
            by_chance = _CHANCE * np.sqrt(want * (1 - ratios))
            allowed = np.maximum(1.0, np.minimum(by_chance, _HALF * want))
        least = (ratios > 0) & (len(members) >= np.count_nonzero(ratios))
        have = np.bincount(sides[members], counts, minlength=3).astype(np.float64)
        while move := _find_move(
            sides[members],
            counts,
            keys[members],
            ~settled[members],
            ratios,
            have,
            want,
            allowed,
            least,
        ):
            place, to = move
            have[sides[members[place]]] -= counts[place]
            have[to] += counts[place]
            sides[members[place]] = to
        settled[members] = True


def _find_move(
    sides: NDArray[np.int64], counts: NDArray[np.int64], keys: NDArray[np.float64],
    free: NDArray[np.bool_], ratios: NDArray[np.float64], have: NDArray[np.float64],
    want: NDArray[np.float64], allowed: NDArray[np.float64], least: NDArray[np.bool_],
) -> tuple[int, int] | None:  # fmt: skip
    """Return which unit of a class should move, and to which side; `None` where all is well."""
    off = have - want
    starving = least & (have < 1)
    if not starving.any() and not (np.abs(off)[ratios > 0] > allowed[ratios > 0] + 1e-9).any():
        return None
    sides_in_use = np.flatnonzero(ratios)
    to = int(min(sides_in_use, key=lambda side: (not starving[side], off[side])))
    edges = np.concatenate([[0.0], np.cumsum(ratios)])
    for source in sorted(set(sides_in_use.tolist()) - {to}, key=lambda side: -off[side]):
        before = abs(off[to]) + abs(off[source])
        after = np.abs(off[to] + counts) + np.abs(off[source] - counts)
        # Each move either ends a want or makes the sum of what is off smaller, so there is an end.
        helps = (after < before - 1e-9) | starving[to]
        spared = have[source] - counts >= least[source]
        candidates = np.flatnonzero((sides == source) & free & helps & spared)
        if len(candidates):
            border = edges[source + 1] if to > source else edges[source]
            return int(candidates[np.argmin(np.abs(keys[candidates] - border))]), to
    return None
