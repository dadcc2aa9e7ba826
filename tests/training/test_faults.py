"""What a training does when the disk is full, a checkpoint is damaged, or the loss is no number."""

import csv
import json
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from PIL import Image
from same_end import assert_same, ended

from hornbeam.config import TrainOptions
from hornbeam.data.dataset import TRAIN
from hornbeam.data.loader import Loader
from hornbeam.errors import RunError
from hornbeam.runs import Run
from hornbeam.training.rates import Rates
from hornbeam.training.saved import newest

OPTIONS = (
    "--epochs", 2, "--batch-size", 8, "--image-size", 32, "--deterministic", "--save-every", "3steps",
    "--ema", 0.9,
)  # fmt: skip
PER_EPOCH = 8  # 59 training pictures

NETWORK = '''
"""A small network, whose answers are no numbers where a picture is white."""

import os
import resource
import time
from pathlib import Path

import keras


@keras.saving.register_keras_serializable()
class Exploding(keras.layers.Layer):
    def call(self, x):
        white = keras.ops.all(x > 0.999, axis=(1, 2, 3), keepdims=True)
        return keras.ops.where(white, float("nan"), x)


def build_model(input_shape, targets):
    layers = keras.layers
    pixels = keras.Input(input_shape, dtype="uint8")
    x = Exploding()(layers.Rescaling(1 / 255)(pixels))
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, [layers.Dense(len(task.classes))(x) for task in targets])
'''

FULL = (
    NETWORK
    + '''

STEP, _, ROOM = os.environ.get("FULL", "0:0").partition(":")


def callbacks():
    return [Fills()]


class Fills(keras.callbacks.Callback):
    """After a step, leaves so many bytes on the disk, or, without a disk, to each file."""

    step = 0

    def get_state(self):
        return {"step": self.step}

    def set_state(self, state):
        self.step = state["step"]

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step == int(STEP):
            disk = Path(os.environ["DISK"])
            before = set(os.environ.get("BEFORE", "step-00000003").split())
            for _ in range(10_000):  # a thread writes the earlier ones, and removes the earliest
                if {path.name for path in (disk / "run/checkpoints").glob("step-*")} == before:
                    break
                time.sleep(0.01)
            if os.environ.get("LIMIT"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (int(ROOM), resource.RLIM_INFINITY))
                return
            free = os.statvfs(disk)
            with (disk / "ballast").open("wb", buffering=0) as file:
                file.write(bytes(free.f_bavail * free.f_frsize - int(ROOM)))
'''
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("faults") / "network.py"
    path.write_text(FULL)
    return path


@pytest.fixture(scope="module")
def undisturbed(zygote, shapes, recipe, tmp_path_factory):
    """A run that nothing happened to."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = zygote().run("train", shapes, "--run", run, "--recipe", recipe, *OPTIONS)
    assert done.code == 0, done.err
    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def sentence(err):
    """Return what a command left with: its last line, and no traceback."""
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    lines = [line for line in err.splitlines() if line.startswith("hornbeam: ")]
    assert len(lines) == 1, err
    return lines[0]


def assert_nothing_is_half(run):
    """Check that each checkpoint there is loads, and that there is nothing else beside."""
    checkpoints = run / "checkpoints"
    found = sorted(path.name for path in checkpoints.iterdir() if not path.is_symlink())
    assert all(name.startswith("step-") for name in found)
    for name in found:
        model = Run.open(checkpoints / name).load_model()
        logits = model(np.zeros((1, 32, 32, 3), np.uint8))["label"]
        assert np.isfinite(logits.numpy()).all()
    return found


# A checkpoint of this network takes some 110 KB: weights, state, and the rest.
@pytest.mark.parametrize(
    ("step", "room", "before"),
    [
        (5, 0, ["step-00000003"]),
        (5, 20_000, ["step-00000003"]),  # in the midst of the weights
        (5, 60_000, ["step-00000003"]),  # in the midst of the training's state
        (5, 84_000, ["step-00000003"]),  # in what is small
        (2, 0, []),
        (14, 4_096, ["step-00000008", "step-00000009", "step-00000012"]),
    ],
)
def test_a_full_disk_is_one_sentence_and_costs_no_earlier_checkpoint(
    step, room, before, zygote, shapes, recipe, undisturbed, small_disk
):
    run = small_disk / "run"
    failed = zygote().run(
        "train", shapes, "--run", run, "--recipe", recipe, *OPTIONS, FULL=f"{step}:{room}",
        DISK=str(small_disk), BEFORE=" ".join(before),
    )  # fmt: skip
    assert failed.code == 1, failed.err
    assert "No space left on device" in sentence(failed.err)
    assert str(run) in sentence(failed.err)
    assert set(assert_nothing_is_half(run)) <= set(before)
    assert bool(before) == (run / "checkpoints" / "last").is_dir()

    (small_disk / "ballast").unlink()
    done = zygote().run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert_same(ended(run), ended(undisturbed))


def test_a_file_that_may_not_grow_is_one_sentence_too(
    zygote, shapes, recipe, undisturbed, tmp_path
):
    run = tmp_path / "run"
    failed = zygote().run(
        "train", shapes, "--run", run, "--recipe", recipe, *OPTIONS, FULL="5:20000",
        DISK=str(tmp_path), LIMIT="1",
    )  # fmt: skip
    assert failed.code == 1, failed.err
    assert "step-00000006 cannot be written (File too large)" in sentence(failed.err)
    assert f"hornbeam train --run {run} --resume" in sentence(failed.err)
    assert assert_nothing_is_half(run) == ["step-00000003"]
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "stopped"
    assert "File too large" in events[-1]["reason"]
    done = zygote().run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert_same(ended(run), ended(undisturbed))


def truncated(checkpoint):
    path = checkpoint / "training.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(checkpoint):
    (checkpoint / "training.safetensors").write_bytes(b"")


def without_state(checkpoint):
    (checkpoint / "state.json").unlink()


def half_a_state(checkpoint):
    path = checkpoint / "state.json"
    path.write_text(path.read_text()[: len(path.read_text()) // 2])


@pytest.mark.parametrize("damage", [truncated, emptied, without_state, half_a_state])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(
    damage, zygote, undisturbed, tmp_path
):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run, symlinks=True)
    damage(run / "checkpoints" / "step-00000016")
    done = zygote().run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert "step-00000016 cannot be read" in done.err
    assert "The one before it is taken." in done.err
    assert "Going on after step 15." in done.out
    assert_same(ended(run), ended(undisturbed))


def test_where_no_checkpoint_can_be_read_nothing_is_begun_anew_over_them(tmp_path, capsys):
    assert newest(tmp_path) is None
    for name in ("step-00000003", "step-00000006"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text("{}")
    with pytest.raises(RunError, match=r"step-00000003 cannot be read .* or begin anew"):
        newest(tmp_path)
    assert "step-00000006 cannot be read" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture(scope="module")
def one_is_white(shapes, tmp_path_factory):
    """The sample with a white picture, and a recipe to which that one is poison."""
    root = tmp_path_factory.mktemp("poison")
    shutil.copytree(shapes, root / "train")
    (root / "train").rename(root / "shapes")
    network = root / "network.py"
    network.write_text(NETWORK)
    white = sorted((root / "shapes" / "circle").iterdir())[0]
    Image.new("RGB", (48, 48), "white").save(white)
    return root / "shapes", network, white


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_loss_that_is_no_number_names_its_step_rate_and_pictures(
    backend, zygote, one_is_white, tmp_path
):
    pictures, network, white = one_is_white
    run = tmp_path / "run"
    failed = zygote(backend).run(
        "train", pictures, "--run", run, "--recipe", network, *OPTIONS, "--augment", "none",
        "--schedule", "cosine", "--learning-rate", 0.02, "--validation-fraction", 0.1, "--seed", 2,
    )  # fmt: skip
    assert failed.code == 1, failed.out + failed.err

    # The order of the pictures says which step the white one is in.
    options = TrainOptions(**(Run(run).config() | {"run": None}))
    dataset = Run(run).dataset().only(TRAIN)
    loader = Loader(dataset, batch_size=8, image_size=(32, 32), seed=2, shuffle=True)
    paths = dataset.table["path"].to_pylist()
    poison = paths.index(f"circle/{white.name}")
    step = next(step for step in range(2 * PER_EPOCH) if poison in loader.rows(step)[0])
    rate = Rates.of(options, loader.steps_per_epoch * 2, loader.steps_per_epoch)(step)
    directory = run / f"bad-step-{step:08}"
    said = sentence(failed.err)
    what = f"The loss of step {step} is nan"
    if backend == "jax" and what not in said:
        # XLA's mean of relu hides what is no number; the weights are looked at when they are saved.
        step = next(end for end in (2, 5, 7) if end >= step)
        rate = Rates.of(options, loader.steps_per_epoch * 2, loader.steps_per_epoch)(step)
        directory = run / f"bad-step-{step:08}"
        what = f"Weights are no numbers after step {step}, though the loss is one"
    assert f"{what}, at a learning rate of {rate:.3g}" in said
    assert f"its pictures are in {directory}" in said

    with (directory / "batch.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [paths[row] for row in loader.rows(step)[0]]
    assert {row["label"] for row in rows} <= {path.name for path in pictures.iterdir()}
    assert len(list(directory.glob("*.png"))) == len(rows) == 8
    for row, shown in zip(rows, loader.batch(step).images, strict=True):
        png = cv2.imread(str(directory / row["picture"]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(png[..., ::-1], shown)
        assert (row["path"] == paths[poison]) == bool((png == 255).all())


DIVERGES = ("--schedule", "fixed", "--warmup", 0, "--optimizer", "sgd", "--on-nan", "rollback")


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_going_back_with_a_smaller_rate_helps_where_the_rate_was_too_high(
    backend, zygote, shapes, one_is_white, tmp_path
):
    run = tmp_path / "run"
    done = zygote(backend).run(
        "train", shapes, "--run", run, "--recipe", one_is_white[1], *OPTIONS, *DIVERGES,
        "--learning-rate", 1e30, "--nan-factor", 1e-32,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert done.err.count("Going back to step") == 1
    assert "Going back to step 0, with 1e-32 times the learning rate." in done.err
    assert len(list(run.glob("bad-step-*"))) == 1
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [PER_EPOCH, 2 * PER_EPOCH]
    for row in rows:
        assert float(row["learning_rate"]) == pytest.approx(0.01, rel=1e-5)
        assert np.isfinite(float(row["loss"]))
        assert np.isfinite(float(row["val_loss"]))


SPOILT = (
    NETWORK
    + '''

def callbacks():
    return [Spoils()] if "SPOILT" in os.environ else []


class Spoils(keras.callbacks.Callback):
    """Makes weights no numbers after a step, once, of which the loss of the next one tells."""

    done = False

    def on_train_batch_end(self, batch, logs=None):
        if not self.done and batch + 1 == int(os.environ["SPOILT"]):
            kernel = self.model.trainable_variables[0]
            kernel.assign(kernel * float("nan"))
            self.done = True
'''
)


@pytest.mark.parametrize("after", [4, PER_EPOCH - 1])
def test_going_back_from_anywhere_is_as_if_nothing_had_been(after, zygote, shapes, tmp_path):
    recipe = tmp_path / "spoilt.py"
    recipe.write_text(SPOILT)
    words = ("train", shapes, "--recipe", recipe, *OPTIONS, "--on-nan", "rollback", "--nan-factor",
             "0.99999999")  # fmt: skip
    # A factor that is 1 in float32.
    whole = zygote().run(*words, "--run", tmp_path / "whole")
    assert whole.code == 0, whole.err
    done = zygote().run(*words, "--run", tmp_path / "run", SPOILT=str(after))
    assert done.code == 0, done.err
    # The last step of an interval is looked at before its validation, which averages are for.
    assert f"The loss of step {after} is nan" in done.err
    assert "Going back to step" in done.err
    assert_same(ended(tmp_path / "run"), ended(tmp_path / "whole"))


def test_going_back_is_given_up_after_three_times(zygote, shapes, one_is_white, tmp_path):
    run = tmp_path / "run"
    failed = zygote().run(
        "train", shapes, "--run", run, "--recipe", one_is_white[1], *OPTIONS, *DIVERGES,
        "--learning-rate", 1e30, "--nan-factor", 0.5,
    )  # fmt: skip
    assert failed.code == 1, failed.out
    for factor in ("0.5", "0.25", "0.125"):
        assert f"with {factor} times the learning rate." in failed.err
    assert failed.err.count("Going back to step") == 3
    assert "Stopped after going back 3 times." in sentence(failed.err)
    assert "at a learning rate of 1.25e+29" in sentence(failed.err)
