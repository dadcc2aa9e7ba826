"""A training killed at random moments, again and again, ends as one that nobody killed."""

import os
import random
import re
import signal
import time

import pytest
from same_end import NETWORK, assert_same, ended

OPTIONS = (
    "--batch-size", 8, "--image-size", 32, "--deterministic", "--mixup", 0.3, "--ema", 0.9,
    "--accumulate", 2, "--batch-norm-warmup", "--schedule", "plateau", "--patience", 2, "--factor", 0.7,
    "--rollback", "--save-every", "3steps", "--learning-rate", 0.02,
)  # fmt: skip

RECIPE = '''
"""A small network, and a step that takes $PACE seconds more, so that many moments lie within it."""

import os
import time

import keras


def callbacks():
    return [Pace()]


class Pace(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(os.environ.get("PACE", "0")))
'''


def killed_at_random(start, wait, kills, longest, seed):
    """Start a training until so many of its sessions were killed; return the steps they began at.

    Args:
        start: starts a session, the first or a later one; returns its process number.
        wait: for the end of a process.
        kills: how many.
        longest: seconds that a session may live; each lives a random share of them.
        seed: of the moments.
    """
    moments = random.Random(seed)
    begun = []
    for _ in range(kills):
        process = start()
        time.sleep(moments.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        done = wait(process)
        assert done.code == -signal.SIGKILL, (
            f"it was over before it was killed: {done.out}{done.err}"
        )
        found = re.search(r"Going on after step (\d+)", done.out)
        begun.append(int(found[1]) if found else 0)
    return begun


@pytest.mark.parametrize(
    ("backend", "epochs", "kills", "longest"),
    [
        ("tensorflow", 10, 3, 5.0),
        pytest.param("tensorflow", 80, 20, 6.0, marks=pytest.mark.slow),
        pytest.param("jax", 80, 20, 8.0, marks=pytest.mark.slow),
    ],
)
def test_a_training_killed_again_and_again_ends_as_one_never_killed(
    backend, epochs, kills, longest, zygote, shapes, tmp_path
):
    recipe = tmp_path / "network.py"
    recipe.write_text(RECIPE + NETWORK)
    processes = zygote(backend)
    words = (shapes, "--recipe", recipe, "--epochs", epochs, *OPTIONS)
    whole = processes.run("train", *words, "--run", tmp_path / "whole")
    assert whole.code == 0, whole.err

    run = tmp_path / "run"
    resumed = ("train", *words, "--run", run, "--resume")
    begun = killed_at_random(
        lambda: processes.start(*resumed, PACE="0.2"), processes.wait, kills, longest, seed=epochs
    )
    done = processes.run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    # Some moments were after a checkpoint, of many kills: else nothing was tried.
    print(f"killed {kills} times; the sessions began at steps {begun}")
    assert len(set(begun)) > kills // 10
    assert_same(ended(run), ended(tmp_path / "whole"))
