"""Pictures that are the same, byte for byte or nearly: copies rescaled, recompressed, slightly cropped.

Near duplicates are searched by 64-bit perceptual hashes and then compared by thumbnails
(`likeness.py`). The search does not compare all pairs: if two hashes differ in at most r bits and are
cut into r + k blocks, at least k blocks are equal (the pigeonhole principle; Manku, Jain and Sarma 2007,
"Detecting near-duplicates for web crawling"). So for each choice of k blocks the hashes are sorted by
those blocks, and only neighbours with equal ones are compared. Nothing is missed, except in crowds of
hashes that are equal in most bits, where each is compared with the nearest of its crowd only.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.inspection.likeness import ALIKE, alike, correlation, is_plain

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]

_PAIRS_PER_HASH = 4
"""Pairs that one sorted table may yield, for each hash in it; random hashes yield 0.2."""

_AT_ONCE = 2048
"""Pairs whose thumbnails are compared at a time, 30 MB."""


def exact_groups(digests: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return the rows of each digest that occurs more than once, rising; empty digests do not count."""
    _, codes = np.unique(digests, return_inverse=True)
    groups = rows_of_groups(codes)
    return [rows for rows in groups if digests[rows[0]]]


def rows_of_groups(groups: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return the rows of each group of at least two, in the order of their first rows."""
    order = np.argsort(groups, kind="stable")
    ends = np.flatnonzero(np.diff(groups[order])) + 1
    found = [rows for rows in np.split(order, ends) if len(rows) > 1]
    return sorted(found, key=lambda rows: int(rows[0]))


def near_duplicate_groups(
    hashes: Hashes, thumbnails: NDArray[np.uint8] | None, radius: int, threads: int = 0
) -> NDArray[np.int64]:
    """Find which pictures are near duplicates of each other, directly or through others.

    Args:
        hashes: uint64 `[pictures]`, as `measures.perceptual_hash` gives them.
        thumbnails: grey uint8 `[pictures, side, side]`, by which pairs are confirmed; without them
            the hashes alone decide.
        radius: bits, 0 to 10, in which the hashes of near duplicates may differ.
        threads: that sort and compare; 0 = one per core.

    Returns:
        For each picture the smallest row of its group, int64 `[pictures]`; its own, if it has none.
    """
    first, unit_of = _units(hashes, thumbnails)
    unit_hashes = hashes[first]
    unit_thumbnails = None if thumbnails is None else thumbnails[first]
    parents = _Sets(len(first))
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for pairs in near_pairs(unit_hashes, radius, pool):
            if unit_thumbnails is None:
                parents.join(pairs)
                continue
            chunks = [pairs[start : start + _AT_ONCE] for start in range(0, len(pairs), _AT_ONCE)]
            compare = functools.partial(_confirmed, thumbnails=unit_thumbnails, sets=parents)
            for confirmed in pool.map(compare, chunks):
                parents.join(confirmed)
    units = parents.roots()[unit_of]
    smallest = np.full(len(first), len(hashes), np.int64)
    np.minimum.at(smallest, units, np.arange(len(hashes)))
    groups = smallest[units]
    if unit_thumbnails is not None:
        plain = np.flatnonzero(is_plain(unit_thumbnails)[unit_of])
        groups[plain] = plain
    return groups


def near_pairs(hashes: Hashes, radius: int, pool: ThreadPoolExecutor) -> Iterator[Pairs]:
    """Yield the pairs of rows `[pairs, 2]` whose hashes differ in at most `radius` bits, each once."""
    blocks, chosen = _plan(len(hashes), radius)
    spread, masks, shifts = _deal_bits(hashes, blocks)
    search = functools.partial(
        _search_table, spread, masks=masks, shifts=shifts, radius=radius, limit=_limit(len(hashes))
    )
    tables = list(itertools.combinations(range(blocks), chosen))
    for start in range(0, len(tables), 8):  # a few at a time: their pairs wait in memory
        yield from pool.map(search, tables[start : start + 8])


def _units(
    hashes: Hashes, thumbnails: NDArray[np.uint8] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Merge equal pictures: return a row of each unit, and the unit of each row.

    Units are sorted by hash and then by a rough look, so that in a crowd the likeliest are neighbours.
    """
    if thumbnails is None:
        _, first, unit_of = np.unique(hashes, return_index=True, return_inverse=True)
        return first, unit_of
    order = np.lexsort((_rough_look(thumbnails), hashes))
    same = hashes[order[1:]] == hashes[order[:-1]]
    for start in range(0, len(same), 65536):
        places = start + np.flatnonzero(same[start : start + 65536])
        before, after = thumbnails[order[places]], thumbnails[order[places + 1]]
        same[places] = (before == after).all(axis=(1, 2))
    new = np.concatenate([[True], ~same])[: len(order)]
    unit_of = np.empty(len(hashes), np.int64)
    unit_of[order] = np.cumsum(new) - 1
    return order[new], unit_of


def _rough_look(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the mean grey of 8 parts of each thumbnail, as one number."""
    side = thumbnails.shape[1]
    looks = [np.zeros((0, 8), np.uint8)]
    for start in range(0, len(thumbnails), 65536):
        part = thumbnails[start : start + 65536, : side // 4 * 4, : side // 2 * 2]
        means = part.reshape(len(part), 4, side // 4, 2, side // 2).mean(axis=(2, 4))
        looks.append(means.reshape(len(part), 8).astype(np.uint8))
    return np.concatenate(looks).view(np.uint64).ravel()


def _plan(count: int, radius: int) -> tuple[int, int]:
    """Return into how many blocks to cut hashes, and how many of them to sort by: the cheapest.

    Costs in nanoseconds, measured with a million hashes on a core with AVX-512: 60 for each
    hash of a table, 30 for each pair that random hashes yield. Plans whose tables would reach the limit
    with random hashes, half way, are out: they would miss pairs.
    """

    def pairs(chosen: int) -> float:
        narrowest = 64 // (radius + chosen) * chosen  # bits of the key
        return float(count**2 / 2 / 2**narrowest)

    def cost(chosen: int) -> float:
        return math.comb(radius + chosen, chosen) * (60 * count + 30 * pairs(chosen))

    possible = [chosen for chosen in range(1, 8) if pairs(chosen) <= _limit(count) / 2]
    chosen = min(possible or [7], key=cost)
    return radius + chosen, chosen


def _limit(count: int) -> int:
    """Return how many pairs a table may yield before it is cut short."""
    return max(1 << 22, _PAIRS_PER_HASH * count)


def _deal_bits(hashes: Hashes, blocks: int) -> tuple[Hashes, list[np.uint64], list[int]]:
    """Put the bits of all hashes into an order in which every block tells as much as the others.

    A bit that is the same in nearly all pictures tells nothing; were such bits neighbours, whole
    tables would be sorted by nothing. The distances stay the same.

    Returns:
        The hashes, the mask of each block, and its lowest bit.
    """
    bits = np.unpackbits(hashes.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    shares = bits[:: max(1, len(bits) // 65536)].mean(axis=0) if len(bits) else np.zeros(64)
    order = np.argsort(np.abs(shares - 0.5), kind="stable")
    turns = np.arange(64) % (2 * blocks)
    dealt = np.where(turns < blocks, turns, 2 * blocks - 1 - turns)  # there and back
    place = order[np.argsort(dealt, kind="stable")]
    packed = np.ascontiguousarray(np.packbits(bits[:, place], axis=1))
    spread = packed.view(">u8").ravel().astype(np.uint64)
    sizes = np.bincount(dealt, minlength=blocks)
    shifts = (64 - np.cumsum(sizes)).tolist()
    masks = [
        np.uint64(((1 << int(size)) - 1) << shift)
        for size, shift in zip(sizes, shifts, strict=True)
    ]
    return spread, masks, shifts


def _search_table(
    hashes: Hashes, chosen: tuple[int, ...], masks: list[np.uint64], shifts: list[int],
    radius: int, limit: int,
) -> Pairs:  # fmt: skip
    """Return the near pairs that are equal in the chosen blocks and in no earlier choice of them."""
    index_bits = max(1, (len(hashes) - 1).bit_length())
    key = np.zeros(len(hashes), np.uint64)
    for block in chosen:
        bits = np.uint64(int(masks[block]).bit_count())
        key = (key << bits) | ((hashes & masks[block]) >> np.uint64(shifts[block]))
    # A key too long to leave room for the index loses bits: more to compare, nothing missed.
    width = sum(int(masks[block]).bit_count() for block in chosen)
    key >>= np.uint64(max(0, width + index_bits - 64))
    packed = (key << np.uint64(index_bits)) | np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    key = packed >> np.uint64(index_bits)
    row = (packed & np.uint64((1 << index_bits) - 1)).astype(np.int64)

    found = [np.zeros((0, 2), np.int64)]
    compared = 0
    active = np.arange(len(hashes))
    for distance in itertools.count(1):
        active = active[: np.searchsorted(active, len(hashes) - distance)]
        active = active[key[active] == key[active + distance]]
        compared += len(active)
        if not len(active) or compared > limit:
            break
        pairs = np.stack([row[active], row[active + distance]], axis=1)
        differing = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
        near = np.bitwise_count(differing) <= radius
        pairs, differing = pairs[near], differing[near]
        found.append(pairs[_is_first_choice(differing, chosen, masks)])
    return np.concatenate(found)


def _is_first_choice(
    differing: Hashes, chosen: tuple[int, ...], masks: list[np.uint64]
) -> NDArray[np.bool_]:
    """Return which pairs are equal in no choice of blocks that comes before this one."""
    first = np.ones(len(differing), bool)
    for block in range(chosen[-1] + 1):
        equal = (differing & masks[block]) == 0
        first &= equal == (block in chosen)
    return first


def _confirmed(pairs: Pairs, thumbnails: NDArray[np.uint8], sets: _Sets) -> Pairs:
    """Return the pairs whose thumbnails are alike, without those that are known to be together."""
    pairs = pairs[~sets.together(pairs)]
    if not len(pairs):
        return pairs
    first, second = thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]]
    # What is nothing like each other is not worth the fitting; of the crops above by up to 5 % on
    # each side none correlated by less than 0.77.
    rough = correlation(first.astype(np.float32), second.astype(np.float32), 0.0)
    pairs, first, second = pairs[rough > 0.7], first[rough > 0.7], second[rough > 0.7]
    return pairs[alike(first, second) > ALIKE] if len(pairs) else pairs


class _Sets:
    """Disjoint sets of numbers, joined pair by pair."""

    def __init__(self, count: int) -> None:
        self._parents = np.arange(count)

    def together(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Return which pairs are certainly in one set; some that are may be missed."""
        parents = self._parents[self._parents[pairs]]
        return np.equal(parents[:, 0], parents[:, 1])

    def join(self, pairs: Pairs) -> None:
        parents = self._parents
        for one, other in pairs.tolist():
            while parents[one] != one:
                parents[one] = one = parents[parents[one]]
            while parents[other] != other:
                parents[other] = other = parents[parents[other]]
            parents[max(one, other)] = min(one, other)

    def roots(self) -> NDArray[np.int64]:
        """Return the smallest number of the set of each number."""
        while True:
            further = self._parents[self._parents]
            if (further == self._parents).all():
                return further
            self._parents = further
