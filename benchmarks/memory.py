"""What `backend.keep_freed_memory` is worth: a training step on TensorFlow with and without it.

A frozen MobileNetV2 and the compact network, batch 32, each in a process of its own, interleaved.
"Without" is Keras as it comes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

from claims import record

CASES = (("mobilenet_v2", 224, True), ("compact", 64, False))
STEPS = 12


def measure(name: str, side: int, frozen: bool, keep: bool) -> tuple[float, float, float]:
    """Return seconds a step, kernel seconds a step, and the peak of memory in MiB."""
    from hornbeam import backend

    if keep:
        assert backend.keep_freed_memory()
    import keras
    import numpy as np

    from hornbeam.config import TrainOptions
    from hornbeam.data.tasks import Task
    from hornbeam.models.classifier import build_classifier, freeze_backbone
    from hornbeam.models.zoo import ZOO
    from hornbeam.training.fit import compile_classifier
    from hornbeam.training.objective import losses_of, metrics_of

    tasks = (Task("label", tuple("abcdef")),)
    model = build_classifier(ZOO[name], (side, side), tasks)
    if frozen:
        freeze_backbone(model)
    losses = losses_of(tasks, TrainOptions(data="-"), {}, 0)
    metrics = metrics_of(tasks, losses)
    compile_classifier(model, keras.optimizers.Adam(1e-3), losses, metrics)
    images = np.random.default_rng(0).integers(0, 256, (32, side, side, 3), np.uint8)
    labels = {"label": np.arange(32) % 6}
    for _ in range(2):
        model.train_on_batch(images, labels)
    before, times = resource.getrusage(resource.RUSAGE_SELF).ru_stime, []
    for _ in range(STEPS):
        start = time.perf_counter()
        model.train_on_batch(images, labels)
        times.append(time.perf_counter() - start)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return statistics.median(times), (after.ru_stime - before) / STEPS, after.ru_maxrss / 1024


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    print(f"{arguments.rounds} rounds, {STEPS} steps each, batch 32, {os.cpu_count()} cores\n")
    print("| network | keeping | ms a step (min, max) | kernel ms | peak MiB | ratio |")
    print("|---|---|---:|---:|---:|---:|")
    for name, side, frozen in CASES:
        found: dict[bool, list[list[float]]] = {False: [], True: []}
        for _ in range(arguments.rounds):
            for keep, results in found.items():
                words = json.dumps([name, side, frozen, keep])
                command = [sys.executable, __file__, "--measure", words]
                done = subprocess.run(command, check=True, capture_output=True, env=environment)
                results.append(json.loads(done.stdout.splitlines()[-1]))
        ratios = [a[0] / b[0] for a, b in zip(found[False], found[True], strict=True)]
        what = f"a training step, {name} at {side}{', frozen' * frozen}"
        told = f"{1e3 * statistics.median(r[0] for r in found[True]):.0f} ms"
        record(__file__, what, "Keras as it comes", ratios, measured=told)
        for keep, results in found.items():
            times = [1e3 * r[0] for r in results]
            ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
            print(
                f"| {name} at {side}{', frozen' * frozen} | {'yes' if keep else 'no'} "
                f"| {statistics.median(times):.0f} ({min(times):.0f}, {max(times):.0f}) "
                f"| {1e3 * statistics.median(r[1] for r in results):.0f} "
                f"| {statistics.median(r[2] for r in results):.0f} | {ratio if keep else ''} |"
            )


if __name__ == "__main__":
    main()
