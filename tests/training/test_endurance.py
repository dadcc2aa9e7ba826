"""A training's memory does not grow with its steps."""

import pytest

BATCH, SIDE, EVERY, STEPS = 16, 48, 80, 640
ONE_A_STEP = BATCH * SIDE * SIDE * 3 * EVERY / 2**20
"""MiB by which a training grows between two validations if it keeps the pictures of each step."""

RECIPE = '''
"""A tiny network, a note of what is resident, and, with $LEAK, a callback that keeps so many bytes a step."""

import os

import keras
import numpy as np
import psutil


def build_model(input_shape, targets):
    layers = keras.layers
    pixels = keras.Input(input_shape, dtype="uint8")
    x = layers.ReLU()(layers.Conv2D(8, 3, strides=4)(layers.Rescaling(1 / 255)(pixels)))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(pixels, [layers.Dense(len(task.classes))(x) for task in targets])


def callbacks():
    return [Resident()]


class Resident(keras.callbacks.Callback):
    kept = []

    def on_train_batch_end(self, batch, logs=None):
        if os.environ.get("LEAK"):
            self.kept.append(np.ones(int(os.environ["LEAK"]), np.uint8))

    def on_epoch_end(self, epoch, logs=None):
        with open(os.environ["RESIDENT"], "a") as file:
            print(psutil.Process().memory_info().rss / 2**20, file=file)
'''


@pytest.fixture
def growth(zygote, shapes, tmp_path):
    """Train; return MiB by which it grows between two validations, once it is warm."""

    def of(backend, **environment):
        (tmp_path / "network.py").write_text(RECIPE)
        noted = tmp_path / "resident.txt"
        done = zygote(backend).run(
            "train", shapes, "--run", tmp_path / "run", "--recipe", tmp_path / "network.py",
            "--steps", STEPS, "--validate-every", f"{EVERY}steps", "--batch-size", BATCH,
            "--image-size", SIDE, "--precision", "float32", "--save-every", "20steps",
            RESIDENT=str(noted), **environment,
        )  # fmt: skip
        assert done.code == 0, done.err
        resident = [float(line) for line in noted.read_text().split()]
        assert len(resident) == STEPS // EVERY
        warm = resident[len(resident) // 2 - 1 :]
        return (warm[-1] - warm[0]) / (len(warm) - 1)

    return of


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_steps(backend, growth):
    assert growth(backend) < ONE_A_STEP / 4


def test_a_batch_that_were_kept_each_step_would_be_noticed(growth):
    leak = BATCH * SIDE * SIDE * 3
    assert growth("tensorflow", LEAK=str(leak)) > ONE_A_STEP * 3 / 4
