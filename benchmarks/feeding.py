"""What feeding Keras costs: seconds per training step, by the way batches reach `fit` on TensorFlow.

Each way trains the same compact network on the same pictures in a process of its own, because
`Dataset.from_generator` changes the whole process (docs/log.md). Ways are interleaved; the first
epoch, which compiles, is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from claims import record

WAYS = ("hornbeam feed", "keras PyDataset (peer)", "arrays in memory (the floor)")
STEPS, EPOCHS = 20, 3


def measure(way: str, root: Path) -> float:
    """Return the median seconds of a step of `fit`, fed in this way."""
    import keras
    import numpy as np

    from hornbeam.config import TrainOptions
    from hornbeam.data.feed import Feed, feed
    from hornbeam.data.loader import Loader
    from hornbeam.data.sources import open_dataset
    from hornbeam.models.classifier import build_classifier
    from hornbeam.models.zoo import ZOO
    from hornbeam.training.fit import compile_classifier
    from hornbeam.training.objective import losses_of, metrics_of

    dataset = open_dataset(root)
    loader = Loader(dataset, batch_size=32, image_size=(96, 96), shuffle=True, augment="light")
    model = build_classifier(ZOO["compact"], (96, 96), dataset.tasks)
    losses = losses_of(dataset.tasks, TrainOptions(data="-"), {}, 0)
    metrics = metrics_of(dataset.tasks, losses)
    compile_classifier(model, keras.optimizers.Adam(1e-3), losses, metrics)
    options: dict[str, Any] = {"epochs": EPOCHS, "steps_per_epoch": STEPS, "verbose": 0}
    data: tuple[Any, ...] = (feed(loader, STEPS * EPOCHS, threads=1),)
    if way.startswith("keras"):
        data = (Feed(loader, STEPS * EPOCHS),)
    elif way.startswith("arrays"):
        batches = [loader.batch(step) for step in range(STEPS)]
        stacked = [np.concatenate([b.images for b in batches])]
        data = (stacked[0], {"label": np.concatenate([b.targets["label"] for b in batches])})
        options |= {"batch_size": 32, "steps_per_epoch": None}

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        """Times of the steps after the first epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []
            self.start = 0.0
            self.epoch = 0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if self.epoch:
                self.seconds.append(time.perf_counter() - self.start)

    watch = Watch()
    model.fit(*data, shuffle=False, callbacks=[watch], **options)
    return statistics.median(watch.seconds)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "ROOT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure[0], Path(arguments.measure[1]))))
        return
    from hornbeam.data.sample import draw_sample

    times: dict[str, list[float]] = {way: [] for way in WAYS}
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "shapes"
        draw_sample(root, per_class=120, size=96, seed=0)
        for _ in range(arguments.rounds):
            for way in WAYS:
                command = [sys.executable, __file__, "--measure", way, str(root)]
                done = subprocess.run(command, check=True, capture_output=True, env=environment)
                times[way].append(float(done.stdout.splitlines()[-1]))
    floor = statistics.median(times[WAYS[-1]])
    print(
        f"{arguments.rounds} rounds, batch 32 of 96x96, compact network, {os.cpu_count()} cores\n"
    )
    print("| way | median ms a step | min | max | x floor |\n|---|---:|---:|---:|---:|")
    for way, values in times.items():
        median = statistics.median(values)
        print(
            f"| {way} | {median * 1e3:.0f} | {min(values) * 1e3:.0f} | {max(values) * 1e3:.0f} "
            f"| {median / floor:.2f} |"
        )
    ours = times[WAYS[0]]
    told = f"{statistics.median(ours) * 1e3:.0f} ms"
    for way in WAYS[1:]:
        ratios = [peer / own for own, peer in zip(ours, times[way], strict=True)]
        peer = way.replace(" (peer)", "").replace(" (the floor)", "")
        record(__file__, "a training step, compact at 96 px", peer, ratios, measured=told)


if __name__ == "__main__":
    main()
