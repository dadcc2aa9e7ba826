"""A training that was killed and goes on ends as one that nobody killed."""

import json
import signal

import pytest
from same_end import NETWORK, assert_same, ended

BATCH, EPOCHS = 8, 3
OPTIONS = (
    "--epochs", EPOCHS, "--batch-size", BATCH, "--image-size", 32, "--deterministic",
    "--mixup", 0.3, "--ema", 0.9, "--accumulate", 2, "--batch-norm-warmup",
    "--schedule", "plateau", "--patience", 1, "--rollback", "--save-every", "3steps",
    "--monitor", "val_loss", "--mode", "max",  # which falls: so it goes back
    "--learning-rate", 0.02,
)  # fmt: skip

RECIPE = '''
"""A small network, and what kills its process at a moment that $KILL names."""

import os
import signal

import keras

WHERE, _, STEP = os.environ.get("KILL", "").partition(":")
NUMBER = getattr(signal, os.environ.get("SIGNAL", "SIGKILL"))


def callbacks():
    return [Killer()]


class Killer(keras.callbacks.Callback):
    step = 0

    def get_state(self):
        return {"step": self.step}

    def set_state(self, state):
        self.step = state["step"]

    def kill(self, where):
        if where == WHERE and self.step == int(STEP):
            if where == "save":
                import safetensors.numpy

                # The checkpoint of this step is then half written.
                safetensors.numpy.save_file = lambda *_: os.kill(os.getpid(), NUMBER)
                return
            os.kill(os.getpid(), NUMBER)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.kill("step")
        self.kill("save")

    def on_test_batch_end(self, batch, logs=None):
        self.kill("validation")
'''


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "killer.py"
    path.write_text(RECIPE + NETWORK)
    return path


@pytest.fixture(scope="session")
def uninterrupted(zygote, shapes, recipe, tmp_path_factory):
    """What a training ends with that nobody kills, by backend."""
    known = {}

    def of(backend):
        if backend not in known:
            run = tmp_path_factory.mktemp("whole") / "run"
            done = zygote(backend).run("train", shapes, "--run", run, "--recipe", recipe, *OPTIONS)
            assert done.code == 0, done.err
            known[backend] = ended(run)
            plateau = known[backend][-1]
            assert plateau["decays"] >= 1, "it has never gone back to the best weights"
        return known[backend]

    return of


PER_EPOCH = 8  # 58 training pictures
MOMENTS = {
    "before the first checkpoint": "step:2",
    "in the first epoch": "step:5",
    "in the middle of a group of batches": "step:11",
    "on the boundary of an epoch": f"step:{PER_EPOCH}",
    "during a save": "save:12",
    "during the save after a validation": f"save:{2 * PER_EPOCH}",
    "during validation": f"validation:{PER_EPOCH * 2}",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_killed_training_ends_as_one_never_killed(
    backend, moment, zygote, shapes, recipe, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    command = ("train", shapes, "--run", run, "--recipe", recipe, *OPTIONS)
    killed = zygote(backend).run(*command, KILL=MOMENTS[moment])
    assert killed.code == -signal.SIGKILL, killed.err
    done = zygote(backend).run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert_same(ended(run), uninterrupted(backend))


@pytest.mark.parametrize(
    ("number", "code", "moment"),
    [("SIGTERM", 143, "step:5"), ("SIGINT", 130, "step:8"), ("SIGTERM", 143, "validation:16")],
)
def test_a_signal_saves_leaves_and_costs_nothing(
    number, code, moment, zygote, shapes, recipe, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    left = zygote().run(
        "train", shapes, "--run", run, "--recipe", recipe, *OPTIONS, KILL=moment, SIGNAL=number
    )
    assert left.code == code, left.err
    step = int(moment.partition(":")[2])
    assert f"at step {step}, which is saved" in left.err
    assert f"hornbeam train --run {run} --resume" in left.err
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())
    assert state["step"] == step
    done = zygote().run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert_same(ended(run), uninterrupted("tensorflow"))
