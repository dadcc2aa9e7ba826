"""How much quicker integers answer than floats in LiteRT: one picture, two threads, by turns."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from claims import record
from keras import layers

from hornbeam.deployment.conversion import litert as floats
from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.quantisation import litert as integers
from hornbeam.deployment.conversion.rebuild import rebuilt

GOALS = {"resnet50": 3.0, "mobilenet_v2": 1.2}
NETWORKS: dict[str, Any] = {
    "resnet50": lambda size: keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    ),
    "mobilenet_v2": lambda size: keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{options.size} px, {options.threads} threads, {options.rounds} rounds by turns\n")
    print(
        "| network | float32 ms (min, max) | int8 ms (min, max) | x quicker | goal | converting s |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, make in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            print(row(name, make(options.size), options, Path(folder)), flush=True)


def row(name: str, backbone: Any, options: argparse.Namespace, folder: Path) -> str:
    """Return a line of the table about one network (random weights: the speed is the same)."""
    image = keras.Input((options.size, options.size, 3), dtype="uint8", name="image")
    x = backbone(layers.Rescaling(1 / 127.5, -1.0)(image))
    answer = layers.Activation("softmax", name="kind_probabilities")(layers.Dense(10)(x))
    model = rebuilt(keras.Model(image, {"kind": answer}))
    shape = (64, options.size, options.size, 3)
    pictures = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.savez(folder / "pictures.npz", image=pictures)
    job = Job(
        "", None, (), str(folder), ("kind",), calibration=str(folder / "pictures.npz"),
        selection=str(folder / "pictures.npz"),
    )  # fmt: skip
    floats.convert_float(model, job, folder / "float.tflite")
    start = time.perf_counter()
    integers.convert_int8(model, job, folder / "int8.tflite")
    took = time.perf_counter() - start
    opened = [opening(folder / f"{kind}.tflite", options.threads) for kind in ("float", "int8")]
    times: list[list[float]] = [[], []]
    for _ in range(options.rounds):
        for running, each in zip(opened, times, strict=True):
            each.append(milliseconds(running, pictures[:1]))
    ratios = [f / i for f, i in zip(*times, strict=True)]
    ratio = statistics.median(ratios)
    told = f"{statistics.median(times[1]):.2f} ms"
    claim, peer = f"int8 in LiteRT, {name}", "float32 in LiteRT"
    record(__file__, claim, peer, ratios, goal=GOALS[name], measured=told)
    cells = [f"{statistics.median(t):.2f} ({min(t):.2f}, {max(t):.2f})" for t in times]
    return f"| {name} | {cells[0]} | {cells[1]} | {ratio:.2f} | {GOALS[name]} | {took:.1f} |"


def opening(path: Path, threads: int) -> Any:
    running = Interpreter(model_path=str(path), num_threads=threads)
    running.allocate_tensors()
    return running


def milliseconds(running: Any, picture: Any, calls: int = 15) -> float:
    index = running.get_input_details()[0]["index"]
    running.set_tensor(index, picture)
    running.invoke()
    start = time.perf_counter()
    for _ in range(calls):
        running.set_tensor(index, picture)
        running.invoke()
    return 1000 * (time.perf_counter() - start) / calls


if __name__ == "__main__":
    main()
