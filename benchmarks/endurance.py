"""Whether a training's memory grows: resident memory over 10,000 steps of a tiny network.

The whole command runs, with a validation and a checkpoint each 500 steps, and TensorBoard. A batch is
8 pictures of 32 px (24 KiB): a training that kept each would grow by 24 MiB in 1,000 steps. Told is the
slope of a straight line through what is resident at each validation, after the first 2,000 steps.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claims import record

STEPS, WARM, EVERY = 10_000, 2_000, 500

RECIPE = '''
"""A tiny network, and a callback that notes what is resident."""

import json
import os

import keras
import psutil


def build_model(input_shape, targets):
    layers = keras.layers
    pixels = keras.Input(input_shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(pixels)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, strides=4)(x)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, [layers.Dense(len(task.classes))(x) for task in targets])


def callbacks():
    return [Resident()]


class Resident(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        with open(os.environ["RESIDENT"], "a") as file:
            print(json.dumps(psutil.Process().memory_info().rss / 2**20), file=file)
'''


def measure(backend: str, steps: int, every: int, place: Path) -> tuple[list[float], float]:
    """Train; return MiB resident at each validation, and milliseconds a step."""
    recipe, noted = place / "recipe.py", place / f"{backend}.txt"
    recipe.write_text(RECIPE)
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "RESIDENT": str(noted), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "hornbeam", "train", str(place / "pictures"), "--recipe", str(recipe),
        "--run", str(place / backend), "--steps", str(steps), "--validate-every", f"{every}steps",
        "--batch-size", "8", "--image-size", "32", "--precision", "float32", "--in-memory", "1",
        "--augment", "none",
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    spent = time.perf_counter() - start
    return [json.loads(line) for line in noted.read_text().splitlines()], 1e3 * spent / steps


def slope(resident: list[float], every: int, warm: int) -> float:
    """Return MiB in 1,000 steps: of the straight line of least squares after warming up."""
    import numpy as np

    kept = resident[warm // every - 1 :]
    return float(np.polyfit(every * np.arange(len(kept)), kept, 1)[0]) * 1000


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--backends", default="tensorflow,jax")
    arguments = parser.parse_args()
    from hornbeam.data.sample import draw_sample

    print(f"{arguments.steps} steps, {os.cpu_count()} cores\n")
    print(
        "| backend | MiB after 500 steps | after 2,000 | at the end | MiB in 1,000 steps | ms a step |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        draw_sample(place / "pictures", 20, 32, 0)
        for backend in arguments.backends.split(","):
            resident, ms = measure(backend, arguments.steps, EVERY, place)
            print(
                f"| {backend} | {resident[0]:.0f} | {resident[WARM // EVERY - 1]:.0f} "
                f"| {resident[-1]:.0f} | {slope(resident, EVERY, WARM):.2f} | {ms:.1f} |",
                flush=True,
            )
            grows = slope(resident, EVERY, WARM)
            record(
                __file__, f"memory over {arguments.steps} steps, {backend}",
                "a batch kept each step: 24 MiB in 1,000", [24 / max(grows, 0.01)],
                measured=f"{grows:.2f} MiB in 1,000",
            )  # fmt: skip
            print(f"<!-- {[round(mib, 1) for mib in resident]} -->", file=sys.stderr)


if __name__ == "__main__":
    main()
