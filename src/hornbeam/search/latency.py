"""How long models take to answer, here, and how large they are; measured in a process of its own.

`python -m hornbeam.search.latency BACKEND RUN…` prints a line of JSON for each run.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hornbeam.search.claims import alone
from hornbeam.storage import write_json

_BATCH = 32
_LONGEST = 1.0
"""Seconds that are given to calls of one kind; the median of three was within 5 % from run to run."""

_CALLS = (5, 50)
"""Fewest and most of them."""


def measure_all(study: Path, runs: Sequence[Path], backend: str) -> dict[str, dict[str, float]]:
    """Return what is known of each run's model on this machine; measure those that are new.

    One process of a study measures at a time, as two would slow each other down.

    Args:
        study: directory, which remembers.
        runs: whose training has finished.
        backend: Keras' engine, as in `--backend`.

    Returns:
        By name of the run: milliseconds for `one` picture and a `batch` of 32, number of `parameters`.
    """
    path = study / f"latency-{platform.node()}.json"
    with alone(study / "latency.lock"):
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        new = [run for run in runs if known.get(run.name, {}).get("written") != _written(run)]
        if new:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "hornbeam.search.latency", backend, *map(str, new)],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            by_name = {run.name: run for run in new}
            for line in done.stdout.splitlines():
                if line.startswith('{"run"'):
                    found = json.loads(line)
                    name = found.pop("run")
                    known[name] = {**found, "written": _written(by_name[name])}
            write_json(path, known)
    return {run.name: known[run.name] for run in runs if run.name in known}


def _written(run: Path) -> float:
    return (run / "model.keras").stat().st_mtime


def measure(path: Path) -> dict[str, Any]:
    """Return what one model takes, from uint8 pixels to logits; Keras' backend is chosen before."""
    import numpy as np

    from hornbeam.runs import Run

    run = Run.open(path)
    model = run.load_model()
    random = np.random.default_rng(0)

    def pictures(count: int) -> Any:
        pixels = random.integers(0, 256, (count, *run.image_size()), np.uint8)
        numbers = np.zeros((count, len(run.features())), np.float32)
        return {"image": pixels, "features": numbers} if run.features() else pixels

    one, batch = pictures(1), pictures(_BATCH)
    return {
        "run": path.name,
        "one": _milliseconds(lambda: model.predict_on_batch(one)),
        "batch": _milliseconds(lambda: model.predict_on_batch(batch)),
        "parameters": model.count_params(),
    }


def _milliseconds(call: Callable[[], Any]) -> float:
    """Return the median of several calls, after two to warm up."""
    call()
    call()
    taken: list[float] = []
    least, most = _CALLS
    while len(taken) < least or (len(taken) < most and sum(taken) < _LONGEST):
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return round(statistics.median(taken) * 1000, 3)


def _main(words: Sequence[str]) -> None:
    from hornbeam.backend import select_backend

    engine, *runs = words
    select_backend(engine)
    for run in runs:
        try:
            print(json.dumps(measure(Path(run))), flush=True)
        except Exception as error:  # one model that cannot be loaded must not hide the others
            print(f"{run}: {error}", file=sys.stderr)


if __name__ == "__main__":
    _main(sys.argv[1:])
