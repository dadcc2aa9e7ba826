"""A training for TensorBoard, on any backend: curves, pictures, histograms, graph, options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hornbeam.events import EventFile, event_files
from hornbeam.training.averages import averaged
from hornbeam.training.callbacks import Clock, Logs
from hornbeam.training.following.layer_graph import layer_graph
from hornbeam.training.following.sample_pictures import SamplePictures

_MARK = "train"
"""Ends the names of this callback's files, so that it touches no others."""


class TensorBoard(keras.callbacks.Callback):  # type: ignore[misc]
    """Write what TensorBoard shows; all of it at validations, nothing in a step.

    Curves are `loss/train`, `loss/validation` and so on for each metric, `learning_rate` and
    `pictures_per_second`; the x axis is the step. After a crash and a resume the files hold what those
    of an uninterrupted training hold: a checkpoint notes how long they were.

    Args:
        directory: of the event files.
        clock: knows the step.
        hyperparameters: options of the training, shown beside its scores in the tab HPARAMS.
        pictures: validation pictures that are shown with the model's answers; `None` for none.
        histograms: whether to show the distribution of each weight.
    """

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        hyperparameters: Mapping[str, float | str] | None = None,
        pictures: SamplePictures | None = None,
        histograms: bool = False,
    ) -> None:
        super().__init__()
        self._directory = directory
        self._clock = clock
        self._hyperparameters = dict(hyperparameters or {})
        self._pictures = pictures
        self._histograms = histograms
        self._events: EventFile | None = None
        self._kept: dict[str, Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write one point of every curve, and the rest; at once readable."""
        events, step = self._open(), self._clock.step
        for name, value in (logs or {}).items():
            events.scalar(tag_of(name), value, step)
        with averaged(self.model):
            for task, (jpeg, size) in self._draw().items():
                events.picture(f"validation/{task}", jpeg, size, step)
            for weight in self.model.weights if self._histograms else ():
                values = np.asarray(keras.ops.convert_to_numpy(weight), np.float64)
                values = values[np.isfinite(values)]
                if values.size:
                    events.histogram(f"weights/{weight.path}", values, step)
        events.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Say that the training ended, and close the file."""
        events = self._open()
        if self._hyperparameters:
            _end_session(events)
        self._kept = self.get_state()  # if the training goes on, so do the files
        events.close()
        self._events = None

    def get_state(self) -> dict[str, Any]:
        """Return the length of each file, in bytes, and the last step in them."""
        if self._events is not None:
            self._events.flush()
        files = event_files(self._directory, _MARK)
        return {"step": self._clock.step, "files": {f.name: f.stat().st_size for f in files}}

    def set_state(self, state: dict[str, Any]) -> None:
        """Cut the files to what they were then, and remove those that were begun later."""
        if self._events is not None:
            self._events.close()
            self._events = None
        self._kept = state

    def _open(self) -> EventFile:
        """Return the file that is written; begin one at the first call."""
        if self._events is not None:
            return self._events
        kept: dict[str, int] = self._kept["files"] if self._kept else {}
        for path in event_files(self._directory, _MARK):
            if path.name not in kept:
                path.unlink()
            elif path.stat().st_size > kept[path.name]:
                os.truncate(path, kept[path.name])
        # A TensorBoard that reads along forgets what it read of the steps that are repeated.
        purge_from = self._kept["step"] + 1 if self._kept else None
        self._events = EventFile(self._directory, _MARK, purge_from)
        if not kept:
            self._events.graph(layer_graph(self.model))
            if self._hyperparameters:
                _start_session(self._events, self._hyperparameters)
        return self._events

    def _draw(self) -> dict[str, tuple[bytes, tuple[int, int]]]:
        return self._pictures.draw(self.model) if self._pictures else {}


def tag_of(name: str) -> str:
    """Return the curve of a metric: `val_loss` → `loss/validation`, `loss` → `loss/train`."""
    if name in ("learning_rate", "pictures_per_second"):
        return name
    if name.startswith("val_"):
        return f"{name.removeprefix('val_')}/validation"
    return f"{name}/train"


def _start_session(events: EventFile, hyperparameters: Mapping[str, float | str]) -> None:
    """Write what the HParams plugin wants at the beginning of a training.

    No list of columns is written: the plugin makes one of all runs that it finds, and an older run with
    fewer options would decide for the others.
    """
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo()
    for name, value in hyperparameters.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        else:
            info.hparams[name].number_value = value
    content = HParamsPluginData(session_start_info=info, version=0)
    events.plugin("_hparams_/session_start_info", "hparams", content.SerializeToString())


def _end_session(events: EventFile) -> None:
    """Write what the HParams plugin wants at the end."""
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo

    info = SessionEndInfo(status=Status.Value("STATUS_SUCCESS"))
    content = HParamsPluginData(session_end_info=info, version=0)
    events.plugin("_hparams_/session_end_info", "hparams", content.SerializeToString())
