"""What the options and the recipe ask for follows the training, and goes on with it."""

import csv
import json

import keras
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hornbeam.config import TrainOptions
from hornbeam.data.loader import Loader
from hornbeam.data.sources import open_dataset
from hornbeam.errors import ConfigError
from hornbeam.recipe import Recipe
from hornbeam.training.callbacks import Clock
from hornbeam.training.following.followers import following, hyperparameters
from hornbeam.training.following.tracking import client

RECIPE = """
import keras
from pathlib import Path

class Notes(keras.callbacks.Callback):
    count = 0

    def on_epoch_end(self, epoch, logs):
        assert all(type(value) is float for value in logs.values()), logs
        self.count += 1
        logs["val_count"] = self.count
        with open(FILE, "a") as file:
            file.write(f"{self.count}\\n")
        if self.count == STOP:
            self.model.stop_training = True

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]

def callbacks():
    return [Notes()]
"""
SMALL = ("--batch-size", 8, "--image-size", 32, "--augment", "none")


def names(callbacks):
    return [type(callback).__name__ for callback in callbacks]


def test_the_options_say_who_follows(tmp_path, shapes):
    loader = Loader(open_dataset(shapes), batch_size=4, image_size=(32, 32))
    clock = Clock(10, 4)
    asked = TrainOptions(data="x", mlflow=str(tmp_path / "mlflow"))
    assert names(following(asked, loader, Recipe.none())(tmp_path, clock)) == ["TensorBoard", "MLflow"]  # fmt: skip
    asked = TrainOptions(data="x", tensorboard=False)
    assert following(asked, loader, Recipe.none())(tmp_path, clock) == []
    path = tmp_path / "my.py"
    path.write_text(RECIPE)
    own = following(TrainOptions(data="x"), None, Recipe.load(path))(tmp_path, clock)
    assert names(own) == ["OwnCallbacks", "TensorBoard"]


def test_what_is_wrong_is_found_before_there_is_a_run(tmp_path):
    with pytest.raises(ConfigError, match="--mlflow nosuch://x"):
        following(TrainOptions(data="x", mlflow="nosuch://x"), None, Recipe.none())


def test_hyperparameters_are_numbers_and_words():
    options = TrainOptions(
        data="photos", image_size="32x48", lr_mult="a=0.5,b=1", trainable="x.*,y", ema=None, seed=3
    )
    shown = hyperparameters(options)
    assert shown["data"] == "photos"
    assert shown["image_size"] == "32x48x3"
    assert shown["lr_mult"] == "a=0.5,b=1.0"
    assert shown["trainable"] == "x.*,y"
    assert shown["seed"] == 3
    assert shown["nesterov"] is False
    assert not {"ema", "run", "threads", "tensorboard", "resume"} & set(shown)
    assert all(isinstance(value, int | float | str) for value in shown.values())
    json.dumps(shown)


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_recipe_follows_a_training_that_goes_on(hornbeam_here, shapes, tmp_path, backend):
    recipe, file, run = tmp_path / "my.py", tmp_path / "notes.txt", tmp_path / "run"
    recipe.write_text(RECIPE.replace("FILE", repr(str(file))).replace("STOP", "2"))
    store = tmp_path / "mlflow"
    done = hornbeam_here("train", shapes, "--run", run, "--epochs", 4, "--recipe", recipe, "--mlflow", store, *SMALL, backend=backend)  # fmt: skip
    assert done.code == 0, done.err
    assert file.read_text() == "1\n2\n", "it stopped the training"
    done = hornbeam_here("train", "--run", run, "--resume", "--epochs", 4, backend=backend)
    assert done.code == 0, done.err
    numbers = list(map(int, file.read_text().split()))
    assert numbers == [1, 2, 3, 4], "its state went on"
    found = EventAccumulator(str(run / "tensorboard")).Reload()
    with (run / "metrics.csv").open(newline="") as table:
        steps = [int(row["step"]) for row in csv.DictReader(table)]
    assert len(steps) == len(numbers)
    assert [(e.step, e.value) for e in found.Scalars("count/validation")] == list(zip(steps, numbers, strict=True))  # fmt: skip
    there = client(str(store))
    (tracked,) = there.search_runs([e.experiment_id for e in there.search_experiments()])
    history = there.get_metric_history(tracked.info.run_id, "val_count")
    assert [(p.step, p.value) for p in history] == list(zip(steps, numbers, strict=True))
    artifacts = {a.path for a in there.list_artifacts(tracked.info.run_id)}
    assert artifacts == {"config.yaml", "metrics.csv", "report.html", "model.keras"}
    copy = there.download_artifacts(tracked.info.run_id, "model.keras", str(tmp_path))
    assert keras.saving.load_model(copy, compile=False).count_params() > 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("def callbacks():\n    return [1 / 0]\n", "line 2: callbacks(): ZeroDivisionError"),
        ("def callbacks():\n    return 3\n", "callbacks() should return a list of Keras callbacks"),
        ("import keras\ndef callbacks():\n    return [keras.callbacks.LearningRateScheduler(min)]\n", "LearningRateScheduler.on_epoch_begin()"),
    ],
)  # fmt: skip
def test_an_error_in_a_callback_is_a_sentence(hornbeam_here, shapes, tmp_path, body, sentence):
    recipe = tmp_path / "my.py"
    recipe.write_text(body)
    done = hornbeam_here("train", shapes, "--run", tmp_path / "run", "--epochs", 1, "--recipe", recipe, *SMALL)  # fmt: skip
    assert done.code == 2
    assert "my.py" in done.sentence
    assert sentence in done.sentence
    assert (tmp_path / "run").exists() == ("Scheduler" in sentence), "found before there is a run"
