"""A training step, batch 32 at 224 px, all weights: Keras as it comes, Hornbeam, timm on PyTorch.

Each way is a process of its own, interleaved in rounds; the batch is in memory, so nothing is decoded.
Keras: `keras.applications`, Adam, `fit`, float32. Hornbeam: its classifier, optimiser and losses, freed
memory kept (`backend.keep_freed_memory`), in each precision. timm: channels-last, Adam, bfloat16 by
autocast, as its own training script does it; `--torch-python` names a Python that has torch and timm.
Where the processor has no instructions for bfloat16, it would be emulated, many times slower: those ways
are then left out, but for `--ways`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from claims import machine, record, spread

BATCH, SIDE, STEPS, CLASSES = 32, 224, 6, 10
NETWORKS = {
    "resnet50": ("ResNet50", "resnet50"),
    "mobilenet_v2": ("MobileNetV2", "mobilenetv2_100"),
}
GOALS = {"resnet50": 1.35, "mobilenet_v2": 1.0}
"""Of Keras' speed, in the quicker precision."""

WAYS = ("keras", "float32", "graph_bfloat16", "mixed_bfloat16", "timm bfloat16", "timm float32")


def arrays() -> tuple[Any, Any]:
    """Return a batch of noise and labels."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    return pixels, np.arange(BATCH) % CLASSES


def median_step(step: Any) -> float:
    """Return seconds of a step, after three that compile and warm up."""
    times = []
    for index in range(STEPS + 3):
        start = time.perf_counter()
        step()
        if index >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def keras_step(network: str) -> float:
    """Measure `keras.fit` as its guides have it."""
    import keras
    import tensorflow as tf

    base = getattr(keras.applications, NETWORKS[network][0])(
        weights=None, classes=CLASSES, classifier_activation=None
    )
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    model = keras.Model(inputs, base(keras.layers.Rescaling(1 / 127.5, -1)(inputs)))
    model.compile(
        keras.optimizers.Adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return _fit_step(model, tf.data.Dataset.from_tensors(arrays()).repeat())


def _fit_step(model: Any, data: Any) -> float:
    import keras

    ends: list[float] = []

    def note(batch: int, logs: Any) -> None:
        ends.append(time.perf_counter())

    model.fit(
        data,
        steps_per_epoch=STEPS + 3,
        epochs=1,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=note)],
    )
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


def hornbeam_step(network: str, precision: str) -> float:
    """Measure `fit` of our classifier, compiled as `hornbeam train` does it."""
    from hornbeam import backend
    from hornbeam.config import TrainOptions

    backend.select_backend("tensorflow")
    import keras
    import tensorflow as tf

    from hornbeam.data.tasks import Task
    from hornbeam.models.classifier import build_classifier
    from hornbeam.models.zoo import ZOO
    from hornbeam.training.fit import compile_classifier
    from hornbeam.training.objective import losses_of, metrics_of
    from hornbeam.training.optimizers import build_optimizer

    tasks = (Task("label", tuple("abcdefghij")),)
    options = TrainOptions(data="-").resolved().planned(3000)
    keras.config.set_dtype_policy(backend.dtype_policy(precision))
    model = build_classifier(ZOO[network], (SIDE, SIDE, 3), tasks)
    losses = losses_of(tasks, options, {}, BATCH)
    compile_classifier(
        model, build_optimizer(options, 1e-3, model), losses, metrics_of(tasks, losses)
    )
    pixels, labels = arrays()
    weights = {"label": labels * 0 + 1.0}
    data = tf.data.Dataset.from_tensors((pixels, {"label": labels}, weights)).repeat()
    with backend.graph_bfloat16(precision == backend.GRAPH_BFLOAT16):
        return _fit_step(model, data)


def timm_step(network: str, precision: str) -> float:
    """Measure timm on PyTorch."""
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    import torch
    from timm_alone import timm

    torch.set_num_threads(os.cpu_count() or 1)
    model = timm.create_model(NETWORKS[network][1], num_classes=CLASSES)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters())
    pixels, labels = (torch.from_numpy(array) for array in arrays())
    criterion = torch.nn.CrossEntropyLoss()

    def step() -> None:
        inputs = pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = criterion(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return median_step(step)


def measure(network: str, way: str) -> float:
    """Return seconds a step."""
    if way == "keras":
        return keras_step(network)
    if way.startswith("timm"):
        return timm_step(network, way.split()[1])
    return hornbeam_step(network, way)


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", help=", ".join(WAYS))
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--torch-python", help="a Python with torch and timm")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    quick = [way for way in WAYS if "bfloat16" not in way or "bf16" in machine()]
    ways = [
        way for way in (arguments.ways.split(",") if arguments.ways else quick)
        if arguments.torch_python or not way.startswith("timm")
    ]  # fmt: skip
    timm = next((way for way in WAYS if way.startswith("timm") and way in ways), "")
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    print(f"{arguments.rounds} rounds of {STEPS} steps, {os.cpu_count()} cores; pictures/s\n")
    print("| network | way | pictures/s (min, max) | x keras |" + f" x {timm} |" * bool(timm))
    print("|---|---|---:|---:|" + "---:|" * bool(timm))
    for network in arguments.networks.split(","):
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way in ways:
                python = arguments.torch_python if way.startswith("timm") else sys.executable
                command = [python, __file__, "--measure", json.dumps([network, way])]
                done = subprocess.run(command, check=True, capture_output=True, env=environment)
                found[way].append(BATCH / json.loads(done.stdout.splitlines()[-1]))
        for way in ways:
            cells = [f"| {network} | {way} | {spread(found[way], '.1f')} |"]
            for peer in ("keras", timm):
                if peer in found:
                    ratios = [a / b for a, b in zip(found[way], found[peer], strict=True)]
                    cells.append(f" {spread(ratios, '.2f')} |")
            print("".join(cells), flush=True)
        ours = [way for way in ways if way in ("float32", "graph_bfloat16")]
        best = max(ours, key=lambda way: statistics.median(found[way]), default=None)
        for peer, goal in (("keras", GOALS[network]), (timm, 1.0)):
            if best and peer in found:
                ratios = [a / b for a, b in zip(found[best], found[peer], strict=True)]
                told = f"{statistics.median(found[best]):.1f} pictures/s"
                claim = f"training step, {network}, {best}"
                record(__file__, claim, peer, ratios, goal=goal, measured=told)


if __name__ == "__main__":
    main()
