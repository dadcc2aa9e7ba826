"""What MLflow is told can be read back with MLflow, and a resumed training is one run of it."""

import sys
from pathlib import Path

import pytest

from hornbeam.errors import ConfigError
from hornbeam.training.callbacks import Clock
from hornbeam.training.following import tracking
from hornbeam.training.following.tracking import MLflow, client, log_results

OPTIONS = {"learning_rate": 0.5, "optimizer": "adam"} | {f"option_{i}": i for i in range(150)}


@pytest.fixture
def run(tmp_path):
    directory = tmp_path / "clothing-1"
    directory.mkdir()
    (directory / "report.html").write_text("the report")
    return directory


def training(run, where, state=None):
    clock = Clock(100, 4)
    callback = MLflow(client(str(where)), str(where), run, clock, OPTIONS)
    if state:
        callback.set_state(state)
    return clock, callback


def runs_of(where):
    there = client(str(where))
    found = there.search_runs([e.experiment_id for e in there.search_experiments()])
    return there, found


def test_options_metrics_and_results_can_be_read_back(run, tmp_path):
    where = tmp_path / "mlflow"
    clock, callback = training(run, where)
    for clock.step in (3, 6):
        callback.on_epoch_end(0, {"val_loss": 1 / clock.step, "loss": 2.0})
    log_results(run)
    there, (found,) = runs_of(where)
    assert found.info.run_name == "clothing-1"
    assert found.info.status == "FINISHED"
    assert found.data.params == {name: str(value) for name, value in OPTIONS.items()}
    history = there.get_metric_history(found.info.run_id, "val_loss")
    assert [(p.step, p.value) for p in history] == [(3, 1 / 3), (6, 1 / 6)]
    (artifact,) = there.list_artifacts(found.info.run_id)
    assert artifact.path == "report.html"
    local = there.download_artifacts(found.info.run_id, "report.html", str(tmp_path))
    assert Path(local).read_text() == "the report"
    assert str(where) in found.info.artifact_uri, "not in the working directory"


def test_a_resumed_training_goes_on_in_its_run_without_doubles(run, tmp_path):
    where = tmp_path / "mlflow"
    clock, callback = training(run, where)
    for clock.step in (3, 6):
        callback.on_epoch_end(0, {"loss": clock.step})
        if clock.step == 3:
            state = callback.get_state()  # killed at 6, with a checkpoint at 3
    clock, callback = training(run, where, state)
    for clock.step in (6, 9):
        callback.on_epoch_end(0, {"loss": clock.step})
    there, (found,) = runs_of(where)
    assert [p.step for p in there.get_metric_history(found.info.run_id, "loss")] == [3, 6, 9]


def test_going_back_within_a_training_logs_the_other_numbers(run, tmp_path):
    clock, callback = training(run, tmp_path)
    clock.step = 3
    callback.on_epoch_end(0, {"loss": 1.0})
    state = callback.get_state()
    for clock.step, loss in ((6, 2.0), (6, 1.5)):
        callback.on_epoch_end(0, {"loss": loss})
        callback.set_state(state)
    there, (found,) = runs_of(tmp_path)
    assert [p.value for p in there.get_metric_history(found.info.run_id, "loss")] == [1.0, 2.0, 1.5]


def test_a_run_that_was_deleted_is_begun_anew(run, tmp_path, capsys):
    clock, callback = training(run, tmp_path, {"run": "0" * 32, "step": 3})
    clock.step = 6
    callback.on_epoch_end(0, {"loss": 1.0})
    assert "has the run no more" in capsys.readouterr().err
    _, (found,) = runs_of(tmp_path)
    assert found.data.metrics == {"loss": 1.0}


def test_a_store_that_is_lost_is_told_of_once_and_stops_nothing(run, tmp_path, capsys):
    class Lost:
        def __getattr__(self, name):
            raise ConnectionError("the server has gone.\nmore")

    clock = Clock(100, 4)
    callback = MLflow(Lost(), "http://tracking", run, clock, OPTIONS)
    for clock.step in (3, 6):
        callback.on_epoch_end(0, {"loss": 1.0})
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "warning: --mlflow http://tracking: the server has gone; no more is logged there."
    ]


def test_without_mlflow_a_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"--mlflow needs MLflow: pip install"):
        client(str(tmp_path))


def test_a_wrong_address_is_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"--mlflow nosuch://x: .*nosuch.*\.$"):
        client("nosuch://x")


def test_a_run_without_mlflow_has_nothing_to_log(tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "client", None)
    log_results(tmp_path)
