"""Training from shards on an accelerator: pictures a second, beside timm on the same pictures.

The pictures are prepared once, as `hornbeam prepare --shorter-side 256` does it; timm gets the same
JPEG files in folders. Both crop at random (8 to 100 % of the area), mirror, and train all weights by
Adam in bfloat16. Three things are measured of each, by turns, a process each time:

- *pipeline*: batches made by the processor, with no network.
- *repeated*: training steps on one batch that is there already, but for its way to the device.
- *training*: both together, as a training is.

What training reaches of *repeated* says whether the device waits for pictures. Of ours, `--backend` and
`--precision` are chosen as `hornbeam train` does it. timm: `peers/timm_training.py`, by a Python that
`--torch-python` names.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from claims import record, spread

NETWORKS = {"resnet50": "resnet50", "mobilenet_v2": "mobilenetv2_100"}
"""Ours, and timm's."""

PARTS = ("pipeline", "repeated", "training")
WARM_UP = 4
AREA, ASPECT = (0.08, 1.0), 4 / 3


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Return pictures a second of each part of ours, and on what they were computed."""
    from hornbeam import assembly, backend
    from hornbeam.config import TrainOptions
    from hornbeam.data.dataset import TRAIN
    from hornbeam.data.loader import Loader
    from hornbeam.data.pixels.augment import Augmentation

    side, steps, processes = asked["side"], asked["steps"], asked["processes"]
    given = TrainOptions(
        data=asked["shards"], model=asked["network"], backend=asked["backend"], freeze="none",
        image_size=(side, side, 3), batch_size=asked["batch_size"], optimizer="adam",
        precision=asked["precision"], schedule="fixed",
    )  # fmt: skip
    options, architecture, recipe = assembly.begin(given)
    dataset = assembly.open_dataset(options, recipe).only(TRAIN)
    options = assembly.with_size_and_precision(options, architecture).planned(len(dataset))
    loader = Loader(
        dataset, batch_size=options.batch_size, image_size=(side, side), shuffle=True,
        augment=Augmentation(area=AREA, aspect=ASPECT, flip=0.5),
    )  # fmt: skip
    threads = 1 if processes else backend.cores()
    batches = loader.batches(0, steps + WARM_UP, threads=threads, processes=processes)
    kept, *_ = itertools.islice(batches, WARM_UP)
    start = time.perf_counter()
    for _ in batches:
        pass
    found = {"pipeline": steps * options.batch_size / (time.perf_counter() - start)}

    from hornbeam.data.feed import feeding
    from hornbeam.training.optimizers import build_optimizer

    model = assembly.build_model(options, architecture, recipe, dataset, options.precision)
    optimizer = build_optimizer(options, 1e-4, model)
    assembly.compile_model(model, optimizer, options, dataset, recipe, mixes=False)
    options = assembly.with_quickest_precision(options, model, loader, dataset, recipe, 10_000)
    with backend.graph_bfloat16(options.precision == backend.GRAPH_BFLOAT16):
        for part, source, at_once in (
            ("repeated", Repeated(kept), (1, 0)), ("training", loader, (threads, processes)),
        ):  # fmt: skip
            with feeding(source, 2 * steps, threads=at_once[0], processes=at_once[1]) as fed:
                found[part] = steps * options.batch_size / _seconds(model, fed, steps)
    return {**found, "device": _device(), "precision": options.precision}


class Repeated:
    """One batch, again and again, in place of a loader."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def empty_batch(self) -> Any:
        """Return the batch, to know shapes and types."""
        return self._batch

    def batches(self, start: int, stop: int | None, **_: int) -> Iterator[Any]:
        """Return the batch for each step."""
        assert stop is not None
        return itertools.repeat(self._batch, stop - start)


def _seconds(model: Any, batches: Any, steps: int) -> float:
    """Return how long the second of two epochs takes: the first one compiles."""
    import keras

    ends: list[float] = []

    def note(epoch: int, logs: Any) -> None:
        loss = float(logs["loss"])  # which waits for the device
        if not math.isfinite(loss):
            raise SystemExit(f"The loss is {loss}: such steps are not worth measuring.")
        ends.append(time.perf_counter())

    watch = keras.callbacks.LambdaCallback(on_epoch_end=note)
    model.fit(batches, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0, callbacks=[watch])
    return ends[1] - ends[0]


def _device() -> str:
    import keras

    if keras.config.backend() == "jax":
        import jax

        return str(jax.devices()[0].device_kind)
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    return (
        str(tf.config.experimental.get_device_details(found[0])["device_name"]) if found else "cpu"
    )


def lay_out(shards: Path, folder: Path) -> int:
    """Write the training pictures of shards as files, a folder a class; return how many."""
    import hornbeam
    from hornbeam.data.dataset import TRAIN

    dataset = hornbeam.open_dataset(str(shards)).only(TRAIN)
    task = dataset.tasks[0]
    for row, label in enumerate(dataset.labels(task).tolist()):
        place = folder / f"{label:05}"
        place.mkdir(parents=True, exist_ok=True)
        content = dataset.read(row)
        content = content if isinstance(content, bytes) else content.tobytes()
        (place / f"{row:07}.jpg").write_bytes(content)
    return len(dataset)


def run(python: str, script: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Measure one of both in a process of its own."""
    done = subprocess.run(
        [python, str(script), "--measure", json.dumps(asked)], stdout=subprocess.PIPE, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{script.name} ended with {done.returncode}.")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of photographs, a folder a class")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=0, help="see `hornbeam train --processes`")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="timm's, to load")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--torch-python", help="a Python with torch and timm")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(json.loads(given.measure))))
        return
    if given.pictures is None:
        parser.error("--pictures: name a folder of photographs")
    here = Path(__file__)
    with tempfile.TemporaryDirectory() as place:
        shards, files = Path(place) / "shards", Path(place) / "files"
        import hornbeam

        hornbeam.prepare(str(given.pictures), str(shards), shorter_side=256)
        count = lay_out(shards, files)
        print(
            f"{count} pictures, {given.side} px, batches of {given.batch_size}, {given.rounds} rounds\n"
        )
        for network in given.networks.split(","):
            asked = {
                "network": network, "peer": NETWORKS[network], "shards": str(shards),
                "files": str(files), "side": given.side, "batch_size": given.batch_size,
                "steps": given.steps, "processes": given.processes, "workers": given.workers,
                "backend": given.backend, "precision": given.precision, "area": AREA,
                "aspect": ASPECT, "warm_up": WARM_UP,
            }  # fmt: skip
            ours, theirs = [], []
            for _ in range(given.rounds):
                ours.append(run(sys.executable, here, asked))
                if given.torch_python:
                    script = here.parent / "peers" / "timm_training.py"
                    theirs.append(run(given.torch_python, script, asked))
            tell(network, given.side, ours, theirs)


def tell(network: str, side: int, ours: list[Any], theirs: list[Any]) -> None:
    """Print what was found of one network, and note the claims."""
    print(f"## {network}, {ours[0]['device']}, {ours[0]['precision']}\n")
    print("| pictures/s | ours |" + " timm | ours faster |" * bool(theirs))
    print("|---|---:|" + "---:|---:|" * bool(theirs))
    for part in PARTS:
        own = [found[part] for found in ours]
        cells = [f"| {part} | {spread(own, '.0f')} |"]
        if theirs:
            peer = [found[part] for found in theirs]
            ratios = [a / b for a, b in zip(own, peer, strict=True)]
            cells.append(f" {spread(peer, '.0f')} | {spread(ratios, '.2f')} |")
            record(
                __file__, f"{part}, {network} at {side} px, shards", "timm", ratios, goal=1.0,
                measured=f"{statistics.median(own):.0f} pictures/s", device=ours[0]["device"],
            )  # fmt: skip
        print("".join(cells))
    shares = [found["training"] / found["repeated"] for found in ours]
    print(
        f"\nTraining reaches {spread(shares, '.2f')} of the speed of one batch repeated.\n",
        flush=True,
    )
    record(
        __file__, f"training, {network} at {side} px, shards", "the same batch repeated", shares,
        goal=0.95, measured=f"{statistics.median(f['training'] for f in ours):.0f} pictures/s",
        device=ours[0]["device"],
    )  # fmt: skip


if __name__ == "__main__":
    main()
