"""A training in MLflow: options, metrics by step, and at the end what came of it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from hornbeam import console
from hornbeam.errors import ConfigError
from hornbeam.storage import write_json
from hornbeam.training.callbacks import Clock, Logs

_NOTE = "mlflow.json"
"""The file of a run directory that says where MLflow has the run."""

_SILENCE = {
    "GIT_PYTHON_REFRESH": "quiet",  # else a warning where git is not installed
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Settings, unless they are set, that keep MLflow from writing to the terminal."""

_EXPERIMENT = "hornbeam"
"""Name of the experiment, where `MLFLOW_EXPERIMENT_NAME` says no other."""


class MLflow(keras.callbacks.Callback):  # type: ignore[misc]
    """Log options once and metrics at each validation; a resumed training goes on in the same run.

    A server that does not answer any more is told of once, and the training goes on without.

    Args:
        there: what `client` returned.
        where: folder, or address of an MLflow server or database.
        directory: of the run; its name is the name in MLflow.
        clock: knows the step.
        hyperparameters: options of the training.
    """

    def __init__(
        self, there: Any, where: str, directory: Path, clock: Clock,
        hyperparameters: Mapping[str, float | str],
    ) -> None:  # fmt: skip
        super().__init__()
        self._client = there
        self._where = where
        self._directory = directory
        self._clock = clock
        self._hyperparameters = dict(hyperparameters)
        self._run = ""
        self._logged = -1
        self._lost = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Log one point of every metric."""
        if self._lost:
            return
        with self._while_it_answers():
            self._begin()
            if self._clock.step <= self._logged:
                return  # was logged before the crash, and repeats itself
            from mlflow.entities import Metric
            from mlflow.utils.time import get_current_time_millis

            now = get_current_time_millis()
            points = [
                Metric(name, float(value), now, self._clock.step)
                for name, value in (logs or {}).items()
            ]
            self._client.log_batch(self._run, metrics=points)
            self._logged = self._clock.step

    def get_state(self) -> dict[str, Any]:
        """Return which run of MLflow it is, and up to where it is logged."""
        return {"run": self._run, "step": self._logged}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on in that run, if it is still there."""
        self._run = state["run"]
        if self._logged >= 0:
            # Not after a crash, when the same numbers come again, but back from a loss that was none.
            self._logged = state["step"]

    def _begin(self) -> None:
        """Find the run of a resumed training, or make one."""
        if self._logged >= 0:
            return
        if self._run:
            from mlflow.exceptions import MlflowException

            try:
                self._client.update_run(self._run, status="RUNNING")
                metrics = self._client.get_run(self._run).data.metrics
                steps = [
                    p.step for m in metrics for p in self._client.get_metric_history(self._run, m)
                ]
                self._logged = max(steps, default=0)
                return
            except MlflowException:
                console.warn(f"--mlflow {self._where} has the run no more; a new one is begun.")
        from mlflow.entities import Param

        self._run = self._client.create_run(
            _experiment(self._client, self._where), run_name=self._directory.name
        ).info.run_id
        write_json(self._directory / _NOTE, {"where": self._where, "run": self._run})
        params = [Param(name, str(value)) for name, value in self._hyperparameters.items()]
        for start in range(0, len(params), 100):  # MLflow takes no more at a time
            self._client.log_batch(self._run, params=params[start : start + 100])
        self._logged = 0

    @contextlib.contextmanager
    def _while_it_answers(self) -> Iterator[None]:
        try:
            with _quiet():
                yield
        except Exception as error:  # of MLflow, its database or the network: many kinds
            self._lost = True
            console.warn(f"--mlflow {self._where}: {_short(error)}; no more is logged there.")


def log_results(directory: Path) -> None:
    """Log model and report of a finished run to MLflow, where its training logged there.

    Args:
        directory: of the run.
    """
    note = directory / _NOTE
    if not note.is_file():
        return
    found = json.loads(note.read_text())
    try:
        with _quiet():
            there = client(found["where"])
            for name in ("config.yaml", "metrics.csv", "report.html", "model.keras"):
                if (directory / name).is_file():
                    there.log_artifact(found["run"], str(directory / name))
            there.set_terminated(found["run"], "FINISHED")
    except Exception as error:  # the run itself is whole without
        console.warn(f"--mlflow {found['where']}: {_short(error)}; model and report are not there.")


def client(where: str) -> Any:
    """Return MLflow's client.

    A folder gets a database, `mlflow.db`, which `mlflow ui --backend-store-uri sqlite:///…` shows.

    Raises:
        ConfigError: MLflow is not installed, or there is nothing at `where`.
    """
    try:
        with _quiet():
            from mlflow import MlflowClient
    except ImportError:
        raise ConfigError("--mlflow needs MLflow: pip install mlflow.") from None
    uri = where
    if "://" not in where:
        folder = Path(where).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{folder / 'mlflow.db'}"
    try:
        with _quiet():
            made = MlflowClient(uri)
            made.search_experiments(max_results=1)
    except Exception as error:  # of MLflow, its database or the network: many kinds
        raise ConfigError(f"--mlflow {where}: {_short(error)}.") from None
    return made


def _experiment(there: Any, where: str) -> str:
    """Return the id of the experiment, which is made if it is not there."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
    found = there.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    artifacts = None if "://" in where else (Path(where).absolute() / "artifacts").as_uri()
    return str(there.create_experiment(name, artifact_location=artifacts))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's remarks on its database, and its libraries' on each other, off the terminal."""
    for name, value in _SILENCE.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
