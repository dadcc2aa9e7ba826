"""Evaluation of real pictures against the bare forward pass of the same batches, held in memory.

Both in one process, in turns, after a round that compiles: `keras.Model.predict` on decoded batches;
`hornbeam.evaluation.predictions.predict`, which reads, decodes and resizes them meanwhile and keeps
logits and features. The third row is all that `hornbeam evaluate` does with the pictures: each is
looked at for damage first, and the answers are scored.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from claims import record, spread


def measure(
    pictures: str, network: str, side: int, count: int, rounds: int
) -> dict[str, list[float]]:
    """Return pictures/s of each way, a number a round."""
    from hornbeam import backend

    backend.select_backend("tensorflow")
    import keras
    import numpy as np

    from hornbeam.config import TrainOptions
    from hornbeam.data import sources
    from hornbeam.data.inspection import verifying
    from hornbeam.data.loader import Loader
    from hornbeam.evaluation.predictions import predict
    from hornbeam.evaluation.scoring.scores import score_all
    from hornbeam.models.classifier import build_classifier
    from hornbeam.models.zoo import ZOO

    backend.keep_freed_memory()
    options = TrainOptions(data=pictures)
    dataset = sources.open_dataset(pictures, options)
    count = min(count, len(dataset)) // 32 * 32  # whole batches
    dataset = dataset.take(np.linspace(0, len(dataset) - 1, count).astype(int))
    keras.utils.set_random_seed(0)
    model = build_classifier(ZOO[network], (side, side, 3), dataset.tasks)
    model.jit_compile = backend.compiles_with_xla()
    asking: dict[str, Any] = {
        "image_size": (side, side, 3), "batch_size": 32, "threads": backend.cores(),
    }  # fmt: skip
    loader = Loader(dataset, batch_size=32, image_size=(side, side))
    import tensorflow as tf

    batches = [loader.batch(step).images for step in range(loader.steps_per_epoch)]
    in_memory = tf.data.Dataset.from_tensor_slices(tf.stack([tf.constant(b) for b in batches]))

    def bare() -> None:
        model.predict(in_memory, verbose=0)

    def ours() -> None:
        predict(model, dataset, dataset.tasks, features=True, **asking)

    def whole() -> None:
        verified, _ = verifying.verify(dataset, "error", backend.cores())
        score_all(predict(model, verified, dataset.tasks, features=True, **asking), (), {})

    ways: dict[str, Callable[[], None]] = {
        "forward pass alone": bare, "predict": ours, "verify, predict and score": whole,
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in ways}
    for each in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if each:
                found[name].append(len(dataset) / (time.perf_counter() - start))
    return found


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", required=True, help="folder of photographs, a class each")
    parser.add_argument("--networks", default="mobilenet_v2,resnet50")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--count", type=int, default=960, help="of the pictures")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    print(f"{arguments.rounds} rounds, {os.cpu_count()} cores, {arguments.side} px, batch 32\n")
    print("| network | way | pictures/s (min, max) | x forward pass (min, max) |")
    print("|---|---|---:|---:|")
    for network in arguments.networks.split(","):
        found = measure(
            arguments.pictures, network, arguments.side, arguments.count, arguments.rounds
        )
        bare = next(iter(found.values()))
        for name, speeds in found.items():
            ratios = [a / b for a, b in zip(speeds, bare, strict=True)]
            print(
                f"| {network} | {name} | {spread(speeds, '.1f')} | {spread(ratios, '.2f')} |",
                flush=True,
            )
            if speeds is not bare:
                told = f"{statistics.median(speeds):.0f} pictures/s"
                claim, peer = f"{name}, {network} at {arguments.side} px", "forward pass alone"
                record(__file__, claim, peer, ratios, goal=0.95, measured=told)


if __name__ == "__main__":
    main()
