"""Whole searches: real processes on few small pictures, killed, stopped, shared and pruned."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import psutil
import pytest
import yaml
from PIL import Image

from hornbeam.config import SearchOptions
from hornbeam.search.study import Plan, Study, remember

SPACE = "learning_rate: {low: 1e-3, high: 1e-2, log: true}\ndropout: {low: 0, high: 0.5}\n"
SMALL = ("--image-size", "32", "--batch-size", "4", "--no-latency", "--pruner", "none")
RECIPE = """
import keras

def build_model(input_shape, targets, width=4, depth=1):
    inputs = x = keras.Input(input_shape)
    for i in range(depth):
        x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name=f"same_{i}")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(width, activation="relu", name="wide")(x)
    return keras.Model(inputs, keras.layers.Dense(len(targets[0].classes), name="last")(x))
"""

LONG = ("--epochs", "2000", "--keep", "1", "--precision", "float32")
"""A training that does not end before it is killed."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of eight pictures, four of which judge; the test pictures are no pictures."""
    root = tmp_path_factory.mktemp("pictures") / "tiny"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for name, shade in (("dark", 60), ("light", 180)):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                noise = rng.integers(-50, 50, (16, 16, 3)) + shade
                Image.fromarray(noise.astype(np.uint8)).save(root / split / name / f"{i}.png")
    for name in ("dark", "light"):
        (root / "test" / name).mkdir(parents=True)
        (root / "test" / name / "secret.png").write_bytes(b"whoever decodes this fails")
    return root


@pytest.fixture
def begin(pictures, tmp_path):
    """Start `hornbeam search` as a user does; all of its processes are gone at the end."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "recipe.py").write_text(RECIPE)
    started = []

    def begin(*words, space=True, recipe=True):
        command = [sys.executable, "-m", "hornbeam", "search", pictures, "--study",
                   tmp_path / "study", *SMALL, *words]  # fmt: skip
        command += ["--space", tmp_path / "space.yaml"] if space else []
        command += ["--recipe", tmp_path / "recipe.py"] if recipe else []
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        for child in trainings(process):
            child.kill()
        process.kill()
        process.wait()
        process.stdout.close()


def trainings(process):
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_until(happened, process=None, seconds=300):
    deadline = time.monotonic() + seconds
    while not happened():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def wait_for_checkpoint(study, process, validations=2):
    run = study / "trials" / "0000"
    wait_until(
        lambda: (run / "checkpoints" / "last").exists() and len(rows(run)) >= validations, process
    )


def rows(run):
    try:
        with (run / "metrics.csv").open() as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []


def table_of(study):
    with (study / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def events(run, kind):
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def trials_of(study, storage=None):
    if storage is None:
        backend = optuna.storages.journal.JournalFileBackend(str(study / "journal.log"))
        storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name=study.name, storage=storage).trials


def shorten(study, validations):
    """Let the trial that is under way end this soon after where it is, and return where that was."""
    run = study / "trials" / "0000"
    epochs = len(rows(run)) + validations
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"epochs": epochs}))
    for path in (run / "checkpoints").glob("step-*/config.yaml"):
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"epochs": epochs}))
    return epochs


def check_it_goes_on(begin, study):
    """Go on with a trial that was interrupted: the same, from its last checkpoint, each validation once."""
    run = study / "trials" / "0000"
    parameters = trials_of(study)[0].params
    step = json.loads((run / "checkpoints" / "last" / "state.json").read_text())["step"]
    epochs = shorten(study, 4)
    process = begin("--trials", 1, *LONG)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out
    (trial,) = trials_of(study)
    assert (trial.state.name, trial.params) == ("COMPLETE", parameters)
    assert len(rows(run)) == epochs
    assert sorted(trial.intermediate_values) == list(range(epochs))
    first = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    assert first["event"] == "start"
    again = events(run, "start")[-1]["time"]
    later = [e["step"] for e in events(run, "validation") if e["time"] > again]
    assert min(later) > step - 4  # of an epoch of 4 steps: nothing was trained anew
    assert trial.value == max(float(row["val_accuracy"]) for row in rows(run))


def test_a_search_that_is_stopped_and_then_killed_goes_on_with_the_same_trial(begin, tmp_path):
    study = tmp_path / "study"
    process = begin("--trials", 1, *LONG)
    wait_for_checkpoint(study, process)
    children = trainings(process)
    process.send_signal(signal.SIGTERM)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 143, out
    assert f"the same command goes on with {study}" in out
    assert not any(child.is_running() for child in children)
    assert trials_of(study)[0].state.name == "RUNNING"

    process = begin("--trials", 1, *LONG)
    wait_for_checkpoint(study, process, len(rows(study / "trials" / "0000")) + 2)
    children = trainings(process)
    process.kill()
    for child in children:
        child.kill()
    psutil.wait_procs(children, 60)
    check_it_goes_on(begin, study)


@pytest.mark.slow
def test_a_training_whose_search_was_killed_saves_and_ends_and_another_process_takes_it_up(
    begin, tmp_path
):
    study = tmp_path / "study"
    process = begin("--trials", 1, *LONG)
    wait_for_checkpoint(study, process)
    children = trainings(process)
    before = len(rows(study / "trials" / "0000"))
    other = begin("--trials", 1, *LONG)  # finds nothing to do, and waits
    time.sleep(1)
    process.kill()
    assert not psutil.wait_procs(children, 120)[1]
    wait_until(lambda: trainings(other), other)
    run = study / "trials" / "0000"
    wait_until(lambda: len(events(run, "start")) == 2, other)
    wait_until(lambda: len(rows(run)) > before + 3, other)
    assert len(trials_of(study)) == 1


def test_two_processes_share_a_database_and_no_test_picture_is_opened(
    begin, pictures, tmp_path, hornbeam_here
):
    study, url = tmp_path / "study", f"sqlite:///{tmp_path}/study.db"
    # The first trial waits for the second: one process cannot be so quick that it does both.
    (tmp_path / "recipe.py").write_text(
        RECIPE
        + f"""

import time
from pathlib import Path

def callbacks():
    while not Path({str(study / "trials" / "0001.yaml")!r}).exists():
        time.sleep(0.02)
    return []
"""
    )
    words = ("--trials", 2, "--epochs", 1, "--storage", url)
    both = [begin(*words), begin(*words)]
    outs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    trials = trials_of(study, url)
    assert [t.state.name for t in trials] == ["COMPLETE"] * 2
    assert all(" finished: val_accuracy" in out for out in outs)  # each did some
    table = table_of(study)
    assert {row["trial"] for row in table} == set("01")
    best = max(trials, key=lambda t: t.value)
    assert float(table[0]["objective"]) == pytest.approx(best.value)
    low, high = float(table[0]["accuracy_low"]), float(table[0]["accuracy_high"])
    assert 0 <= low <= best.value <= high <= 1
    summary = json.loads((study / "trials" / "0000" / "dataset.json").read_text())
    assert "test" not in str(summary["counts"])
    # It would have failed if they had been opened; the best, trained again, looks at them.
    repeated = hornbeam_here("train", "--config", study / "best.yaml", "--run", tmp_path / "best")
    assert "secret.png" in repeated.err


def test_a_trial_that_is_behind_is_stopped_and_keeps_its_checkpoint(begin, pictures, tmp_path):
    study = tmp_path / "study"
    words = ("--trials", "5", "--pruner", "median", *LONG)
    # Four trials that were right from the first picture on stand for hours of training.
    options = SearchOptions(
        data=str(pictures), space=tmp_path / "space.yaml", run=study, trials=5, image_size=32,
        batch_size=4, epochs=2000, keep=1, precision="float32", recipe=tmp_path / "recipe.py",
    )  # fmt: skip
    given = {"data": str(pictures), "image_size": [32, 32, 3], "batch_size": 4, "epochs": 2000,
             "keep": 1, "precision": "float32", "recipe": str(tmp_path / "recipe.py")}  # fmt: skip
    study.mkdir()
    plan = Plan.of(options, given, study)
    remember(plan)
    kept = Study(plan)
    for _ in range(4):
        number, _, claim = kept.next()
        for index in range(40):
            kept.report(number, index, 2.0)
        kept.finish(number, 2.0)
        claim.release()
    process = begin(*words)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out
    states = [t.state.name for t in trials_of(study)]
    assert states == ["COMPLETE"] * 4 + ["PRUNED"], out
    run = study / "trials" / "0004"
    assert 2 <= len(rows(run)) < 2000
    assert not events(run, "end")
    assert not (run / "model.keras").exists()
    assert (run / "checkpoints" / "last").exists()


@pytest.mark.slow
def test_a_grid_over_a_parameter_of_the_recipe_begins_each_value_with_the_weights_before(
    begin, tmp_path
):
    import keras

    process = begin(
        "--grid", "width=4,8", "--warm-start", "--epochs", 1, "--lr", "1e-9",
        "--latency", space=False,
    )  # fmt: skip
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0, out
    study = tmp_path / "study"
    first, second = (
        keras.saving.load_model(study / "trials" / f"000{i}" / "model.keras", compile=False)
        for i in range(2)
    )
    # With so small a rate the weights are those that each began with.
    assert np.allclose(*(m.get_layer("same_0").kernel for m in (first, second)), atol=1e-6)
    assert [m.get_layer("wide").units for m in (first, second)] == [4, 8]
    configs = [
        yaml.safe_load((study / "trials" / f"000{i}" / "config.yaml").read_text()) for i in range(2)
    ]
    assert [dict(c["build_model"]) for c in configs] == [{"width": 4}, {"width": 8}]
    assert [c["freeze"] for c in configs] == ["none", "none"]
    table = table_of(study)
    assert all(float(row["ms_one"]) > 0 and float(row["megabytes"]) > 0 for row in table)
    sizes = {row["build_model.width"]: int(row["parameters"]) for row in table}
    assert sizes["8"] - sizes["4"] == 4 * (8 + 1) + 4 * 2
    page = (study / "search.html").read_text()
    assert "milliseconds for one picture" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_search_whose_trainings_all_fail_says_why(begin, pictures, tmp_path):
    process = begin("--trials", 5, "--epochs", 1, "--num-classes", 7, recipe=False)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 1, out
    assert "All of the first 3 trials failed; the last:" in out
    assert "--num-classes" in out


def test_a_wrong_space_leaves_nothing_behind(hornbeam_here, pictures, tmp_path):
    (tmp_path / "space.yaml").write_text("learning_rat: [0.1]")
    words = ("--space", tmp_path / "space.yaml", "--study", tmp_path / "study")
    done = hornbeam_here("search", pictures, *words)
    assert done.code == 2
    assert "Did you mean 'learning_rate'?" in done.sentence
    assert not (tmp_path / "study").exists()
