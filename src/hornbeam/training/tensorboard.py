"""Curves for TensorBoard, on any backend."""

from __future__ import annotations

from pathlib import Path

import keras

from hornbeam.training.callbacks import Clock, Logs


class TensorBoard(keras.callbacks.Callback):  # type: ignore[misc]
    """Write curves for TensorBoard, on any backend: `loss/train`, `loss/validation`, ….

    Args:
        directory: of the event files.
        clock: knows the step, which is the curves' x axis.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        super().__init__()
        from tensorboardX import SummaryWriter

        self._clock = clock
        self._writer = SummaryWriter(str(directory))

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write one point of every curve, at once readable."""
        for name, value in (logs or {}).items():
            if name in ("learning_rate", "pictures_per_second"):
                tag = name
            elif name.startswith("val_"):
                tag = f"{name.removeprefix('val_')}/validation"
            else:
                tag = f"{name}/train"
            self._writer.add_scalar(tag, float(value), self._clock.step)
        self._writer.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        self._writer.close()
