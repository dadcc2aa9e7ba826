"""Going on with a run: what may change, what may not, and how long, how often and when to save."""

import csv
import json
import os
import shutil
import signal

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from zygote import until

from hornbeam.config import TrainOptions
from hornbeam.resuming import earlier, repeatable

SMALL = ("--batch-size", 8, "--image-size", 32)

RECIPE = '''
"""A network that is quick to build."""

import keras


def build_model(input_shape, targets):
    layers = keras.layers
    pixels = keras.Input(input_shape, dtype="uint8")
    x = layers.Conv2D(8, 3, strides=4)(layers.Rescaling(1 / 255)(pixels))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(pixels, [layers.Dense(len(task.classes))(x) for task in targets])
'''


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def train(zygote, shapes, tiny):
    """Run `hornbeam train` on a small network."""

    def run(directory, *words, data=shapes, **environment):
        return zygote().run("train", data, "--run", directory, "--recipe", tiny, *SMALL, *words, **environment)  # fmt: skip

    return run


@pytest.fixture(scope="session")
def trained_once(zygote, shapes, tiny, tmp_path_factory):
    """A finished run of two epochs, to be copied."""
    run = tmp_path_factory.mktemp("once") / "run"
    done = zygote().run("train", shapes, "--run", run, "--recipe", tiny, *SMALL, "--epochs", 2)
    assert done.code == 0, done.err
    return run


@pytest.fixture
def finished(trained_once, tmp_path):
    shutil.copytree(trained_once, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def rows(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def steps(run):
    return [int(row["step"]) for row in rows(run)]


def checkpoints(run):
    return sorted(int(p.name[5:]) for p in (run / "checkpoints").glob("step-*"))


def sentence(done):
    lines = [line for line in done.err.splitlines() if line.strip()]
    assert len(lines) == 1, done.err
    return lines[0]


def test_what_a_run_repeats_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.rules").write_text("")
    given = {"data": "photos", "validation_data": "s3://photos", "weights": "w.h5"}
    told = repeatable(TrainOptions(**given, restore_map="my.rules"))
    assert told["data"] == str(tmp_path / "photos")
    assert told["validation_data"] == "s3://photos"
    assert told["weights"] == str((tmp_path / "w.h5").resolve())
    assert told["restore_map"] == str(tmp_path / "my.rules")
    assert repeatable(TrainOptions(**given, restore_map="slim"))["restore_map"] == "slim"


def test_more_epochs_can_be_asked_for(zygote, finished):
    before = rows(finished)
    done = zygote().run("train", "--run", finished, "--resume", "--epochs", 3)
    assert done.code == 0, done.err
    assert "Going on after step 16." in done.out
    assert rows(finished)[:2] == before
    assert steps(finished) == [8, 16, 24]
    assert yaml.safe_load((finished / "config.yaml").read_text())["epochs"] == 3


def test_a_finished_run_is_only_judged_again(zygote, finished):
    before = rows(finished)
    (finished / "model.keras").unlink()
    done = zygote().run("train", "--run", finished, "--resume")
    assert done.code == 0, done.err
    assert rows(finished) == before
    assert (finished / "model.keras").is_file()


def test_the_same_command_with_resume_goes_on(train, finished):
    done = train(finished, "--epochs", 2, "--resume")
    assert done.code == 0, done.err


def test_without_resume_a_run_is_left_alone(train, finished):
    done = train(finished, "--epochs", 2)
    assert done.code == 2
    assert "a run is there already" in sentence(done)


def test_a_changed_setting_is_named_and_refused(zygote, finished):
    done = zygote().run(
        "train", "--run", finished, "--resume", "--batch-size", 16, "--seed", 1, "--keep", 2
    )
    assert done.code == 2
    said = sentence(done)
    assert "--batch-size was 8 and is 16 now" in said
    assert "--seed was 0 and is 1 now" in said
    assert "--keep" not in said
    assert "--resume-anyway" in said


def test_a_changed_setting_is_taken_anyway(zygote, finished):
    done = zygote().run(
        "train", "--run", finished, "--resume", "--resume-anyway", "--epochs", 3,
        "--label-smoothing", 0.2,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert yaml.safe_load((finished / "config.yaml").read_text())["label_smoothing"] == 0.2


def test_a_changed_recipe_is_refused_and_the_old_one_kept(zygote, finished, tiny, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(RECIPE.replace("Conv2D(8", "Conv2D(4"))
    done = zygote().run("train", "--run", finished, "--resume", "--recipe", other)
    assert done.code == 2
    assert "is not what it was" in sentence(done)
    assert (finished / "recipe.py").read_text() == RECIPE


def test_changed_pictures_are_counted_and_refused(zygote, train, shapes, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(shapes, data)
    assert train(run, "--epochs", 1, data=data).code == 0
    first, second = sorted((data / "star").iterdir())[:2]
    shutil.copy(first, data / "star" / "more.png")
    second.unlink()
    done = zygote().run("train", "--run", run, "--resume", "--epochs", 2)
    assert done.code == 1
    assert "1 new, 1 gone" in sentence(done)
    done = zygote().run("train", "--run", run, "--resume", "--resume-anyway", "--epochs", 2)
    assert done.code == 0, done.err
    assert "1 new, 1 gone" in done.err


def test_whether_pictures_are_verified_again_does_not_matter(zygote, finished):
    done = zygote().run("train", "--run", finished, "--resume", "--no-verify", "--epochs", 3)
    assert done.code == 0, done.err
    assert steps(finished) == [8, 16, 24]


def test_other_classes_are_another_run(zygote, train, shapes, tmp_path):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(shapes, data)
    assert train(run, "--epochs", 1, data=data).code == 0
    (data / "star").rename(data / "moon")
    done = zygote().run("train", "--run", run, "--resume", "--resume-anyway", "--epochs", 2)
    assert done.code == 1
    assert "begin a new run" in sentence(done)


def test_resume_begins_what_is_not_there_if_it_is_told_of_what(zygote, train, tmp_path):
    done = zygote().run("train", "--run", tmp_path / "nowhere", "--resume")
    assert done.code == 2
    assert "name DATA" in sentence(done)
    done = train(tmp_path / "new", "--resume", "--steps", 2)
    assert done.code == 0, done.err


def test_what_was_killed_before_it_had_begun_begins_anew(tiny, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("epochs: 2\n")
    for given in ({"data": "photos"}, {"recipe": tiny}):  # whose pictures may be a recipe's
        assert earlier(TrainOptions(run=run, resume=True, **given)) is None


def test_the_other_backend_is_refused(zygote, finished):
    done = zygote("jax").run("train", "--run", finished, "--resume", "--epochs", 3)
    assert done.code == 2
    assert "began on tensorflow, and this is jax" in sentence(done)


@pytest.mark.parametrize(
    ("words", "validated"),
    [
        (("--steps", 20), [8, 16, 20]),
        (("--steps", 20, "--validate-every", "6steps"), [6, 12, 18, 20]),
        (("--steps", 20, "--val_interval", 7), [7, 14, 20]),
        (("--epochs", 2, "--validate-every", "2epochs"), [16]),
        (("--epochs", 2, "--validate-every", "0.5epochs"), [4, 8, 12, 16]),
        (("--examples", "100"), [8, 13]),
        (("--train_steps", 5, "--eval_freq", 1), [5]),
    ],
)
def test_a_training_validates_when_it_is_told_to(train, tmp_path, words, validated):
    done = train(tmp_path / "run", *words)
    assert done.code == 0, done.err
    assert steps(tmp_path / "run") == validated


CLOCK = """

import hornbeam.training.callbacks as watched


class Clock:
    now = 1.0

    def perf_counter(self):
        return self.now


watched.time = Clock()


class Step(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        watched.time.now += 0.25


def callbacks():
    return [Step()]
"""
"""For a recipe: each step takes a quarter of a second, however busy the machine is."""


def test_a_time_is_a_budget_and_a_rhythm(train, tmp_path):
    recipe, run = tmp_path / "slow.py", tmp_path / "run"
    recipe.write_text(RECIPE + CLOCK)
    done = train(run, "--recipe", recipe, "--time", "6s", "--eval_throttle_secs", 1, "--learning-rate", 0.01)  # fmt: skip
    assert done.code == 0, done.err
    assert steps(run) == [4, 8, 12, 16, 20, 24]
    assert [float(row["seconds"]) for row in rows(run)] == [1, 2, 3, 4, 5, 6]
    rates = [float(row["learning_rate"]) for row in rows(run)]
    assert max(rates) <= 0.01
    assert rates[-1] < 0.0005  # a cosine, by the clock


def test_early_stopping_ends_a_training_and_stays_so(zygote, train, tmp_path):
    run = tmp_path / "run"
    done = train(run, "--epochs", 30, "--learning-rate", 1e-9, "--early-stopping", 2, "--monitor", "val_loss", "--mode", "max", "--validate-every", "2steps", "--schedule", "fixed")  # fmt: skip
    assert done.code == 0, done.err
    count = len(steps(run))
    assert count < 30
    done = zygote().run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert len(steps(run)) == count


def test_without_validation_nothing_is_judged(train, zygote, shapes, tmp_path):
    run = tmp_path / "run"
    done = train(run, "--epochs", 2, "--no-validation")
    assert done.code == 0, done.err
    assert not [name for name in rows(run)[0] if name.startswith("val_")]
    assert not (run / "report.html").exists()
    assert (run / "checkpoints" / "best").resolve() == (run / "checkpoints" / "last").resolve()
    done = zygote().run("evaluate", run)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "words",
    [("--early-stopping", 2), ("--schedule", "plateau"), ("--monitor", "val_loss")],
)
def test_what_needs_validation_says_so(zygote, shapes, words):
    done = zygote().run("train", shapes, "--no-validation", *words)
    assert done.code == 2
    assert "needs validation" in sentence(done)


def test_a_signal_saves_and_the_training_goes_on(zygote, shapes, tiny, tmp_path):
    run = tmp_path / "run"
    pid = zygote().start("train", shapes, "--run", run, "--recipe", tiny, *SMALL, "--time", "600s", "--validate-every", "1h", "--keep", 9)  # fmt: skip
    until(
        lambda: '"start"' in (run / "log.jsonl").read_text() if (run / "log.jsonl").exists() else 0
    )
    for count in (1, 2, 3):
        # Before the first step there is nothing to save, and nothing happens.
        until(lambda count=count: os.kill(pid, signal.SIGUSR1) or len(checkpoints(run)) >= count)
    os.kill(pid, signal.SIGTERM)
    done = zygote().wait(pid)
    assert done.code == 143, done.err
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events[-1] == "stopped"
    assert f"at step {checkpoints(run)[-1]}, which is saved" in done.err


def test_a_second_ctrl_c_leaves_at_once(zygote, shapes, tmp_path):
    recipe = tmp_path / "slow.py"
    recipe.write_text(
        RECIPE + "\n\nimport os, signal, time\n\n\ndef callbacks():\n    return [Slow()]\n\n\n"
        "class Slow(keras.callbacks.Callback):\n"
        "    def on_train_batch_end(self, batch, logs=None):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(100)\n"
    )
    done = zygote().run(
        "train", shapes, "--run", tmp_path / "run", "--recipe", recipe, *SMALL, "--epochs", 1
    )
    assert done.code == 130
    assert checkpoints(tmp_path / "run") == []


def test_checkpoints_come_as_often_as_asked_and_each_can_stand_for_the_run(
    zygote, train, shapes, tmp_path
):
    run = tmp_path / "run"
    done = train(run, "--epochs", 2, "--save-every", "3steps", "--keep", 4)
    assert done.code == 0, done.err
    newest = checkpoints(run)[-4:]
    assert newest == [9, 12, 15, 16]
    # Away from its run it needs pictures, and nothing else.
    alone = tmp_path / "elsewhere"
    shutil.copytree(run / "checkpoints" / "step-00000012", alone)
    done = zygote().run("evaluate", alone, shapes)
    assert done.code == 0, done.err
    done = zygote().run("predict", alone, next((shapes / "star").iterdir()))
    assert done.code == 0, done.err
    done = zygote().run("export", run / "checkpoints" / "best", "--out", tmp_path / "exported")
    assert done.code == 0, done.err


def test_debug_is_a_few_steps_line_by_line(train, tmp_path):
    recipe = tmp_path / "eager.py"
    recipe.write_text(RECIPE + '''

import hornbeam  # noqa


def metrics():
    return [line_by_line]


def line_by_line(y_true, y_pred):
    y_pred.numpy()  # which only a function that runs line by line has
    return keras.ops.mean(y_pred, axis=-1)
''')  # fmt: skip
    run = tmp_path / "run"
    done = train(run, "--debug", "--recipe", recipe)
    assert done.code == 0, done.err
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["shuffle"], config["augment"], config["steps"]) == (False, "none", 8)
    assert steps(run) == [8]


def test_a_subset_may_be_a_share(train, tmp_path):
    done = train(tmp_path / "run", "--subset", 0.5, "--steps", 1)
    assert done.code == 0, done.err
    assert " 30 train," in done.out


def test_deterministic_trainings_are_the_same_bit_for_bit(train, tmp_path):
    for name in ("one", "other"):
        done = train(tmp_path / name, "--epochs", 1, "--deterministic", "--threads", 1 + (name == "one"))  # fmt: skip
        assert done.code == 0, done.err
    one, other = (load_file(tmp_path / name / "checkpoints" / "last" / "training.safetensors") for name in ("one", "other"))  # fmt: skip
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_saves_too(zygote, shapes, tiny, tmp_path, number):
    """As Ctrl-C in a terminal, and schedulers, which signal those that make the batches as well."""
    run = tmp_path / "run"
    pid = zygote().start("train", shapes, "--run", run, "--recipe", tiny, *SMALL, "--time", "600s", "--validate-every", "1h", "--save-every", "20steps", "--processes", 2)  # fmt: skip
    until(lambda: checkpoints(run))
    os.killpg(pid, number)
    done = zygote().wait(pid)
    assert done.code == 128 + number, done.err
    saved = checkpoints(run)[-1]
    assert f"at step {saved}, which is saved" in done.err
    again = zygote().run("train", "--run", run, "--resume", "--resume-anyway", "--steps", saved + 1)
    assert again.code == 0, again.err
