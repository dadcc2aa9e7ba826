"""Checkpoints: all that a training goes on from, and all that its model needs elsewhere.

checkpoints/step-00000120/   appears whole
    model.weights.h5         of the classifier, as it was judged: with `--ema` the averages
    model.json               the classifier's layers, in float32; with these two plain Keras has it
    training.safetensors     every variable of model, optimiser and metrics, as training left them
    state.json               step, metrics, counters of the callbacks
    config.yaml  dataset.json  recipe.py   of the run
checkpoints/best → step-…    by `--monitor`
checkpoints/last → step-…
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
from numpy.typing import NDArray

from hornbeam.errors import RunError
from hornbeam.storage import flush_directory, new_directory, point_link, write_json
from hornbeam.training.averages import Judged
from hornbeam.training.callbacks import Clock, Logs
from hornbeam.training.faults import require_numbers
from hornbeam.training.patience import Monitor
from hornbeam.training.rhythm import Every, sync
from hornbeam.training.saved import (
    STATE,
    VARIABLES,
    WEIGHTS,
    is_within_interval,
    load,
    named,
    newest,
    put_back,
    snapshot,
    steps_of,
    twin,
)
from hornbeam.training.signals import Requests
from hornbeam.training.weights_file import Values, WeightsFile
from hornbeam.world.world import World

_AROUND_REASON = re.compile(r"^Error while serializing: I/O error: | \(os error \d+\)$")
"""What safetensors puts around what was wrong."""


def silent(event: str, **facts: Any) -> None:
    """Tell nobody."""


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Save after each validation, and whenever it is due or asked for.

    The last of all callbacks, as it keeps what they count. All values are copied at once; a thread
    writes them, sees to it that they are on the disk, renames, and removes older checkpoints. The next
    one, and the end, wait for that thread.

    Args:
        directory: of the checkpoints.
        clock: knows the step.
        classifier: whose weights are kept; the model that is trained, or a part of it.
        monitor: what the best is; `None` where nothing is validated: the last is.
        keep: newest checkpoints that are kept beside the best.
        every: when to save within an interval; `None` = not.
        requests: what signals ask for.
        judged: those that change the model for validation.
        stateful: callbacks with `get_state` and `set_state`.
        files: names and contents of what is put beside.
        log: is told of each.
        world: the processes that train; the first one writes, and reads for all.
    """

    def __init__(
        self, directory: Path, clock: Clock, classifier: keras.Model, *,
        monitor: Monitor | None = None, keep: int = 1, every: Every | None = None,
        requests: Requests | None = None, judged: Sequence[Judged] = (),
        stateful: Sequence[Any] = (), files: dict[str, bytes] | None = None,
        log: Callable[..., None] = silent, world: World | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._world = world or World()
        self.directory = directory
        self._clock = clock
        self._classifier = twin(classifier)
        self._weights = WeightsFile(self._classifier)
        self._monitor = monitor
        self._keep = keep
        self._every = every
        self._requests = requests or Requests()
        self._judged = judged
        self._stateful = {type(callback).__name__: callback for callback in stateful}
        self._files = files or {}
        self._log = log
        self._architecture = json.dumps(_in_float32(json.loads(self._classifier.to_json())))
        self._best: dict[str, Any] | None = None
        self._saved_at = 0.0
        self._epoch = 0
        self._metrics: list[NDArray[Any]] | None = None
        self._interval_logs: Logs = {}
        self._validating = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    @property
    def writes(self) -> bool:
        """Whether this process has the directory."""
        return self._world.first

    def newest(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """Return state and variables of the newest checkpoint that can be read; `None` of none."""
        found = newest(self.directory) if self.writes else None
        return self._shared(found[1:] if found else None)

    def _shared(
        self, found: tuple[dict[str, Any], dict[str, NDArray[Any]]] | None
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """Return what the first process has read, in all of them."""
        if self._world.size == 1:
            return found
        from safetensors.numpy import load, save

        state = self._world.share(found[0] if found else None)
        if state is None:
            return None
        content = self._world.share_bytes(save(found[1]) if found else None)
        return state, found[1] if found else load(content)

    def restore(self, state: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Put everything back as `load` found it; metrics, when the next interval begins."""
        put_back(self.model, arrays)
        if is_within_interval(state):
            self._metrics = [arrays[name] for name in named(arrays, "metric")]
        self._best, self._epoch = state["best"], state["epoch"]
        # Its validation, which comes first now, may be stopped again.
        self._interval_logs, self._validating = dict(state["waiting"] or {}), False
        for name, callback in self._stateful.items():
            if name in state["callbacks"]:
                callback.set_state(state["callbacks"][name])
        self._saved_at = self._clock.seconds

    def go_back(self) -> None:
        """Put model and optimiser of the best checkpoint back; counters stay."""
        self.wait()
        found = self._shared(load(self.directory / "best") if self.writes else None)
        assert found is not None  # a validation has saved one
        arrays = found[1]
        with contextlib.ExitStack() as stack:
            for judged in self._judged:
                stack.enter_context(judged.as_if(False))
            put_back(self.model, arrays)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Let the metrics of an interval that was cut go on from where they were."""
        self._epoch = epoch
        if self._metrics is not None:
            for variable, value in zip(self.model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        self._metrics = None

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save, where it is due or asked for."""
        self._raise()
        self._requests.look()
        ends = self._model.stop_training  # `self.model` would copy JAX' state to the variables
        if ends:
            self._interval_logs = {k: float(v) for k, v in (logs or {}).items()}
        due = self._every and self._every.due(
            self._clock.step, self._clock.seconds - self._saved_at
        )
        if self._requests.stop or ((due or self._requests.save) and not ends):
            sync(self.model)
            self._save(None, waits=ends)
            self._leave()

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Note that the interval has ended, and its validation is to come."""
        self._validating = True

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save in the midst of a validation only where the training must end."""
        self._requests.look()
        if self._requests.stop:
            self._save(None, waits=True)
            self._leave()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save what was validated."""
        self._epoch, self._validating = epoch + 1, False
        self._raise()
        self._requests.look()
        self._save(logs or {})
        self._leave()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Wait for the disk."""
        self.close()

    def rescue(self) -> None:
        """Save and end after an error, if a signal has asked for the end: it may have caused both."""
        if self._requests.stop and self._world.size == 1:  # all others would have to save as well
            self._save(None, waits=self._validating)
            self._leave()

    def begin(self) -> None:
        """Save the very first weights, for who may have to go back to them."""
        self._save(None)

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk."""
        if self._writing is not None:
            self._writing.result()
        self._writing = None

    def close(self) -> None:
        """Wait for the disk, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()

    def _raise(self) -> None:
        """Raise what the thread has met, such as a full disk."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def _leave(self) -> None:
        if self._requests.stop:
            self.wait()
            self._requests.leave(self._clock.step)

    def _save(self, validated: Logs | None, waits: bool = False) -> None:
        """Save.

        Args:
            validated: training and validation metrics of an interval that has ended; `None` within
                one.
            waits: the interval has ended, and its validation is to come.
        """
        step = self._clock.step
        self._requests.save = False
        self.wait()
        path = self.directory / f"step-{step:08}"
        if validated is not None:
            score = self._monitor.score(validated) if self._monitor else (float(step),)
            if self._best is None or score > tuple(self._best["score"]):
                self._best = {"score": score, "name": path.name}
        state = copy.deepcopy({  # it is written while the training goes on
            "step": step, "epoch": self._epoch, "validated": validated is not None,
            "metrics": validated, "waiting": self._interval_logs if waits else None,
            "best": self._best,
            "callbacks": {n: callback.get_state() for n, callback in self._stateful.items()},
        })  # fmt: skip
        with contextlib.ExitStack() as stack:
            for judged in self._judged:
                stack.enter_context(judged.as_if(False))
            arrays = snapshot(self.model)
        if step and validated is None:
            require_numbers(
                (arrays[name] for name in named(arrays, "model")), self.model.optimizer, step - 1
            )
        with contextlib.ExitStack() as stack:
            for judged in self._judged:
                stack.enter_context(judged.as_if(True))
            weights = self._weights.values()
        self._saved_at = self._clock.seconds
        if not self.writes:
            return
        self._writing = self._thread.submit(self._write, path, weights, arrays, state)

    def _write(
        self, path: Path, weights: Values, arrays: dict[str, NDArray[Any]],
        state: dict[str, Any],
    ) -> None:  # fmt: skip
        """Write all files, see to it that they are on the disk, rename, and remove older ones."""
        from safetensors.numpy import save_file

        with _one_sentence(path), new_directory(path, replace=True) as temporary:
            self._weights.write(temporary / WEIGHTS, weights)
            save_file(arrays, temporary / VARIABLES)
            (temporary / "model.json").write_text(self._architecture, encoding="utf-8")
            for name, content in self._files.items():
                (temporary / name).write_bytes(content)
            write_json(temporary / STATE, state, infinite=True)  # metrics of any kind
            flush_directory(temporary)
        if state["best"]:
            point_link(self.directory / "best", state["best"]["name"])
        point_link(self.directory / "last", path.name)
        newest = [other.name for other in steps_of(self.directory)][: self._keep]
        kept = {*newest, path.name, (state["best"] or {}).get("name")}
        for other in steps_of(self.directory):
            if other.name not in kept:
                shutil.rmtree(other, ignore_errors=True)
        self._log("checkpoint", step=state["step"], validated=state["validated"])


def _in_float32(config: Any) -> Any:
    if isinstance(config, list):
        return [_in_float32(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("class_name") == "DTypePolicy" and "mixed" in str(config["config"].get("name")):
        return config | {"config": {**config["config"], "name": "float32"}}
    return {name: _in_float32(part) for name, part in config.items()}


def resume_command(run: Path) -> str:
    """Return the command that goes on with a run, as one can paste it."""
    return shlex.join(["hornbeam", "train", "--run", str(run), "--resume"])


@contextlib.contextmanager
def _one_sentence(checkpoint: Path) -> Iterator[None]:
    """Tell of a full disk and its like in one sentence.

    Raises:
        RunError: in place of errors of the disk.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or _AROUND_REASON.sub("", str(error))
        raise RunError(
            f"The checkpoint {checkpoint} cannot be written ({' '.join(reason.split())}). What was "
            f"saved before is whole; to go on: {resume_command(checkpoint.parent.parent)}"
        ) from None
