"""Divisions of pictures into folds: each class spread evenly, what belongs together in one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def units_of(*divisions: Sequence[object] | NDArray[np.generic] | None) -> Indices:
    """Return which pictures belong together: int64 `[pictures]`, equal for those that do.

    Pictures belong together where any division says so, also through a third one.

    Args:
        *divisions: a value for each picture, equal where two belong together; `None` and empty
            strings stand alone. A division that is `None` says nothing.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    given = [list(division) for division in divisions if division is not None]
    count = len(given[0])
    rows, columns, width = [], [], count
    for division in given:
        places: dict[object, int] = {}
        for row, value in enumerate(division):
            if value is not None and value != "":
                rows.append(row)
                columns.append(places.setdefault(value, width + len(places)))
        width += len(places)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(width, width))
    return np.asarray(connected_components(graph, directed=False)[1][:count], np.int64)


def divide(marks: NDArray[np.bool_], units: Indices, count: int, seed: int) -> Indices:
    """Return the fold of each picture: int64 `[pictures]`, 0 to `count` - 1.

    Units are dealt out one by one, large ones and those of rare classes first, each to the fold that
    has least of its classes, then least of all.

    Args:
        marks: which classes each picture has, bool `[pictures, classes]`.
        units: what stays together, from `units_of`.
        count: of folds.
        seed: another seed makes another division.
    """
    rng = np.random.default_rng(seed)
    names, unit = np.unique(units, return_inverse=True)
    sizes = np.bincount(unit, minlength=len(names))
    # How often each class is in each unit, in the order of units.
    rows, classes = np.nonzero(marks)
    order = np.argsort(unit[rows], kind="stable")
    classes = classes[order]
    ends = np.bincount(unit[rows], minlength=len(names)).cumsum()
    rarity = np.full(len(names), len(marks))
    np.minimum.at(rarity, unit[rows], marks.sum(axis=0)[np.nonzero(marks)[1]])
    held = np.zeros((marks.shape[1], count))
    whole = np.zeros(count)
    folds = np.zeros(len(names), np.int64)
    turn = np.lexsort([rng.random(len(names)), rarity, -sizes])
    for which in turn.tolist():
        own = classes[ends[which - 1] if which else 0 : ends[which]]
        load = held[own].sum(axis=0) + whole / (len(marks) + 1)
        fold = int(load.argmin())
        np.add.at(held[:, fold], own, 1)
        whole[fold] += sizes[which]
        folds[which] = fold
    return folds[unit]
