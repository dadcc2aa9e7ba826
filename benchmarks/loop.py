"""What the training loop costs: `training.fit.fit` with all default callbacks against `keras.Model.fit`.

Part 1, per network: the same pictures in memory, network, optimiser, losses and metrics, validation
after each epoch; each way has a copy of the model of its own, and all take turns in one process.

- hornbeam: as `hornbeam train` calls it: checkpoints of everything after each epoch, metrics.csv,
  TensorBoard with pictures, the watch over the loss, progress.
- keras, same feed: bare `fit`, which gets its batches from our feed, so that only the loop differs.
- keras, arrays: bare `fit(x, y)` of whole arrays, shuffled by Keras.

Bare means: no callback, `verbose=0`, nothing saved. Times are of whole calls after one that compiles, so
ours contain the last wait for the disk.

Part 2: how long training waits for a checkpoint: while values are copied, when nothing else happens;
from the end of the step that is saved to the end of the next, less the median step; and the same over
eight steps, while a thread writes the files on the same cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claims import record, spread

LOOPS = {
    "compact": ("tensorflow", 64, 32, 540),
    "mobilenet_v2": ("tensorflow", 96, 32, 400),
    "compact on jax": ("jax", 48, 8, 800),
}
"""Backend, side of the pictures, batch size, pictures of each of 6 classes."""

WAITS = {
    "mobilenet_v2": ("tensorflow", 96, 32, 12),
    "resnet50": ("tensorflow", 64, 16, 12),
    "compact on jax": ("jax", 48, 8, 40),
}
"""Backend, side, batch size, steps between checkpoints."""

EPOCHS, SAVES, WRITING = 2, 5, 8


class Setting:
    """Pictures, options and models that are all alike."""

    def __init__(self, name: str, side: int, batch_size: int, per_class: int, place: Path) -> None:
        from hornbeam.config import TrainOptions
        from hornbeam.data.dataset import TRAIN, VALIDATION
        from hornbeam.data.loader import Loader
        from hornbeam.data.sample import draw_sample
        from hornbeam.data.sources import open_dataset
        from hornbeam.data.splits import with_validation

        self.network = name.split()[0]
        self.side = side
        draw_sample(place / "pictures", per_class, side, 0)
        chosen = TrainOptions(
            data=str(place / "pictures"), model=self.network, epochs=EPOCHS, batch_size=batch_size,
            image_size=(side, side, 3), augment="none", schedule="fixed", freeze="none",
            precision="float32",
        )  # fmt: skip
        self.dataset = with_validation(open_dataset(str(chosen.data), chosen), 0.2, seed=0)
        sides = [self.dataset.only(split) for split in (TRAIN, VALIDATION)]
        self.training, self.validation = (
            Loader(side_, batch_size=batch_size, image_size=(side, side), shuffle=shuffle,
                   in_memory=2**31)
            for side_, shuffle in zip(sides, (True, False), strict=True)
        )  # fmt: skip
        self.options = chosen.resolved().planned(len(sides[0]))

    def model(self) -> tuple[Any, list[str]]:
        """Return a compiled classifier, and the names of its metrics."""
        import keras

        from hornbeam.models.classifier import build_classifier
        from hornbeam.models.zoo import ZOO
        from hornbeam.training.fit import compile_classifier
        from hornbeam.training.objective import losses_of, metrics_of
        from hornbeam.training.optimizers import build_optimizer

        keras.utils.set_random_seed(0)
        tasks = self.dataset.tasks
        model = build_classifier(ZOO[self.network], (self.side, self.side, 3), tasks)
        losses = losses_of(tasks, self.options, {}, 0)
        optimizer = build_optimizer(self.options, 1e-3, model)
        return model, compile_classifier(model, optimizer, losses, metrics_of(tasks, losses))

    def arrays(self, loader: Any) -> tuple[Any, dict[str, Any]]:
        """Return all pictures of a side, uint8, and their classes."""
        import numpy as np

        ordered = loader.over(loader.dataset)
        count = len(loader.dataset)
        batches = [ordered.batch(step) for step in range(ordered.steps_per_epoch)]
        images = np.concatenate([batch.images for batch in batches])[:count]
        return images, {"label": np.concatenate([b.targets["label"] for b in batches])[:count]}


def ways(setting: Setting, place: Path) -> dict[str, Callable[[], None]]:
    """Return what is compared: each trains its own model for the same number of steps."""
    from hornbeam.data.feed import feed
    from hornbeam.recipe import Recipe
    from hornbeam.training.fit import Place, fit
    from hornbeam.training.following.followers import following
    from hornbeam.training.patience import Monitor

    training, validation, options = setting.training, setting.validation, setting.options
    ours, names = setting.model()
    fed, _ = setting.model()
    plain, _ = setting.model()
    arrays, judged = setting.arrays(training), setting.arrays(validation)
    threads = os.cpu_count() or 1

    def hornbeam() -> None:
        directory = Path(tempfile.mkdtemp(dir=place))
        fit(
            ours, ours, training, validation, options, Place(directory),
            monitor=Monitor.of(options, names), follow=following(options, validation, Recipe.none()),
        )  # fmt: skip

    def keras_fed() -> None:
        steps = validation.steps_per_epoch
        fed.fit(
            feed(training, EPOCHS * training.steps_per_epoch, threads=threads), epochs=EPOCHS,
            steps_per_epoch=training.steps_per_epoch, shuffle=False, verbose=0,
            validation_data=feed(validation, steps, threads=threads), validation_steps=steps,
        )  # fmt: skip

    def keras_arrays() -> None:
        plain.fit(
            *arrays, batch_size=training.batch_size, epochs=EPOCHS, verbose=0, validation_data=judged,
        )  # fmt: skip

    return {"hornbeam": hornbeam, "keras, same feed": keras_fed, "keras, arrays": keras_arrays}


def compare(name: str, rounds: int) -> dict[str, Any]:
    """Return seconds of each way in each round, and how many steps they are."""
    _, side, batch_size, per_class = LOOPS[name]
    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting(name, side, batch_size, per_class, Path(temporary))
        compared = ways(setting, Path(temporary))
        order = list(compared)
        for way in order:
            compared[way]()  # compiles
        found: dict[str, list[float]] = {way: [] for way in order}
        for number in range(rounds):
            for way in order[number % 3 :] + order[: number % 3]:
                start = time.perf_counter()
                compared[way]()
                found[way].append(time.perf_counter() - start)
        return {"steps": EPOCHS * setting.training.steps_per_epoch, "seconds": found}


def wait(name: str) -> dict[str, Any]:
    """Return milliseconds of a step, and how much later steps end because of a checkpoint."""
    _, side, batch_size, every = WAITS[name]
    import keras

    from hornbeam.training.checkpoints import Checkpoints
    from hornbeam.training.fit import Place, fit

    ends: list[float] = []
    copying: list[float] = []
    save = Checkpoints._save

    def timed(*arguments: Any, **named: Any) -> None:
        start = time.perf_counter()
        save(*arguments, **named)
        copying.append(1e3 * (time.perf_counter() - start))

    Checkpoints._save = timed  # type: ignore[method-assign]

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if logs is not None:
                float(logs["loss"])  # JAX is done with the step only then
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting(name, side, batch_size, 40, Path(temporary))
        steps = (SAVES + 1) * every
        given = {
            "epochs": None, "steps": steps, "save_every": f"{every}steps",
            "validate_every": f"{steps}steps",
        }  # fmt: skip
        options = setting.options.model_copy(update=given)
        model, _ = setting.model()
        place = Place(Path(temporary) / "run")
        place.directory.mkdir()
        fit(model, model, setting.training, None, options, place, follow=lambda *_: [Watch()])
    steps_ms = [1e3 * (b - a) for a, b in itertools.pairwise(ends)]
    # Step n (from 0) ends with a checkpoint where n + 1 is a multiple; its wait is in interval n.
    saved = [number * every - 1 for number in range(1, SAVES + 1)]
    busy = {index + later for index in saved for later in range(WRITING)}
    median = statistics.median(ms for i, ms in enumerate(steps_ms) if i not in busy and i >= 2)
    return {
        "step": median,
        "copying": copying[:SAVES],
        "next": [steps_ms[index] - median for index in saved],
        "all": [sum(steps_ms[index : index + WRITING]) - WRITING * median for index in saved],
    }


def main() -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loops", default=",".join(LOOPS))
    parser.add_argument("--waits", default=",".join(WAITS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        kind, name = json.loads(arguments.measure)
        from hornbeam import backend

        backend.select_backend((LOOPS if kind == "loop" else WAITS)[name][0])
        print(json.dumps(compare(name, arguments.rounds) if kind == "loop" else wait(name)))
        return
    print(f"{arguments.rounds} rounds, {os.cpu_count()} cores\n")
    print("| network | way | ms a step, all in all | speed, x keras, same feed | x keras, arrays |")
    print("|---|---|---:|---:|---:|")
    for name in filter(None, arguments.loops.split(",")):
        found = _apart("loop", name, LOOPS[name][0], arguments.rounds)
        seconds = found["seconds"]
        for way, values in seconds.items():
            ratios = [
                spread([b / a for a, b in zip(values, seconds[peer], strict=True)], ".3f")
                for peer in ("keras, same feed", "keras, arrays")
            ]
            each = spread([1e3 * value / found["steps"] for value in values], ".1f")
            print(f"| {name} | {way} | {each} | {ratios[0]} | {ratios[1]} |", flush=True)
        ours = seconds["hornbeam"]
        told = f"{1e3 * statistics.median(ours) / found['steps']:.3g} ms a step"
        for peer in ("keras, same feed", "keras, arrays"):
            quicker = [b / a for a, b in zip(ours, seconds[peer], strict=True)]
            claim = f"fit with all callbacks, {name}"
            record(__file__, claim, f"fit of {peer}", quicker, goal=0.97, measured=told)
    print("\n| network | ms a step | copying, ms | the next step, ms | 8 steps, ms | in steps |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in filter(None, arguments.waits.split(",")):
        found = _apart("wait", name, WAITS[name][0], arguments.rounds)
        kinds = ("copying", "next", "all")
        cells = " | ".join(spread(found[kind], ".0f") for kind in kinds)
        steps = "; ".join(f"{statistics.median(found[k]) / found['step']:.2f}" for k in kinds)
        print(f"| {name} | {found['step']:.0f} | {cells} | {steps} |", flush=True)
        late = statistics.median(found["next"])
        record(
            __file__, f"a checkpoint holds up the next step, {name}", "limit: one step",
            [found["step"] / late], goal=1, measured=f"{late:.0f} ms",
        )  # fmt: skip


def _apart(kind: str, name: str, backend: str, rounds: int) -> Any:
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [
        sys.executable,
        __file__,
        "--measure",
        json.dumps([kind, name]),
        "--rounds",
        str(rounds),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
