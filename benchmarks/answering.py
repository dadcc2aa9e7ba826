"""From pixels, and from files, to answers: our Predictor, Keras, bare runtimes, a script with Pillow.

Real photographs, in folders of their classes, so that accuracy can be told beside the speed. The ways
take turns in each round; "faster" is the median of the ratios of rounds. CPU is milliseconds of
processor time of all threads, which a busy machine changes little. The script is what one writes by
hand: Pillow opens, turns, crops and resizes (antialiased), and the quickest runtime answers, a batch
after the pictures of it are there; with two threads that decode, as good as it gets with little more.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from claims import record
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hornbeam.deployment import Predictor
from hornbeam.deployment.bundle.manifest import Manifest

THREADS = 2
BATCH = 32
_GOALS = {
    "bare": 0.95, "predict_on_batch": 2.5, "keras.predict": 9.0, "Pillow": 1.3,
}  # fmt: skip
"""How many times as quick as a peer with such a name; of 12 megapixels 3."""

Way = Callable[[], Any]


class Bare:
    """Runtimes, called with nothing of ours."""

    def __init__(self, bundle: Path, name: str) -> None:
        artifact = Manifest.load(bundle).artifacts[name]
        path = str(bundle / artifact.file)
        self.name = name
        if name == "litert":
            from ai_edge_litert.interpreter import Interpreter

            self._litert = {
                n: self._interpreter(Interpreter(model_path=path, num_threads=THREADS), n)
                for n in (1, 8)
            }
            self.ask = self._by_litert
        elif name == "onnx":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = THREADS
            session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
            given = session.get_inputs()[0].name
            self.ask = lambda image: session.run(None, {given: image})
        else:
            import openvino

            settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY",
                        "INFERENCE_NUM_THREADS": THREADS}  # fmt: skip
            compiled = openvino.Core().compile_model(path, "CPU", settings)
            request = compiled.create_infer_request()
            self.ask = lambda image: request.infer({0: image}, share_inputs=True)

    @staticmethod
    def _interpreter(interpreter: Any, batch: int) -> Any:
        given = interpreter.get_input_details()[0]
        interpreter.resize_tensor_input(given["index"], [batch, *given["shape"][1:]])
        interpreter.allocate_tensors()
        return interpreter, given["index"], interpreter.get_output_details()[0]["index"]

    def _by_litert(self, image: NDArray[np.uint8]) -> list[Any]:
        size = 8 if len(image) % 8 == 0 else 1
        interpreter, given, made = self._litert[size]
        answers = []
        for at in range(0, len(image), size):
            interpreter.set_tensor(given, image[at : at + size])
            interpreter.invoke()
            answers.append(interpreter.get_tensor(made))
        return answers


def by_pillow(data: bytes, side: int) -> NDArray[np.uint8]:
    """Return a picture as a script with Pillow prepares it."""
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BILINEAR))


def measure(claim: str, ways: dict[str, Way], rounds: int, pictures: int, repeat: int = 1) -> None:
    """Print a table: milliseconds a picture of each way, and how much faster the first one is."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start, used = time.perf_counter(), time.process_time()
            for _ in range(repeat):
                way()
            seconds[name].append(time.perf_counter() - start)
            processor[name].append(time.process_time() - used)
    print("| way | ms a picture | min | max | ours faster | CPU ms | ours less |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    first = next(iter(ways))
    ours, used_by_us = np.array(seconds[first]), np.array(processor[first])
    for name, each in seconds.items():
        spent = np.array(each)
        ms = 1000 * spent / (repeat * pictures)
        cpu = np.median(processor[name]) * 1000 / (repeat * pictures)
        print(
            f"| {name} | {np.median(ms):.2f} | {ms.min():.2f} | {ms.max():.2f} | "
            f"{'' if name == first else _spread(spent / ours)} | {cpu:.2f} | "
            f"{'' if name == first else _spread(np.array(processor[name]) / used_by_us)} |",
            flush=True,
        )
        if name.endswith("(peer)"):
            peer = name.removesuffix(" (peer)").replace("litert", "LiteRT")
            told = f"{np.median(1000 * ours / (repeat * pictures)):.2f} ms"
            goal = next((g for word, g in _GOALS.items() if word in peer), None)
            if claim.startswith("12 mega"):
                goal = 3.0
            elif claim.startswith(f"{BATCH} pictures") and "bare" not in peer:
                goal = None
            record(__file__, claim, peer, (spent / ours).tolist(), goal=goal, measured=told)
    print()


def _spread(ratio: NDArray[np.float64]) -> str:
    return f"{np.median(ratio):.2f} ({ratio.min():.2f}, {ratio.max():.2f})"


def ask_pixels(
    claim: str,
    bundle: Path,
    predictor: Predictor,
    image: NDArray[np.uint8],
    rounds: int,
    repeat: int,
) -> None:
    """Compare what asks about pixels that are there already."""
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    model = keras.saving.load_model(bundle / "model.keras", compile=False)
    bare = [Bare(bundle, name) for name in ("litert", "onnx", "openvino")]
    ways: dict[str, Way] = {f"Predictor.ask ({predictor.format})": lambda: predictor.ask(image)}
    ways["Predictor's runtime alone"] = lambda: predictor._runtime.run(image)
    for each in bare:
        ways[f"{each.name}, bare (peer)"] = functools.partial(each.ask, image)
    measure(claim, ways, rounds, len(image), repeat)
    slow: dict[str, Way] = {f"Predictor.ask ({predictor.format})": lambda: predictor.ask(image)}
    slow["predict_on_batch (peer)"] = lambda: model.predict_on_batch(image)
    slow["keras.predict (peer)"] = lambda: model.predict(image, verbose=0)
    measure(claim, slow, rounds, len(image), max(1, repeat // 5))


def ask_files(
    claim: str, predictor: Predictor, bare: Bare, contents: Sequence[bytes], rounds: int,
    batched: bool,
) -> None:  # fmt: skip
    """Compare ways from the bytes of files to answers."""
    side = predictor.manifest.image_size[0]
    ways: dict[str, Way] = {}
    if batched:
        ways["Predictor.predict"] = lambda: predictor.predict(contents)
    else:
        ways["Predictor.predict, one at a time"] = lambda: [
            predictor.predict([data]) for data in contents
        ]
    pool = ThreadPoolExecutor(THREADS)

    def script(threads: bool) -> list[Any]:
        answers = []
        size = BATCH if batched else 1
        for at in range(0, len(contents), size):
            part = contents[at : at + size]
            prepare = (pool.map if threads else map)(lambda data: by_pillow(data, side), part)
            answers.append(bare.ask(np.stack(list(prepare))))
        return answers

    ways[f"Pillow + {bare.name} (peer)"] = lambda: script(False)
    if batched:
        ways[f"Pillow in two threads + {bare.name} (peer)"] = lambda: script(True)
    measure(claim, ways, rounds, len(contents))
    pool.shutdown()


def accuracies(predictor: Predictor, paths: Sequence[Path]) -> tuple[float, float]:
    """Return the share of right answers, ours and after Pillow."""
    task = predictor.tasks[0]
    labels = np.array([task.classes.index(path.parent.name) for path in paths])
    ours = np.array([a.probabilities[task.name].argmax() for a in predictor.predict(paths)])
    side = predictor.manifest.image_size[0]
    pillow = np.stack([by_pillow(path.read_bytes(), side) for path in paths])
    theirs = np.array([a.probabilities[task.name].argmax() for a in predictor.ask(pillow)])
    return float(np.mean(ours == labels)), float(np.mean(theirs == labels))


def enlarged(paths: Sequence[Path]) -> list[bytes]:
    """Return pictures of 12 megapixels, JPEG of quality 90."""
    files = []
    for path in paths:
        file = io.BytesIO()
        picture = ImageOps.fit(Image.open(path).convert("RGB"), (4000, 3000))
        picture.save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def main() -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True,
                        help="with keras, litert, onnx and openvino in it")  # fmt: skip
    parser.add_argument("--pictures", type=Path, required=True,
                        help="folder of folders that are called like the classes")  # fmt: skip
    parser.add_argument("--network", default="MobileNetV2", help="what the table calls it")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--large", type=int, default=8, help="pictures of 12 megapixels")
    parser.add_argument("--no-keras", action="store_true")
    arguments = parser.parse_args()
    every = sorted(arguments.pictures.glob("*/*.jpg"))
    paths = every[:: max(1, len(every) // arguments.count)][: arguments.count // BATCH * BATCH]
    contents = [path.read_bytes() for path in paths]
    predictor = Predictor(arguments.bundle, threads=THREADS, batch_size=BATCH)
    image = np.stack([predictor.prepare(data) for data in contents[:BATCH]])
    size, rounds = predictor.manifest.image_size, arguments.rounds
    print(f"{arguments.bundle.name}, {size[0]}x{size[1]}, {len(paths)} pictures, {rounds} rounds\n")
    of = f"{arguments.network} at {size[0]} px"
    if not arguments.no_keras:
        print("## Pixels to answers, one picture\n")
        ask_pixels(f"one picture, {of}", arguments.bundle, predictor, image[:1], rounds, 50)
        print(f"## Pixels to answers, {BATCH} pictures\n")
        ask_pixels(f"{BATCH} pictures, {of}", arguments.bundle, predictor, image, rounds, 5)
    bare = Bare(arguments.bundle, predictor.format)
    print("## Files to answers, one after the other\n")
    ask_files("one file at a time", predictor, bare, contents[:64], rounds, batched=False)
    print(f"## Files to answers, batches of {BATCH}\n")
    ask_files(f"files, {BATCH} at a time", predictor, bare, contents, rounds, batched=True)
    ours, theirs = accuracies(predictor, paths)
    print(f"Right answers: ours {ours:.1%}, after Pillow {theirs:.1%}.\n")
    large = enlarged(every[:: len(every) // arguments.large][: arguments.large])
    print(f"## 12 megapixels, {np.mean([len(f) for f in large]) / 1e6:.1f} MB each\n")
    claim = "12 megapixels, one file at a time"
    ask_files(claim, predictor, bare, large, rounds, batched=False)


if __name__ == "__main__":
    main()
