"""Transfer learning on a few thousand photographs: seconds, and what comes of them.

Four ways from the same MobileNetV2 weights, 224 px, each a process of its own, interleaved; every
clock starts with the process, so imports, listing and decoding count for all:

- `keras guide`: the way of Keras' transfer-learning guide: the frozen base in the graph, its
  augmentation (mirror, turn), Dropout 0.2, Adam, 10 epochs.
- `scikit-learn`: features extracted once by `predict`, then logistic regression as it comes.
- `scikit-learn tuned`: the same, C chosen among 8 on the validation pictures.
- `hornbeam`: `hornbeam train --weights FILE`, and with `--no-finetune`. Its cache is empty each time.

Validation pictures choose, test pictures are asked once at the end.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from claims import record, spread

SIDE, BATCH = 224, 32
WAYS = ("keras guide", "scikit-learn", "scikit-learn tuned", "hornbeam head", "hornbeam")


def datasets(pictures: Path) -> list[Any]:
    """Return training, validation and test pictures as Keras' own function reads them."""
    import keras

    return [
        keras.utils.image_dataset_from_directory(
            pictures / split, image_size=(SIDE, SIDE), batch_size=BATCH, shuffle=split == "train",
            seed=0, crop_to_aspect_ratio=True, verbose=False,
        )
        for split in ("train", "validation", "test")
    ]  # fmt: skip


def keras_guide(pictures: Path, weights: Path, start: float) -> dict[str, Any]:
    """Train as the guide does; return when which validation accuracy was there."""
    import keras
    import tensorflow as tf
    from keras import layers

    keras.utils.set_random_seed(0)
    train, validation, test = datasets(pictures)
    classes = len(train.class_names)
    augment = keras.Sequential([layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)])
    train = train.map(lambda x, y: (augment(x, training=True), y), num_parallel_calls=2)
    base = keras.applications.MobileNetV2(
        include_top=False, input_shape=(SIDE, SIDE, 3), weights=weights
    )
    base.trainable = False
    inputs = keras.Input((SIDE, SIDE, 3))
    x = base(layers.Rescaling(1 / 127.5, offset=-1)(inputs), training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, layers.Dense(classes)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    curve: list[tuple[float, float]] = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda _, logs: curve.append((time.time() - start, logs["val_accuracy"]))
    )
    model.fit(
        train.prefetch(tf.data.AUTOTUNE), epochs=10, validation_data=validation, verbose=0,
        callbacks=[note],
    )  # fmt: skip
    return {"curve": curve, "test": model.evaluate(test, verbose=0)[1]}


def scikit_learn(pictures: Path, weights: Path, start: float, tuned: bool) -> dict[str, Any]:
    """Extract features once and fit a logistic regression."""
    import keras
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    base = keras.applications.MobileNetV2(
        include_top=False, input_shape=(SIDE, SIDE, 3), weights=weights, pooling="avg"
    )
    inputs = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(inputs, base(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)))

    def extract(dataset: Any) -> tuple[Any, Any]:
        parts = [(model.predict_on_batch(x), y.numpy()) for x, y in dataset]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))  # type: ignore[return-value]

    train, validation, test = datasets(pictures)
    x, y = extract(train)
    xv, yv = extract(validation)
    choices = [10.0**k for k in range(-5, 3)] if tuned else [1.0]
    best, model_ = -1.0, None
    for c in choices:
        candidate = LogisticRegression(C=c, max_iter=1000).fit(x, y)
        score = candidate.score(xv, yv)
        if score > best:
            best, model_ = score, candidate
    curve = [(time.time() - start, best)]
    assert model_ is not None
    return {"curve": curve, "test": model_.score(*extract(test))}


def hornbeam(pictures: Path, weights: Path, finetune: bool) -> dict[str, Any]:
    """Run the command as a user does."""
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary) / "run"
        words = ["train", pictures, "--weights", weights, "--run", run]
        words += [] if finetune else ["--no-finetune"]
        environment = {**os.environ, "HORNBEAM_CACHE": f"{temporary}/cache"}
        start = time.time()
        command = [sys.executable, "-m", "hornbeam", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        end = time.time() - start
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        curve = [
            (line["time"] - start, line["val_accuracy"])
            for line in lines
            if line["event"] == "validation"
        ]
        command = [sys.executable, "-m", "hornbeam", "evaluate", str(run), "--split", "test"]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        import pyarrow.parquet as pq

        # The file keeps what was said of the validation pictures too.
        asked = [("split", "==", "test")]
        table = pq.read_table(run / "predictions.parquet", filters=asked)
        correct = table["label_correct"].to_pylist()
        rows = list(csv.DictReader((run / "metrics.csv").open()))
        assert len(rows) == len(curve)
        return {"curve": curve, "test": sum(correct) / len(correct), "end": end}


def measure(way: str, pictures: Path, weights: Path, start: float) -> dict[str, Any]:
    """Run one way once."""
    if way == "keras guide":
        return keras_guide(pictures, weights, start)
    if way.startswith("scikit-learn"):
        return scikit_learn(pictures, weights, start, tuned=way.endswith("tuned"))
    return hornbeam(pictures, weights, finetune=way == "hornbeam")


def seconds_to(curve: list[tuple[float, float]], share: float, best: float) -> float:
    """Return when a share of the best accuracy was reached first; infinity for never."""
    return next((s for s, accuracy in curve if accuracy >= share * best), float("inf"))


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="with train, validation, test")
    parser.add_argument("--weights", type=Path, required=True, help="of MobileNetV2, without top")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    places = (arguments.pictures, arguments.weights)
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, *places, arguments.start)))
        return
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ways = arguments.ways.split(",")
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(arguments.rounds):
        for way in ways:
            words = ["--pictures", places[0], "--weights", places[1], "--measure", way]
            start = time.time()
            command = [sys.executable, __file__, *map(str, words), "--start", str(start)]
            done = subprocess.run(command, check=True, capture_output=True, env=environment)
            result = json.loads(done.stdout.splitlines()[-1])
            result.setdefault("end", time.time() - start)
            found[way].append(result)
            print(way, json.dumps(result), file=sys.stderr, flush=True)
    print(f"{arguments.rounds} rounds, {os.cpu_count()} cores\n")
    print(
        "| way | s to 99 % of its best validation accuracy | s in all | best validation % | test % |"
    )
    print("|---|---:|---:|---:|---:|")
    for way, results in found.items():
        bests = [max(accuracy for _, accuracy in r["curve"]) for r in results]
        reached = [seconds_to(r["curve"], 0.99, b) for r, b in zip(results, bests, strict=True)]
        ends = [r["end"] for r in results]
        print(
            f"| {way} | {spread(reached, '.1f')} | {spread(ends, '.1f')} | "
            f"{spread([100 * b for b in bests], '.1f')} | "
            f"{spread([100 * r['test'] for r in results], '.1f')} |"
        )
    ours = "hornbeam head" if "hornbeam head" in found else "hornbeam"
    print(
        f"\nSeconds of '{ours}' to 99 % of a peer's best, as a share of the peer's own; by round:\n"
    )
    for way in ways:
        if way.startswith("hornbeam"):
            continue
        ratios = []
        for mine, theirs in zip(found[ours], found[way], strict=True):
            best = max(accuracy for _, accuracy in theirs["curve"])
            ratios.append(
                seconds_to(mine["curve"], 0.99, best) / seconds_to(theirs["curve"], 0.99, best)
            )
        print(f"- {way}: {spread(ratios, '.3f')}")
        times_as_quick = [1 / ratio for ratio in ratios]
        claim = f"to 99 % of the peer's best validation accuracy, {ours}"
        goal = 8.0 if way == "keras guide" else 0.91
        record(__file__, claim, way, times_as_quick, goal=goal)


if __name__ == "__main__":
    main()
