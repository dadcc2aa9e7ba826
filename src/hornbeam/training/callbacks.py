"""What is noted and shown while a model trains; one callback per idea.

An "epoch" of Keras is one validation interval here. `Clock` comes first: it counts, and mends the
validation loss that all others then read.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from hornbeam import console
from hornbeam.storage import write_text
from hornbeam.training.objective import EXACT_LOSS

Logs = dict[str, float]

_HIDDEN = ("cross_entropy", EXACT_LOSS)
"""Ends of the names of metrics that a line has no room for."""


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Count steps and seconds, stop at the last step, and mend the validation loss.

    Keras weighs the loss of every batch alike, padding included. `val_loss` becomes the mean over the
    validation pictures, each of which counts once, of what is trained on: with its label smoothing,
    class weights and so on, summed over the tasks with their weights. So it compares with the loss of
    training, and two trainings with different losses compare by their cross-entropies instead. What
    layers add to the loss by themselves, such as L2, is left out.

    Args:
        total_steps: of the whole training.
        batch_size: pictures per step.
    """

    def __init__(self, total_steps: int, batch_size: int) -> None:
        super().__init__()
        self.total_steps = total_steps
        self.batch_size = batch_size
        self.step = 0
        self.training_seconds = 0.0
        self.pictures_per_second = 0.0
        self._started = 0.0
        self._first_step = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the watch."""
        self._started, self._first_step = time.perf_counter(), self.step

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Count one step."""
        self.step += 1
        self._read_watch()
        if self.step >= self.total_steps:
            self.model.stop_training = True

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Stop the watch: validation is not training."""
        self.training_seconds += time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Replace `val_loss` and add learning rate and speed to the logs."""
        if logs is None:
            return
        exact = {k: float(logs.pop(k)) for k in list(logs) if k.endswith(EXACT_LOSS)}
        exact = {k: v for k, v in exact.items() if k.startswith("val_")}
        for name, value in exact.items():
            of_task = name.replace(EXACT_LOSS, "loss")  # there, with several tasks
            if of_task in logs:
                logs[of_task] = value
        logs["val_loss"] = sum(exact.values())
        logs["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )
        logs["pictures_per_second"] = round(self.pictures_per_second, 1)

    def _read_watch(self) -> None:
        elapsed = time.perf_counter() - self._started
        self.pictures_per_second = (self.step - self._first_step) * self.batch_size / elapsed


class Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Show a live line on a terminal, and one plain line per validation anywhere.

    Args:
        clock: knows step and speed.
        epochs: number of validation intervals.
        advance: moves the live line.
    """

    def __init__(self, clock: Clock, epochs: int, advance: console.Advance) -> None:
        super().__init__()
        self._clock = clock
        self._epochs = epochs
        self._advance = advance
        self._shown = 0.0
        self._started = 0.0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note the start."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the live line; write its text anew a few times a second."""
        now = time.perf_counter()
        if now - self._shown < 0.25:
            self._advance(1)
            return
        self._shown = now
        parts = [f"{k} {float(v):.3f}" for k, v in (logs or {}).items() if not k.endswith(_HIDDEN)]
        self._advance(1, "  ".join([*parts, f"{self._clock.pictures_per_second:.0f} pictures/s"]))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Print the interval's line."""
        hidden = ("cross_entropy", "learning_rate", "pictures_per_second")
        values = [
            f"{name} {float(value):.4f}"
            for name, value in (logs or {}).items()
            if not name.endswith(hidden)
        ]
        if epoch < 0:  # a head that was trained before
            console.say("  ".join(["head", *values]))
            return
        elapsed = time.perf_counter() - self._started
        left = elapsed / self._clock.step * (self._clock.total_steps - self._clock.step)
        console.say(
            "  ".join([
                f"epoch {epoch + 1}/{self._epochs}", *values,
                f"{self._clock.pictures_per_second:.0f} pictures/s", f"{_duration(left)} left",
            ])
        )  # fmt: skip


class MetricsFile(keras.callbacks.Callback):  # type: ignore[misc]
    """Write `metrics.csv`, one line per validation, each time whole.

    Args:
        path: of the file.
        clock: knows step and seconds.
        log: is told the same.
    """

    def __init__(self, path: Path, clock: Clock, log: Callable[..., None]) -> None:
        super().__init__()
        self._path = path
        self._clock = clock
        self._log = log
        self._rows: list[dict[str, Any]] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add a line."""
        row = {
            "epoch": epoch + 1,
            "step": self._clock.step,
            "pictures": self._clock.step * self._clock.batch_size,
            "seconds": round(self._clock.training_seconds, 2),
            **{name: round(float(value), 6) for name, value in (logs or {}).items()},
        }
        self._rows.append(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self._rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._path, text.getvalue())
        self._log("validation", **row)


def validation_score(logs: Logs) -> tuple[float, float]:
    """Return what makes one validation better than another: accuracy, then a lower loss.

    Over several tasks the accuracies are averaged.
    """
    accuracies = [v for k, v in logs.items() if k.startswith("val_") and k.endswith("accuracy")]
    return sum(accuracies) / max(1, len(accuracies)), -logs["val_loss"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
