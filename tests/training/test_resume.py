"""A training that was killed and goes on ends as one that nobody killed."""

import json
import signal

import pytest
from killing import OPTIONS, RECIPE
from same_end import NETWORK, assert_same, ended


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
ON_JAX = ("during a save", "during validation")
"""Those that are tried on JAX each time; all others with the slow tests."""


@pytest.mark.parametrize(
    ("backend", "moment"),
    [("tensorflow", moment) for moment in MOMENTS]
    + [
        pytest.param("jax", moment, marks=[] if moment in ON_JAX else pytest.mark.slow)
        for moment in MOMENTS
    ],
)
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


def test_a_validation_that_is_stopped_twice_keeps_what_training_said_before_it(
    zygote, shapes, recipe, uninterrupted, tmp_path
):
    run = tmp_path / "run"
    stops = {"KILL": f"validation:{PER_EPOCH * 2}", "SIGNAL": "SIGTERM"}
    command = ("train", shapes, "--run", run, "--recipe", recipe, *OPTIONS)
    for words in (command, ("train", "--run", run, "--resume")):
        left = zygote().run(*words, **stops)
        assert left.code == 143, left.err
    done = zygote().run("train", "--run", run, "--resume")
    assert done.code == 0, done.err
    assert_same(ended(run), uninterrupted("tensorflow"))
