"""Ask all artifacts by turns, and keep how long they took."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.deployment.benchmarking.processes import Process
from hornbeam.deployment.benchmarking.spread import Timed
from hornbeam.errors import BundleError

ROUNDS = 12
"""Turns of each artifact: the third smallest and third largest of 12 medians hold 96 %."""

_MODEL, _FILES = "model", "files"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An artifact that is to be measured.

    Attributes:
        bundle: folder or `.zip`.
        name: what it is called in tables.
        format: of it.
        bytes: of its files.
    """

    bundle: Path
    name: str
    format: str
    bytes: int


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        candidate: what was measured.
        error: why it cannot run here, one sentence; then the rest is empty.
        started: milliseconds of `import` (Hornbeam), `load` (the runtime and the file) and `first` (the
            first answer).
        model: by batch size, how long prepared pictures take.
        files: the same of pictures as bytes of files; empty where there are no pictures.
        peak: the most memory of its process, in megabytes.
        answers: by picture and task, the first answer; `None` where no pictures were given.
        versions: of the libraries in its process.
    """

    candidate: Candidate
    error: str | None = None
    started: Mapping[str, float] = dataclasses.field(default_factory=dict)
    model: Mapping[int, Timed] = dataclasses.field(default_factory=dict)
    files: Mapping[int, Timed] = dataclasses.field(default_factory=dict)
    peak: float = 0.0
    answers: Sequence[Mapping[str, int] | None] | None = None
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def one(self) -> Timed:
        """How long one prepared picture takes."""
        return self.model[1]


def measure(
    candidates: Sequence[Candidate], *, threads: int, trust: bool, batch_sizes: Sequence[int],
    seconds: float, pictures: Mapping[Path, Sequence[str]], labelled: Sequence[str],
    told: Callable[[int, str], None],
) -> list[Measured]:  # fmt: skip
    """Measure artifacts side by side.

    Args:
        candidates: all of them.
        threads: for decoding and runtime.
        trust: see `Predictor`.
        batch_sizes: pictures per call; 1 is always among them.
        seconds: of calls, for each artifact; one round of each kind is made in any case.
        pictures: by bundle, paths of pictures that are asked about as files.
        labelled: paths of all pictures whose answers are wanted.
        told: is told of progress, by steps of 1.
    """
    failed: dict[int, str] = {}
    opened: dict[int, Process] = {}
    started: dict[int, dict[str, Any]] = {}
    answers: dict[int, Any] = {}
    rounds: dict[tuple[int, str, int], list[tuple[float, ...]]] = {}
    kinds = [(_MODEL, 1), *((_MODEL, size) for size in batch_sizes if size > 1)]
    kinds += [(_FILES, 1), *((_FILES, max(batch_sizes)) for _ in [0] if max(batch_sizes) > 1)]
    peaks: dict[int, float] = {}

    def attempt(index: int, do: str, **arguments: Any) -> dict[str, Any] | None:
        try:
            return opened[index].ask(do, **arguments)
        except BundleError as error:
            failed[index] = str(error)
            return None

    with contextlib.ExitStack() as stack:
        for index, each in enumerate(candidates):
            same = {"bundle": str(each.bundle), "format": each.format, "threads": threads,
                    "trust": trust}  # fmt: skip
            with Process(threads) as checking:  # its memory is not this artifact's
                try:
                    checking.ask("check", **same)
                except BundleError as error:
                    failed[index] = str(error)
            if index not in failed:
                opened[index] = stack.enter_context(Process(threads))
                said = attempt(index, "open", **same, pictures=list(pictures.get(each.bundle, ())))
                started[index] = said or {}
            told(1, f"{each.name} {each.format}")
        order = random.Random(0)
        slice_of = seconds / ROUNDS / len(kinds)
        for number in range(ROUNDS):
            for kind, size in kinds:
                turns = [index for index in opened if index not in failed]
                order.shuffle(turns)
                for index in turns:
                    said = attempt(index, kind, batch=size, seconds=slice_of)
                    if said and said["taken"]:
                        key = (index, kind, size)
                        rounds.setdefault(key, []).append(tuple(said["taken"]))
                    time.sleep(0.002)  # until its threads have stopped to wait by spinning
            told(1, f"round {number + 1} of {ROUNDS}")
        for index in [index for index in opened if index not in failed]:
            peaks[index] = float((attempt(index, "memory") or {"peak": 0})["peak"])
            if labelled and index not in failed:
                answers[index] = attempt(index, "answers", pictures=list(labelled))
            told(1, "")
    return [
        Measured(candidate, failed[index]) if index in failed else
        Measured(
            candidate, None, {k: started[index][k] for k in ("import", "load", "first")},
            {size: Timed(tuple(rounds[index, kind, size])) for kind, size in kinds if kind == _MODEL},
            {
                size: Timed(tuple(rounds[index, kind, size])) for kind, size in kinds
                if kind == _FILES and (index, kind, size) in rounds
            },
            peaks[index], answers[index]["found"] if index in answers else None,
            started[index]["versions"],
        )
        for index, candidate in enumerate(candidates)
    ]  # fmt: skip


def steps(candidates: int) -> int:
    """Return how many steps `measure` tells of."""
    return 2 * candidates + ROUNDS
