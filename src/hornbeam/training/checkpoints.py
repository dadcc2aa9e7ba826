"""Weights on disk while the training goes on: the best so far, and the last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import keras

from hornbeam.storage import new_directory, point_link, write_json
from hornbeam.training.averages import averaged, has_averages
from hornbeam.training.callbacks import Clock, validation_score


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Save the weights after each validation, in a directory that appears whole.

        checkpoints/step-00000120/model.weights.h5   loads with `model.load_weights`; with `--ema`
                                                     the averages
                                  raw.weights.h5     with `--ema`: those that training goes on from
                                  state.json         step and metrics
        checkpoints/best → step-…                    most accurate on the validation pictures
        checkpoints/last → step-…

    Args:
        directory: of the checkpoints.
        clock: knows the step.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        super().__init__()
        self._directory = directory
        self._clock = clock
        self._best: tuple[float, float] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save, move the links, and remove what neither of them names."""
        logs = logs or {}
        name = f"step-{self._clock.step:08}"
        with new_directory(self._directory / name) as temporary:
            with averaged(self.model):
                self.model.save_weights(temporary / "model.weights.h5")
            if has_averages(self.model):
                self.model.save_weights(temporary / "raw.weights.h5")
            state = {"step": self._clock.step, "epoch": epoch + 1, "metrics": logs}
            write_json(temporary / "state.json", state)
        score = validation_score(logs)
        if self._best is None or score > self._best:
            self._best = score
            point_link(self._directory / "best", name)
        point_link(self._directory / "last", name)
        kept = {(self._directory / link).resolve() for link in ("best", "last")}
        for other in self._directory.glob("step-*"):
            if other.resolve() not in kept:
                shutil.rmtree(other)


def load_checkpoint(model: keras.Model, directory: Path, which: str = "best") -> dict[str, object]:
    """Put the weights of the `best` or `last` checkpoint into a model; return its state."""
    checkpoint = directory / which
    model.load_weights(checkpoint / "model.weights.h5")
    return dict(json.loads((checkpoint / "state.json").read_text()))
