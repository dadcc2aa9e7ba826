"""A table of 10 million examples: opened, split, one epoch's order. Goal: 60 s and 4 GiB.

The manifest is written first and not counted; each format is measured in a process of its own, so that
its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claims import record

CLASSES = 1000


def write(path: Path, count: int) -> None:
    """Write a manifest with `count` paths and labels of 1,000 classes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    numbers = np.arange(count)
    classes = np.random.default_rng(0).integers(0, CLASSES, count)
    names = pa.array([f"n{i:08}" for i in range(CLASSES)])
    labels = names.take(pa.array(classes))
    paths = pc.binary_join_element_wise(labels, pa.array(numbers).cast(pa.string()), "/IMG_")
    table = pa.table({"path": pc.binary_join_element_wise(paths, ".jpg", ""), "label": labels})
    if path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)


def measure(path: Path) -> dict[str, float]:
    """Open, split and order; return seconds of each and the peak of memory in GiB."""
    from hornbeam.config import TableOptions
    from hornbeam.data.loader import Loader
    from hornbeam.data.sources import open_dataset
    from hornbeam.data.splits import with_validation

    marks = [time.perf_counter()]
    dataset = open_dataset(str(path), TableOptions())
    marks.append(time.perf_counter())
    dataset = with_validation(dataset, 0.1, seed=0)
    marks.append(time.perf_counter())
    loader = Loader(dataset.only("train"), batch_size=256, image_size=(224, 224), shuffle=True)
    loader.rows(0)
    marks.append(time.perf_counter())
    seconds = [later - earlier for earlier, later in itertools.pairwise(marks)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "open": seconds[0], "split": seconds[1], "order": seconds[2], "all": sum(seconds),
        "GiB": peak, "examples": len(dataset),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print(f"{'':10}{'open':>8}{'split':>8}{'order':>8}{'all':>8}   peak memory")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".parquet", ".csv"):
            path = Path(folder) / f"manifest{suffix}"
            write(path, arguments.examples)
            command = [sys.executable, __file__, "--measure", str(path)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            path.unlink()
            times = "".join(f"{found[name]:7.1f}s" for name in ("open", "split", "order", "all"))
            print(f"{suffix:10}{times}   {found['GiB']:.2f} GiB")
            what = f"{arguments.examples:,} examples opened, split and ordered, {suffix}"
            for unit, limit, value in (("s", 60, found["all"]), ("GiB", 4, found["GiB"])):
                record(
                    __file__, what, f"limit: {limit} {unit}", [limit / value], goal=1,
                    measured=f"{value:.3g} {unit}",
                )  # fmt: skip


if __name__ == "__main__":
    main()
