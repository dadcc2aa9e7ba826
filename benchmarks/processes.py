"""What it costs to train as several processes, and to lose one.

1. Steps: two processes against one process with two virtual devices, and against one with one device:
   the same global batches on the same cores, interleaved; pictures a second of the last interval.
2. Start: from the command to the first step on disk, of two processes by `--hosts localhost,localhost`
   and of one; with `--ray` also by a Ray cluster of two nodes here.
3. A loss: from `kill -9` of a worker to the next checkpoint of the training that goes on.

JAX on CPUs: what is measured is ours and Gloo's on loopback, not a network and not NCCL.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claims import record

HORNBEAM = [sys.executable, "-m", "hornbeam"]
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
SIDE, BATCH, PER_CLASS = 64, 32, 120
NETWORKS = {"compact": (64, 40), "mobilenet_v2": (96, 6)}
"""Side of the pictures, and steps between validations: the second such interval counts."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--ray", action="store_true", help="start by Ray as well, which must be installed"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run(
            [*HORNBEAM, "sample", place / "shapes", "--per-class", str(PER_CLASS), "--size", str(SIDE)],
            check=True, capture_output=True,
        )  # fmt: skip
        steps(place, arguments.rounds)
        starts(place, arguments.rounds, arguments.ray)
        losses(place, arguments.rounds)


def words(run: Path, *more: str) -> list[str]:
    """Return the command of a training that is alike in all measurements."""
    alike = ("--backend", "jax", "--batch-size", str(BATCH), "--no-tensorboard", "--run", str(run))
    network = () if "--model" in more else ("--model", "compact", "--image-size", str(SIDE))
    return ["train", str(run.parent / "shapes"), *alike, *network, *more]


def steps(place: Path, rounds: int) -> None:
    """Compare the speed of steps."""
    ways: dict[str, Callable[..., None]] = {
        "two processes": two_processes,
        "one process, two devices": lambda run, *more: one_process(run, *more, **TWO_DEVICES),
        "one process, one device": one_process,
    }
    for network, (side, length) in NETWORKS.items():
        more = (
            "--model", network, "--image-size", str(side), "--steps", str(2 * length), "--no-verify",
            "--validate-every", f"{length}steps", "--validation-steps", "1",
        )  # fmt: skip
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name, way in ways.items():
                run = place / f"{network}-{turn}-{name.replace(' ', '-')}"
                way(run, *more)
                speeds[name].append(_speed(run))
        for name, values in speeds.items():
            print(f"{network} at {side} px, {name}: {_told(values)} pictures/s")
        ours = speeds["two processes"]
        for peer in ("one process, two devices", "one process, one device"):
            ratios = [a / b for a, b in zip(ours, speeds[peer], strict=True)]
            print(f"{network}: two processes against {peer}: {_told(ratios)}")
            record(__file__, f"a step by two processes, {network} at {side} px", peer, ratios)


def starts(place: Path, rounds: int, by_ray: bool) -> None:
    """Compare how long it takes until the first step is on the disk."""
    short = ("--steps", "1", "--no-validation", "--no-verify")
    ways: dict[str, list[str]] = {"one process": [], "--hosts": ["--hosts", "localhost,localhost"]}
    if by_ray:
        ways["Ray"] = ["--launcher", "ray", "--hosts", "localhost,localhost"]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, more in ways.items():
            run = place / f"start-{turn}-{name.strip('-').replace(' ', '-')}"
            begun = time.time()
            one_process(run, *short, *more)
            seconds[name].append(_checkpoints(run)[0]["time"] - begun)
    for name, values in seconds.items():
        print(f"{name}: {_told(values)} s to the first step on disk")
    for name in list(ways)[1:]:
        ratios = [a / b for a, b in zip(seconds["one process"], seconds[name], strict=True)]
        told = f"{statistics.median(seconds[name]):.1f} s"
        record(
            __file__,
            f"to the first step, two workers by {name}",
            "one process",
            ratios,
            measured=told,
        )


def losses(place: Path, rounds: int) -> None:
    """Kill a worker, and see how long the training takes to go on."""
    waits = []
    for turn in range(rounds):
        run = place / f"loss-{turn}"
        more = (
            "--steps",
            "4000",
            "--no-validation",
            "--save-every",
            "10steps",
            "--hosts",
            "localhost,localhost",
        )
        process = subprocess.Popen(
            [*HORNBEAM, *words(run, *more)], env=_environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _until(lambda run=run: len(_checkpoints(run)) >= 2)  # type: ignore[misc]
            victim = _worker(run, 1)
            killed, step = time.time(), _checkpoints(run)[-1]["step"]
            os.kill(victim, signal.SIGKILL)
            _until(lambda run=run, step=step: _resumed(run, step))  # type: ignore[misc]
            waits.append(next(c["time"] for c in _checkpoints(run)[::-1]) - killed)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
    told = _told(waits)
    print(f"from kill -9 of a worker to the next checkpoint: {told} s")
    record(__file__, "from kill -9 of a worker to a new checkpoint", "limit: 30 s",
           [30 / each for each in waits], measured=f"{statistics.median(waits):.1f} s")  # fmt: skip


def one_process(run: Path, *more: str, **environment: str) -> None:
    """Train to the end by one command."""
    subprocess.run(
        [*HORNBEAM, *words(run, *more)], env=_environment(**environment), check=True,
        capture_output=True,
    )  # fmt: skip


def two_processes(run: Path, *more: str) -> None:
    """Train to the end by two processes that find each other, started by nobody but us."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"HORNBEAM_WORLD_SIZE": "2", "HORNBEAM_COORDINATOR": f"127.0.0.1:{port}"}
    started = [
        subprocess.Popen(
            [*HORNBEAM, *words(run, *more)], env=_environment(**shared, HORNBEAM_RANK=str(rank)),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]  # fmt: skip
    assert [each.wait(600) for each in started] == [0, 0]


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "jax", **more}


def _speed(run: Path) -> float:
    with (run / "metrics.csv").open() as file:
        return float(list(csv.DictReader(file))[-1]["pictures_per_second"])


def _checkpoints(run: Path) -> list[dict[str, Any]]:
    try:
        lines = (run / "log.jsonl").read_text().splitlines()
    except OSError:
        return []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [event for event in events if event["event"] == "checkpoint"]


def _resumed(run: Path, step: int) -> bool:
    lines = (run / "log.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines if line.endswith("}")]
    again = [n for n, event in enumerate(events) if event["event"] == "resume"]
    return bool(again) and any(
        e["event"] == "checkpoint" and e["step"] > step for e in events[again[-1] :]
    )


def _worker(run: Path, rank: int) -> int:
    import psutil  # type: ignore[import-untyped]

    for process in psutil.process_iter():
        try:
            environment, line = process.environ(), process.cmdline()
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
        ours = f"--run={run}" in line and "hornbeam.cluster.guard" not in line
        if ours and environment.get("HORNBEAM_RANK") == str(rank):
            return int(process.pid)
    raise AssertionError(f"no worker of rank {rank} is there")


def _until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"it has not happened in {seconds} s")


def _told(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


if __name__ == "__main__":
    main()
