"""One trial: a `hornbeam train` in a process of its own, followed by what it writes."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hornbeam.errors import RunError
from hornbeam.measures import is_accuracy, less_is_better
from hornbeam.search.claims import Claim
from hornbeam.storage import read_rows, write_text
from hornbeam.world.membership import alone

_LOOK_EVERY = 0.25
"""Seconds between looks at what a trial has written."""

_SAVING = 120.0
"""Seconds that a training gets to save its state."""

_KILLS = 3
"""Times that a training may be killed, by want of memory say, and goes on from where it was."""

Ending = Literal["finished", "pruned", "stopped", "failed"]


@dataclasses.dataclass(frozen=True)
class Paths:
    """Where the files of a trial are: in `trials/` of its study, by its number."""

    study: Path
    number: int

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.study / "trials" / f"{self.number:04}"

    @property
    def options(self) -> Path:
        """The options, as a configuration file."""
        return self.study / "trials" / f"{self.number:04}.yaml"

    @property
    def output(self) -> Path:
        """What the training prints."""
        return self.study / "trials" / f"{self.number:04}.log"

    @property
    def claim(self) -> Path:
        """Who works on it."""
        return self.study / "trials" / f"{self.number:04}.lock"

    @property
    def metrics(self) -> Path:
        """The validations."""
        return self.run / "metrics.csv"

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.run / "model.keras"


@dataclasses.dataclass(frozen=True)
class Objective:
    """What trials are compared by: a column of `metrics.csv`, or the accuracy of all tasks.

    Attributes:
        monitor: `--monitor`.
        mode: `--mode`.
    """

    monitor: str
    mode: str

    @property
    def name(self) -> str:
        """As tables call it."""
        return "val_accuracy" if self.monitor == "auto" else self.monitor

    @property
    def maximizes(self) -> bool:
        """Whether more is better."""
        if self.mode != "auto":
            return self.mode == "max"
        return not less_is_better(self.name)

    def of(self, row: Mapping[str, str]) -> float:
        """Return the value of a validation; NaN where it is not there.

        Raises:
            RunError: there is no such column.
        """
        if self.monitor == "auto":
            values = [value for name, value in row.items() if is_accuracy(name)]
        else:
            if self.monitor not in row:
                known = ", ".join(name for name in row if name.startswith("val_"))
                raise RunError(f"--monitor {self.monitor}: the validations have {known}.")
            values = [row[self.monitor]]
        numbers = [float(value) for value in values if value]
        return sum(numbers) / len(numbers) if numbers else math.nan

    def best(self, values: Sequence[float]) -> float:
        """Return the best of some values, of which NaN is none; NaN of none."""
        known = [value for value in values if not math.isnan(value)]
        return (max if self.maximizes else min)(known, default=math.nan)

    def is_worse(self, value: float, other: float) -> bool:
        """Whether `value` is worse than `other`."""
        return value < other if self.maximizes else value > other


def read_validations(metrics: Path) -> list[dict[str, str]]:
    """Return the validations of a run so far."""
    try:
        return read_rows(metrics)
    except FileNotFoundError:
        return []


def write_options(paths: Paths, options: Mapping[str, Any]) -> None:
    """Write the configuration file of a trial."""
    import yaml

    paths.options.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(options), sort_keys=False, allow_unicode=True)
    write_text(paths.options, text)


def run_trial(
    paths: Paths,
    claim: Claim,
    stop: threading.Event,
    threads: int,
    seen: Callable[[int, dict[str, str]], bool],
) -> tuple[Ending, str]:
    """Train, from the start or from the last checkpoint, and follow the validations.

    Args:
        paths: of the trial, whose options are written.
        claim: held; told that we are alive.
        stop: set by who wants the search to stop; the training saves its state then.
        threads: of TensorFlow's operations; 0 = as it likes.
        seen: is told of the number of each validation, from 0, and its line; says whether the trial
            should be given up.

    Returns:
        How it ended, and of a failure why.
    """
    for _ in range(_KILLS + 1):
        if is_finished(paths):
            _tell_all(paths, 0, seen)
            return "finished", ""
        resumes = (paths.run / "checkpoints" / "last").exists()
        if not resumes:
            shutil.rmtree(paths.run, ignore_errors=True)
        with paths.output.open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                _command(paths, resumes), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env=_environment(threads), pass_fds=(claim.descriptor,),
                start_new_session=True,  # Ctrl-C is for us; we tell it
            )  # fmt: skip
            asked = _follow(process, paths, claim, stop, seen)
        code = process.returncode
        if code == 0:
            return "finished", ""
        if asked and code in (128 + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL):
            return asked, ""
        if code > 0 and code not in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            return "failed", _last_words(paths)
        if stop.is_set():
            return "stopped", ""
        # Killed by someone else: it goes on, or begins anew.
    return "failed", f"the training was killed {_KILLS + 1} times (exit code {code})"


def is_finished(paths: Paths) -> bool:
    """Whether a run went to its end."""
    try:
        lines = (paths.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return paths.model.is_file() and json.loads(lines[-1])["event"] == "end"
    except (OSError, ValueError, IndexError, KeyError):
        return False


def _follow(
    process: subprocess.Popen[bytes], paths: Paths, claim: Claim, stop: threading.Event,
    seen: Callable[[int, dict[str, str]], bool],
) -> Ending | None:  # fmt: skip
    """Wait for the end of a training; return what it was told to end for, if it was."""
    asked: Ending | None = None
    told, patience = 0, math.inf
    try:
        while True:
            code = process.poll()
            claim.tell()
            told, give_up = _tell_all(paths, told, seen)
            if code is not None:
                return asked
            if asked is None and (stop.is_set() or (give_up and not _is_over(paths))):
                asked = "stopped" if stop.is_set() else "pruned"
                process.terminate()
                patience = time.monotonic() + _SAVING
            if time.monotonic() > patience:
                process.kill()
            try:
                process.wait(_LOOK_EVERY)
            except subprocess.TimeoutExpired:
                continue
    finally:
        if process.poll() is None:  # an error of ours: nobody would follow it any more
            process.terminate()


def _tell_all(
    paths: Paths, told: int, seen: Callable[[int, dict[str, str]], bool]
) -> tuple[int, bool]:
    """Tell of validations that are new; return their number, and whether to give up."""
    rows = read_validations(paths.metrics)
    give_up = False
    for index in range(told, len(rows)):
        give_up = seen(index, rows[index])
    return max(told, len(rows)), give_up


def _is_over(paths: Paths) -> bool:
    """Whether the last validation was that after the last step: what is left is to save the model."""
    try:
        lines = (paths.run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        steps = next(
            (event["steps"] for line in lines if (event := json.loads(line))["event"] == "start"), 0
        )
    except (OSError, ValueError, KeyError):
        return False
    rows = read_validations(paths.metrics)
    return bool(rows and steps) and int(float(rows[-1]["step"])) >= steps


def _command(paths: Paths, resumes: bool) -> list[str]:
    """Return the command that begins a trial, or goes on with it."""
    words = [sys.executable, "-P", "-m", "hornbeam.search.child", str(os.getpid()), "train"]
    if resumes:
        return [*words, "--run", str(paths.run), "--resume"]
    return [*words, "--config", str(paths.options), "--run", str(paths.run)]


def _environment(threads: int) -> dict[str, str]:
    # Processes of srun or mpirun may share a study; their trials must not wait for each other.
    environment = alone(os.environ)
    environment.setdefault("PYTHONUNBUFFERED", "1")
    if threads:
        environment.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    return environment


def _last_words(paths: Paths) -> str:
    """Return the line with which a training said why it failed."""
    lines = paths.output.read_text(encoding="utf-8", errors="replace").splitlines()
    ours = [line.removeprefix("hornbeam: ") for line in lines if line.startswith("hornbeam: ")]
    return (ours or [line for line in lines if line.strip()] or ["it printed nothing"])[-1].strip()
