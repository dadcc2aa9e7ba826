"""How long all formats of a network take, and how much memory: `python benchmarks/exporting.py`.

Random weights and pictures of noise, as time does not depend on them. Prints seconds per format inside
the process that exports, the time of all together, and the largest resident memory of that process.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from claims import record

from hornbeam.deployment.bundle.manifest import FORMATS
from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.parent import convert


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--calibration-pictures", type=int, default=128)
    asked = parser.parse_args()
    formats = tuple(asked.formats.split(","))
    with tempfile.TemporaryDirectory() as folder:
        job = _job(Path(folder), asked.model, asked.size, formats, asked.calibration_pictures)
        start = time.perf_counter()
        made = convert(job)
        total = time.perf_counter() - start
        sizes = {name: _size(Path(folder, each.file)) for name, each in made.items()}
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(
        f"{asked.model} at {asked.size} px, {os.cpu_count()} cores, Python {platform.python_version()}\n"
    )
    print("| format | seconds | MB | |\n|---|---:|---:|---|")
    for name, each in made.items():
        print(f"| {name} | {each.seconds:.1f} | {sizes[name] / 1e6:.1f} | {each.error or ''} |")
    print(f"| all, with starting | {total:.1f} | | peak {child:.2f} GiB |")
    what = f"all {len(formats)} formats of {asked.model}"
    for unit, limit, value in (("s", 60.0, total), ("GiB", 2e9 / 2**30, child)):
        record(
            __file__, what, f"limit: {limit:.3g} {unit}", [limit / value], goal=1,
            measured=f"{value:.3g} {unit}",
        )  # fmt: skip


def _job(folder: Path, model: str, size: int, formats: tuple[str, ...], pictures: int) -> Job:
    rng = np.random.default_rng(0)
    for name in ("calibration", "selection"):
        images = rng.integers(0, 256, (pictures, size, size, 3), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", image=images)
    _save(folder / "source.keras", model, size)
    return Job(
        str(folder / "source.keras"), None, formats, str(folder), ("kind",),
        calibration=str(folder / "calibration.npz"), selection=str(folder / "selection.npz"),
        description={"name": model, "tasks": {"kind": list("abcdefghij")}},
    )  # fmt: skip


def _save(path: Path, model: str, size: int) -> None:
    from hornbeam.data.tasks import Task
    from hornbeam.deployment.answering import with_answers
    from hornbeam.evaluation.trust.safeguards import Safeguards
    from hornbeam.models.classifier import build_classifier
    from hornbeam.models.zoo import find_architecture

    tasks = (Task("kind", tuple("abcdefghij")),)
    network = build_classifier(find_architecture(model), (size, size, 3), tasks)
    with_answers(network, tasks, Safeguards()).save(path)


def _size(path: Path) -> int:
    if not path.suffix and path.name != FORMATS["savedmodel"]:
        return 0  # no file was made
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    weights = path.with_suffix(".bin")  # of OpenVINO
    parts = [path, weights] if path.suffix == ".xml" else [path]
    return sum(each.stat().st_size for each in parts if each.is_file())


if __name__ == "__main__":
    main()
