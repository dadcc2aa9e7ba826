"""Near duplicates among a million hashes: seconds, and whether all planted pairs are found.

Each crowd is searched by `data/inspection/duplicates.py` in this process, several times; the peer
compares all pairs (the same instructions of NumPy, block by block) on a part of the hashes, and its
time for all is that times the square of how many more there are. Crowds: random hashes with planted
pairs; half of the bits the same in all; all hashes equal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import numpy as np
from claims import record
from numpy.typing import NDArray

from hornbeam.data.inspection.duplicates import near_duplicate_groups

PLANTED = 1000


def planted(
    hashes: NDArray[np.uint64], radius: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make copies of some hashes with up to `radius` bits changed; return rows of both."""
    originals, copies = rng.choice(len(hashes), (2, PLANTED), replace=False)
    for original, copy in zip(originals, copies, strict=True):
        bits = rng.choice(64, rng.integers(0, radius + 1), replace=False)
        hashes[copy] = hashes[original] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    return originals, copies


def compare_all(hashes: NDArray[np.uint64], radius: int) -> float:
    """Return the seconds that comparing all pairs takes."""
    start = time.perf_counter()
    for first in range(0, len(hashes), 1000):
        block = hashes[first : first + 1000, None] ^ hashes[None, first:]
        np.nonzero(np.bitwise_count(block) <= radius)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--radius", type=int, nargs="+", default=[4, 6, 8])
    parser.add_argument("--part", type=int, default=20_000, help="hashes that the peer compares")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    count = arguments.count
    shape = (count, 24, 24)
    thumbnails = rng.integers(0, 256, shape, dtype=np.uint8)
    print(f"{count:,} hashes, {arguments.rounds} rounds, {os.cpu_count()} cores\n")
    print("| hashes | radius | median s | min | max | all pairs, s | x | planted pairs found |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    cases: list[tuple[str, int, bool]] = [("random", r, False) for r in arguments.radius]
    cases += [("random, with thumbnails", 6, True), ("half of the bits constant", 6, False)]
    cases += [("all equal, other thumbnails", 6, True)]
    for name, radius, with_thumbnails in cases:
        hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
        if name.startswith("half"):
            hashes &= np.uint64(0xFFFFFFFF)
        elif name.startswith("all"):
            hashes[:] = hashes[0]
        pair = planted(hashes, radius, rng) if name.startswith("random") else None
        pictures = thumbnails if with_thumbnails else None
        if pictures is not None and pair is not None:
            pictures[pair[1]] = pictures[pair[0]]
        times, peers = [], []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            groups = near_duplicate_groups(hashes, pictures, radius)
            times.append(time.perf_counter() - start)
            peers.append(compare_all(hashes[: arguments.part], radius))
        median = statistics.median(times)
        peer = statistics.median(peers) * (count / arguments.part) ** 2
        found = f"{(groups[pair[0]] == groups[pair[1]]).sum()} of {PLANTED}" if pair else "–"
        print(
            f"| {name} | {radius} | {median:.1f} | {min(times):.1f} | {max(times):.1f} "
            f"| {peer:,.0f} | {peer / median:.0f} | {found} |",
            flush=True,
        )
        what, told = f"near duplicates of {count:,}, {name}, {radius} bits", f"{median:.1f} s"
        if name == "random":
            whole = [
                (count / arguments.part) ** 2 * p / t for p, t in zip(peers, times, strict=True)
            ]
            record(__file__, what, "all pairs by NumPy", whole, measured=told)
        record(__file__, what, "limit: 60 s", [60 / t for t in times], goal=1, measured=told)


if __name__ == "__main__":
    main()
