"""What is noted and shown while a model trains; one callback per idea.

An "epoch" of Keras is one validation interval here. `Clock` comes first: it counts, and mends the
validation loss that all others then read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from hornbeam import console
from hornbeam.measures import is_accuracy
from hornbeam.storage import read_rows, write_rows
from hornbeam.training.objective import EXACT_LOSS
from hornbeam.training.optimizers import scale_rate

Logs = dict[str, float]

_HIDDEN = ("cross_entropy", EXACT_LOSS)
"""Ends of the names of metrics that a line has no room for."""


class Callbacks(keras.callbacks.CallbackList):  # type: ignore[misc]
    """Keras' list of callbacks, but for one thing: in a batch logs may be arrays on the device.

    Keras makes numbers of them for every batch, for which JAX must wait for the accelerator each time.
    """

    def _on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)

    def end_interval(self, epoch: int, logs: Logs) -> None:
        """Tell of an interval that ended outside of `fit`."""
        for callback in self.callbacks:
            if not isinstance(callback, keras.callbacks.History):  # which wants a beginning
                callback.on_epoch_end(epoch, logs)


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Count steps and seconds, and mend the validation loss.

    Keras weighs the loss of every batch alike, padding included. `val_loss` becomes the mean over the
    validation pictures, each of which counts once, of what is trained on: with its label smoothing,
    class weights and so on, summed over the tasks with their weights. So it compares with the loss of
    training, and two trainings with different losses compare by their cross-entropies instead. What
    layers add to the loss by themselves, such as L2, is left out.

    Args:
        total_steps: of the whole training; `None` where something else ends it.
        batch_size: pictures per step.
        seconds: that the whole training may take, validation included.
        agree: makes one time of those of several processes, where what they do depends on it; called
            once a step.
    """

    def __init__(
        self, total_steps: int | None, batch_size: int, seconds: float | None = None,
        agree: Callable[[float], float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.total_steps = total_steps
        self.total_seconds = seconds
        self.batch_size = batch_size
        self.step = 0
        self.training_seconds = 0.0
        self.pictures_per_second = 0.0
        self.stopped = ""
        self._spent = 0.0
        self._begun = time.perf_counter()
        self._started = 0.0
        self._first_step = 0
        self._factors: dict[str, float] = {}
        self._agree = agree
        self._agreed = 0.0

    @property
    def seconds(self) -> float:
        """Seconds that the training has taken so far, with validation, over all its sessions.

        Where several processes have to agree, as of the last step.
        """
        return self._agreed if self._agree else self._local_seconds()

    def _local_seconds(self) -> float:
        return self._spent + time.perf_counter() - self._begun

    def _look_together(self) -> None:
        if self._agree:
            self._agreed = self._agree(self._local_seconds())

    @property
    def share(self) -> float:
        """How much of the training is over, from 0 to 1."""
        if self.total_seconds is not None:
            return min(1.0, self.seconds / self.total_seconds)
        if self.total_steps is None:
            return 0.0
        return min(1.0, self.step / self.total_steps) if self.total_steps else 1.0

    @property
    def over(self) -> bool:
        """Whether the training is to end: it has had its budget, or somebody stopped it."""
        return bool(self.stopped) or self.share >= 1

    def stop(self, reason: str) -> None:
        """End the training at the next validation, before its budget is used up."""
        self.stopped = self.stopped or reason

    def set_factor(self, name: str, factor: float) -> None:
        """Let the learning rate be multiplied by a factor, beside those of other names."""
        self._factors[name] = factor
        scale_rate(self.model.optimizer, math.prod(self._factors.values()))

    def factor(self, name: str) -> float:
        """Return a factor on the learning rate."""
        return self._factors.get(name, 1.0)

    def get_state(self) -> dict[str, Any]:
        """Return what a later session goes on from."""
        return {
            "step": self.step, "seconds": self.seconds, "training_seconds": self._training_seconds(),
            "factors": self._factors,
        }  # fmt: skip

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from an earlier session."""
        self.step, self.training_seconds = state["step"], state["training_seconds"]
        self.count_as_spent(state["seconds"])
        self._factors = dict(state["factors"])
        self._started = 0.0

    def count_as_spent(self, seconds: float) -> None:
        """Let so many seconds be used up, whatever a checkpoint says: going back gives none back."""
        self._spent = self._agreed = seconds
        self._begun = time.perf_counter()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Start the watch."""
        self._started, self._first_step = time.perf_counter(), self.step

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Count one step."""
        self.step += 1
        self._read_watch()
        self._look_together()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Stop the watch: validation is not training."""
        self.training_seconds, self._started = self._training_seconds(), 0.0

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Replace `val_loss` and add learning rate and speed to the logs."""
        self.training_seconds, self._started = self._training_seconds(), 0.0
        self._look_together()
        self.model.stop_training = False  # which only ended the interval
        if logs is None:
            return
        exact = {k: float(logs.pop(k)) for k in list(logs) if k.endswith(EXACT_LOSS)}
        exact = {k: v for k, v in exact.items() if k.startswith("val_")}
        for name, value in exact.items():
            of_task = name.replace(EXACT_LOSS, "loss")  # there, with several tasks
            if of_task in logs:
                logs[of_task] = value
        if exact:
            logs["val_loss"] = sum(exact.values())
        logs["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )
        logs["pictures_per_second"] = round(self.pictures_per_second, 1)

    def _training_seconds(self) -> float:
        running = time.perf_counter() - self._started if self._started else 0.0
        return self.training_seconds + running

    def _read_watch(self) -> None:
        elapsed = time.perf_counter() - self._started
        self.pictures_per_second = (self.step - self._first_step) * self.batch_size / elapsed


class Progress(keras.callbacks.Callback):  # type: ignore[misc]
    """Show a live line on a terminal, and one plain line per validation anywhere.

    Args:
        clock: knows step and speed.
        epochs: number of validations, where they are one an epoch; `None` where they are not.
        advance: moves the live line.
    """

    def __init__(self, clock: Clock, epochs: int | None, advance: console.Advance) -> None:
        super().__init__()
        self._clock = clock
        self._epochs = epochs
        self._advance = advance
        self._shown = 0.0
        self._started = 0.0
        self._share = 0.0
        self._at = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Note the start, which is earlier than the line is where the training has gone back."""
        self._started, self._share = time.perf_counter(), self._clock.share
        self._move()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Move the live line; write its text anew a few times a second."""
        now = time.perf_counter()
        if now - self._shown < 0.25:
            self._move()
            return
        self._shown = now
        if not console.is_terminal():
            return  # nobody would see it, and the values must be waited for
        parts = [f"{k} {float(v):.3f}" for k, v in (logs or {}).items() if not k.endswith(_HIDDEN)]
        self._move("  ".join([*parts, f"{self._clock.pictures_per_second:.0f} pictures/s"]))

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
        where = f"epoch {epoch + 1}/{self._epochs}" if self._epochs else self._where()
        line = [where, *values, f"{self._clock.pictures_per_second:.0f} pictures/s"]
        done = self._clock.share - self._share
        if done > 0 and self._started:
            elapsed = time.perf_counter() - self._started
            line.append(f"{_duration(elapsed / done * (1 - self._clock.share))} left")
        console.say("  ".join(line))

    def _move(self, text: str = "") -> None:
        self._advance(self._clock.step - self._at, text)
        self._at = self._clock.step

    def _where(self) -> str:
        total = self._clock.total_steps
        return f"step {self._clock.step}" + (f"/{total}" if total else "")


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

    def get_state(self) -> dict[str, Any]:
        """Return how many lines there are."""
        return {"rows": len(self._rows)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after that many lines of the file; later ones are of steps that will come again."""
        rows: list[dict[str, Any]] = []
        if state["rows"]:
            rows = list(read_rows(self._path))
        self._rows = rows[: state["rows"]]
        if len(self._rows) < len(rows):
            self._write()

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
        self._write()
        self._log("validation", **row)

    def _write(self) -> None:
        names = dict.fromkeys(name for row in self._rows for name in row)
        write_rows(self._path, self._rows, names)


def validation_score(logs: Logs) -> tuple[float, float]:
    """Return what makes one validation better than another: accuracy, then a lower loss.

    Over several tasks the accuracies are averaged.
    """
    accuracies = [value for name, value in logs.items() if is_accuracy(name)]
    return sum(accuracies) / max(1, len(accuracies)), -logs["val_loss"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
