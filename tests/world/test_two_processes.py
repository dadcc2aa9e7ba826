"""Two processes train as one does, whatever happens to them."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from killing import OPTIONS, RECIPE
from safetensors.numpy import load_file
from same_end import NETWORK, assert_same, ended
from together import free_port, run_together, start_together
from zygote import until

TWO_DEVICES = "--xla_force_host_platform_device_count=2"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "killer.py"
    path.write_text(RECIPE + NETWORK)
    return path


@pytest.fixture(scope="module")
def command(shapes, recipe):
    return ("train", shapes, "--recipe", recipe, *OPTIONS)


@pytest.fixture(scope="module")
def on_two_devices(zygote, command, tmp_path_factory):
    """The end of the same training by one process with two devices."""
    run = tmp_path_factory.mktemp("devices") / "run"
    done = zygote("jax").run(*command, "--run", run, XLA_FLAGS=TWO_DEVICES)
    assert done.code == 0, done.err
    assert "divided among 2 devices." in done.out
    return ended(run)


def variables(run):
    return {
        name: value
        for name, value in load_file(run / "checkpoints" / "last" / "training.safetensors").items()
        if name.startswith("model/")
    }


def test_two_processes_end_bit_for_bit_as_two_devices_of_one(
    zygote, command, on_two_devices, tmp_path
):
    first, second = run_together(zygote, *command, "--run", tmp_path / "run")
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert "divided among 2 devices of 2 processes." in first.out
    assert "epoch" not in second.out, "only the first process speaks"
    assert_same(ended(tmp_path / "run"), on_two_devices)


def test_two_processes_are_one_after_five_steps_but_for_rounding(zygote, shapes, recipe, tmp_path):
    command = (
        "train", shapes, "--recipe", recipe, "--steps", 5, "--batch-size", 8, "--image-size", 32,
        "--augment", "light", "--optimizer", "sgd", "--learning-rate", 0.01, "--seed", 3,
    )  # fmt: skip
    alone = zygote("jax").run(*command, "--run", tmp_path / "alone")
    assert alone.code == 0, alone.err
    done = run_together(zygote, *command, "--run", tmp_path / "two")
    assert [each.code for each in done] == [0, 0], done[0].err
    expected, found = variables(tmp_path / "alone"), variables(tmp_path / "two")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        pytest.param(0, "save:12", marks=pytest.mark.slow),
        (1, "step:11"),
        pytest.param(0, "step:5", marks=pytest.mark.slow),
        pytest.param(1, "validation:16", marks=pytest.mark.slow),
    ],
)
def test_a_killed_process_ends_the_others_and_the_resumed_training_is_the_same(
    victim, moment, zygote, command, on_two_devices, tmp_path
):
    run = tmp_path / "run"
    done = run_together(zygote, *command, "--run", run, only={victim: {"KILL": moment}})
    assert done[victim].code == -signal.SIGKILL
    other = done[1 - victim]
    # JAX itself ends a process with SIGABRT where it is first to notice.
    assert other.code in (4, -signal.SIGABRT), other.err
    if other.code == 4:
        assert f"Process {1 - victim} of 2 on host{1 - victim} lost another one" in other.err
    done = run_together(zygote, "train", "--run", run, "--resume")
    assert [each.code for each in done] == [0, 0], done[0].err
    assert_same(ended(run), on_two_devices)


@pytest.mark.parametrize(
    ("asked", "number", "code", "moment"),
    [
        (1, "SIGTERM", 143, "step:5"),
        pytest.param(0, "SIGINT", 130, "step:9", marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_one_process_saves_and_ends_all_at_one_step(
    asked, number, code, moment, zygote, command, on_two_devices, tmp_path
):
    run = tmp_path / "run"
    left = run_together(
        zygote, *command, "--run", run, only={asked: {"KILL": moment, "SIGNAL": number}}
    )
    assert [each.code for each in left] == [code, code], left[0].err
    assert "which is saved" in left[0].err
    assert f"--run {run} --resume" in left[1].err
    state = json.loads((run / "checkpoints" / "last" / "state.json").read_text())
    assert state["step"] >= int(moment.partition(":")[2])
    done = run_together(zygote, "train", "--run", run, "--resume")
    assert [each.code for each in done] == [0, 0], done[0].err
    assert_same(ended(run), on_two_devices)


def test_metrics_count_each_validation_picture_once_whatever_the_sizes(
    zygote, shapes, recipe, tmp_path
):
    # 14 of 72 pictures in batches of 16: 2 of padding, all of them in the second process' part.
    command = (
        "train", shapes, "--recipe", recipe, "--steps", 4, "--batch-size", 16, "--image-size", 32, "--metrics",
        "top_2,macro_f1,auc",
    )  # fmt: skip
    alone = zygote("jax").run(*command, "--run", tmp_path / "alone")
    assert alone.code == 0, alone.err
    done = run_together(zygote, *command, "--run", tmp_path / "two")
    assert [each.code for each in done] == [0, 0], done[0].err
    expected, found = (ended(tmp_path / name)[0][-1] for name in ("alone", "two"))
    judged = [name for name in expected if name.startswith("val_")]
    assert len(judged) > 3
    for name in judged:
        assert float(found[name]) == pytest.approx(float(expected[name]), abs=1e-4), name


UNEVEN = """
import os

import keras


class FewerSteps(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 2 and os.environ["HORNBEAM_RANK"] == "1":
            self.model.stop_training = True


def callbacks():
    return [FewerSteps()]
"""


def test_processes_that_take_unequal_steps_fail_instead_of_waiting_for_ever(
    zygote, shapes, tmp_path
):
    recipe = tmp_path / "uneven.py"
    recipe.write_text(UNEVEN + NETWORK)
    started = start_together(
        zygote, "train", shapes, "--recipe", recipe, "--run", tmp_path / "run", "--image-size", 32,
        "--batch-size", 8, "--epochs", 2, "--no-validation", HORNBEAM_COLLECTIVE_TIMEOUT="3",
    )  # fmt: skip
    ends = [zygote("jax").wait(pid) for pid in started]
    assert all(each.code != 0 for each in ends), ends[0].out
    assert any("lost another one, or waited for it in vain" in each.err for each in ends)


def test_other_pictures_on_a_host_are_refused_by_its_name(zygote, shapes, tmp_path):
    for rank in range(2):
        shutil.copytree(shapes, tmp_path / f"of{rank}" / "shapes")
    extra = next((tmp_path / "of1" / "shapes" / "circle").iterdir())
    extra.rename(extra.with_name("another.png"))
    command = ("train", "shapes", "--steps", 2, "--image-size", 32, "--run", tmp_path / "run")
    ends = run_together(zygote, *command, cwd=[tmp_path / f"of{rank}" for rank in range(2)])
    assert [each.code for each in ends] == [2, 2]
    assert "on host1 (1) differ from those on host0 (0)" in ends[0].err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_batch_that_cannot_be_divided_is_refused_with_sizes_that_can(zygote, shapes, tmp_path):
    ends = run_together(
        zygote, "train", shapes, "--batch-size", 7, "--run", tmp_path / "run", "--image-size", 32
    )
    assert [each.code for each in ends] == [2, 2]
    assert "--batch-size 7 cannot be divided among 2 devices; take 6 or 8" in ends[0].err
    done = zygote("jax").run(
        "train", shapes, "--devices", 3, "--run", tmp_path / "run", XLA_FLAGS=TWO_DEVICES
    )
    assert done.code == 2
    assert "--devices 3: there are 2 here." in done.err


@pytest.mark.slow
def test_a_time_budget_and_validations_by_the_clock_are_the_same_for_all(
    zygote, shapes, recipe, tmp_path
):
    done = run_together(
        zygote, "train", shapes, "--recipe", recipe, "--time", "4s", "--validate-every", "1s", "--save-every", "1s",
        "--batch-size", 8, "--image-size", 32, "--run", tmp_path / "run",
    )  # fmt: skip
    assert [each.code for each in done] == [0, 0], done[0].err + done[1].err


@pytest.mark.slow
def test_a_frozen_backbone_runs_once_and_both_processes_train_on(zygote, shapes, tmp_path):
    first = zygote("jax").run(
        "train", shapes, "--epochs", 1, "--image-size", 32, "--batch-size", 8, "--run",
        tmp_path / "first",
    )  # fmt: skip
    assert first.code == 0, first.err
    weights = tmp_path / "first" / "model.keras"
    command = (
        "train", shapes, "--model", "compact", "--weights", "only-here.keras", "--finetune", "--epochs",
        2, "--image-size", 32, "--batch-size", 8,
    )  # fmt: skip
    folders = [tmp_path / f"of{rank}" for rank in range(2)]
    for folder in folders:
        folder.mkdir()
    weights.rename(folders[0] / "only-here.keras")  # which the first process reads, for both
    alone = zygote("jax").run(
        *command, "--run", tmp_path / "alone", cwd=folders[0], XLA_FLAGS=TWO_DEVICES
    )
    assert alone.code == 0, alone.err
    done = run_together(zygote, *command, "--run", tmp_path / "two", cwd=folders)
    assert [each.code for each in done] == [0, 0], done[0].err + done[1].err
    assert "head" in done[0].out
    for name, value in variables(tmp_path / "alone").items():
        np.testing.assert_array_equal(variables(tmp_path / "two")[name], value, err_msg=name)


def test_who_was_started_as_one_of_several_and_not_told_where_is_told_so(zygote, shapes):
    done = zygote("jax").run("train", shapes, HORNBEAM_WORLD_SIZE="2", HORNBEAM_RANK="0")
    assert done.code == 2
    assert "HORNBEAM_COORDINATOR" in done.err


@pytest.mark.slow
def test_sigusr1_to_one_process_saves_and_all_go_on(zygote, command, tmp_path):
    run = tmp_path / "run"
    pids = start_together(zygote, *command, "--run", run, "--keep", 100)
    until(lambda: (run / "checkpoints" / "last").exists())
    os.kill(pids[1], signal.SIGUSR1)
    ends = [zygote("jax").wait(pid) for pid in pids]
    assert [each.code for each in ends] == [0, 0], ends[0].err
    due = {*range(3, 25, 3), 8, 16, 24}  # every third step, and after each validation
    saved = {int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")}
    assert due <= saved


LEAVES_SLOWLY = """
import os
import sys
import time

from hornbeam.world import world

joined, leave = world.join(), os._exit
if joined.rank == 1:
    def leave_late(code):
        time.sleep(1)
        leave(code)

    os._exit = leave_late
world.end(2)
"""


def test_after_an_error_of_all_the_last_to_leave_is_not_aborted_because_the_first_has_left():
    shared = {
        **os.environ, "KERAS_BACKEND": "jax", "HORNBEAM_WORLD_SIZE": "2",
        "HORNBEAM_COORDINATOR": f"127.0.0.1:{free_port()}",
    }  # fmt: skip
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVES_SLOWLY], env={**shared, "HORNBEAM_RANK": str(rank)}
        )
        for rank in range(2)
    ]
    assert [each.wait(120) for each in both] == [2, 2]
