"""Follow the checkpoints of a training from outside: another process, possibly another machine.

Only files are looked at, and only by asking again and again, so a folder that is shared by network or
copied by a synchroniser will do. Nothing of the training is written to. What was evaluated is in a CSV
file of its own, so that a watch that is started again goes on where it was.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hornbeam import console
from hornbeam.errors import DataError, HornbeamError, RunError
from hornbeam.evaluation.scoring.scores import Scores
from hornbeam.evaluation.scoring.shares import with_interval
from hornbeam.events import EventFile
from hornbeam.storage import read_json_lines, read_rows, write_rows

Judge = Callable[[Path], list[Scores]]
"""Evaluates the model of one checkpoint."""

_STEP = re.compile(r"step-(\d+)")

_ATTEMPTS = 2
"""Times that a checkpoint is opened without any change of its files before it is called damaged."""


def checkpoints_of(directory: Path) -> dict[int, Path]:
    """Return the checkpoints in a directory by step, the first first; not those in the making."""
    if not directory.is_dir():
        return {}
    found = {_STEP.fullmatch(path.name): path for path in directory.iterdir()}
    return dict(sorted((int(match[1]), path) for match, path in found.items() if match))


def ending(log: Path) -> tuple[str, str]:
    """Return how the training stands by its `log.jsonl`: `end`, `stopped` or `` of neither, and why."""
    event, reason = "", ""
    for entry in read_json_lines(log):
        if entry.get("event") in ("start", "resume"):
            event, reason = "", ""
        elif entry.get("event") in ("end", "stopped"):
            event, reason = entry["event"], str(entry.get("reason", ""))
    return event, reason


class Curve:
    """The scores of the checkpoints that were evaluated: a CSV file, and the same for TensorBoard.

    The CSV file is what counts: the curve for TensorBoard is made from it when a watch begins.

    Args:
        run: directory of the run; gets `watch-NAME.csv` and `tensorboard/watch-NAME/`.
        name: what is evaluated: the split, or the name of other pictures.
    """

    def __init__(self, run: Path, name: str) -> None:
        self.path = run / f"watch-{name}.csv"
        self._directory = run / "tensorboard" / f"watch-{name}"
        self._name = name
        self._events: EventFile | None = None
        self._rows: list[dict[str, Any]] = []
        if self.path.is_file():
            try:
                self._rows = [_numbers(row) for row in read_rows(self.path)]
            except (AttributeError, DataError, KeyError, TypeError, ValueError):
                raise RunError(
                    f"{self.path} is damaged; mend it, or remove it: all is then evaluated again."
                ) from None
        shutil.rmtree(self._directory, ignore_errors=True)
        for row in self._rows:
            self._draw(row)

    @property
    def steps(self) -> set[int]:
        """Steps that were evaluated."""
        return {row["step"] for row in self._rows}

    def require(self) -> None:
        """Check that the run is still the same.

        Raises:
            RunError: what was written is gone, and so is the run.
        """
        if self._rows and not self.path.is_file():
            raise RunError(
                f"{self.path} is gone, as if the run was begun anew; watch it anew, too."
            )

    def add(self, step: int, all_scores: Sequence[Scores]) -> None:
        """Add the scores of a checkpoint, at once readable."""
        row: dict[str, Any] = {"step": step, "time": round(time.time(), 3)}
        for scores in all_scores:
            of_task = f"{scores.task.name}_" if len(all_scores) > 1 else ""
            loss, (low, high) = scores.cross_entropy, scores.accuracy.interval
            values = {
                "pictures": scores.accuracy.trials, "accuracy": scores.accuracy.value,
                "accuracy_low": low, "accuracy_high": high, "cross_entropy": loss.value,
                "cross_entropy_low": loss.interval[0], "cross_entropy_high": loss.interval[1],
            }  # fmt: skip
            row |= {f"{of_task}{name}": round(value, 6) for name, value in values.items()}
        self._rows = sorted([*self._rows, row], key=lambda row: int(row["step"]))
        write_rows(self.path, self._rows, row)
        self._draw(row)

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._events is not None:
            self._events.close()

    def _draw(self, row: dict[str, Any]) -> None:
        """Add a row to the curves, `accuracy/validation` and so on, as the training names its own."""
        if self._events is None:
            self._events = EventFile(self._directory, "watch")
        for name, value in row.items():
            if name.endswith(("accuracy", "cross_entropy")):
                self._events.scalar(f"{name}/{self._name}", value, row["step"], row["time"])
        self._events.flush()


class _Unread:
    """Checkpoints that could not be read: perhaps not yet, as they are being copied."""

    def __init__(self) -> None:
        self._attempts: dict[int, tuple[Any, int]] = {}

    def failed(self, step: int, path: Path, error: Exception) -> None:
        """Note an attempt; tell of it if it was the last."""
        files, (before, count) = _files(path), self._attempts.get(step, (None, 0))
        count = count + 1 if files == before else 1
        self._attempts[step] = (files, count)
        if count == _ATTEMPTS:
            console.warn(f"step {step}: {error}")

    def hopeless(self, step: int, path: Path) -> bool:
        """Whether nothing has changed since the last attempt."""
        files, count = self._attempts.get(step, (None, 0))
        return count >= _ATTEMPTS and files == _files(path)

    def read(self, step: int) -> None:
        """Forget that it could not be read."""
        self._attempts.pop(step, None)

    def left_of(self, there: Sequence[int]) -> list[int]:
        """Return those that are there; tell of the others, and forget them."""
        for step in sorted(set(self._attempts) - set(there)):
            console.warn(f"step {step}: the checkpoint was removed before it was read.")
            del self._attempts[step]
        return sorted(self._attempts)


def watch(
    run: Path, judge: Judge, curve: Curve, *,
    poll: float, timeout: float, once: bool = False, sleep: Callable[[float], None] = time.sleep,
) -> None:  # fmt: skip
    """Evaluate each checkpoint as it appears, until the training has ended and all are evaluated.

    Args:
        run: directory of the run.
        judge: evaluates a checkpoint; may fail at one that is removed or copied at that time.
        curve: gets the scores, and knows which checkpoints have theirs.
        poll: seconds from one look to the next.
        timeout: seconds without anything new after which the training is given up.
        once: evaluate what is there, and end.
        sleep: waits for some seconds.

    Raises:
        RunError: the training gives no sign any more, or checkpoints cannot be read.
    """
    unread = _Unread()
    seen: Any = None
    since, told = 0.0, ""
    while True:
        curve.require()
        event, reason = ending(run / "log.jsonl")  # first: after the end no checkpoint comes
        there = checkpoints_of(run / "checkpoints")
        unread.left_of(list(there))
        waiting = {step: path for step, path in there.items() if step not in curve.steps}
        if _evaluate_one(waiting, judge, curve, unread):
            continue  # at once, as others may be removed soon
        if once or event == "end":
            if all(unread.hopeless(step, path) for step, path in waiting.items()):
                break
        elif event == "stopped" and told != reason:
            console.say(f"The training has stopped and may be resumed: {reason}")
            told = reason
        now = (event, list(there), _size(run / "log.jsonl"))
        since, seen = (since if now == seen else 0.0), now
        if since >= timeout:
            raise RunError(_given_up(run, event, reason, timeout))
        sleep(poll)
        since += poll
    if left := unread.left_of(list(there)):
        steps = ", ".join(map(str, left))
        raise RunError(f"Checkpoints of {run} could not be read: step {steps}.")


def _evaluate_one(waiting: dict[int, Path], judge: Judge, curve: Curve, unread: _Unread) -> bool:
    """Evaluate the first checkpoint that can be read; return whether there was one."""
    for step, path in waiting.items():
        if unread.hopeless(step, path):
            continue
        try:
            scores = judge(path)
        except (HornbeamError, OSError) as error:
            unread.failed(step, path, error)
            continue
        unread.read(step)
        curve.add(step, scores)
        console.say(line_of(step, scores))
        return True
    return False


def wait_for(run: Path, complete: Callable[[], bool], poll: float, timeout: float) -> None:
    """Wait until a run has begun.

    Raises:
        RunError: it has not after `timeout` seconds.
    """
    waited = 0.0
    while not complete():
        if not waited:
            console.say(f"Waiting for {run}, where no training has begun yet.")
        if waited >= timeout:
            raise RunError(f"There was no training in {run} for {timeout:g} s (--timeout).")
        time.sleep(poll)
        waited += poll


def line_of(step: int, all_scores: Sequence[Scores]) -> str:
    """Return what is said of a checkpoint."""
    parts = [f"step {step}"]
    for scores in all_scores:
        of_task = f"{scores.task.name}: " if len(all_scores) > 1 else ""
        parts.append(
            f"{of_task}accuracy {scores.accuracy}, cross-entropy "
            f"{with_interval(scores.cross_entropy)}"
        )
    return "  ".join([*parts, f"{all_scores[0].accuracy.trials} pictures"])


def _given_up(run: Path, event: str, reason: str, timeout: float) -> str:
    if event == "stopped":
        return f"{run} has stopped, and was not resumed for {timeout:g} s (--timeout): {reason}"
    return (
        f"There is nothing new in {run} for {timeout:g} s: the training has died, or saves less often "
        "than --timeout says."
    )


def _files(checkpoint: Path) -> Any:
    """Return names, sizes and times of a checkpoint's files: what changes while it is copied."""
    try:
        found = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in checkpoint.iterdir()]
    except OSError:  # it is being removed
        return None
    return sorted(found)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    """Return a row of the CSV file with its numbers."""
    whole = {
        name: int(row[name])
        for name in ("step", *row)
        if name == "step" or name.endswith("pictures")
    }
    return {name: float(value) for name, value in row.items()} | whole
