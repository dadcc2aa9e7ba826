"""A training on three hosts: the same as on one, and whatever happens to them, one sentence or an end."""

import csv
import os
import re
import shlex
import shutil
import signal
import sys

import h5py
import hosts_bed
import numpy as np
import pytest
from bed_host import SHARED, SMALL
from slurm_on_hosts import start_requeued
from zygote import until

pytestmark = pytest.mark.slow

RECIPE = """
import os, time
import keras


def build_model(input_shape, targets):
    layers = keras.layers
    pixels = keras.Input(input_shape, dtype="uint8")
    x = layers.Conv2D(4, 3, strides=2, use_bias=False)(layers.Rescaling(1 / 255)(pixels))
    x = layers.Flatten()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(pixels, [layers.Dense(len(task.classes))(x) for task in targets])


class Slow(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(os.environ.get("HORNBEAM_TEST_PAUSE", "0")))


def callbacks():
    return [Slow()]
"""
WORDS = ["train", "shapes", "--recipe", "model.py", "--backend", "jax", "--image-size", "32x32",
         "--batch-size", "12", "--epochs", "6"]  # fmt: skip
HOSTS = ["--hosts", "oak,elm,ash"]
WORKER = r"^\S+ -m hornbeam train"
LONG = 500
"""Seconds that are enough on two cores that others use, too."""

SLOWLY = {"HORNBEAM_TEST_PAUSE": "0.5"}


def furnish(hosts, shapes):
    """Put pictures and recipe on all hosts."""
    for number in range(len(hosts)):
        hosts.put(number, shapes, hosts[number].home / "shapes")
        hosts[number].path(hosts[number].home / "model.py").write_text(RECIPE)
    return hosts


@pytest.fixture
def three(three_hosts, shapes):
    return furnish(three_hosts, shapes)


@pytest.fixture(scope="module")
def undisturbed(shapes, tmp_path_factory):
    """Runs of one host and of three to which nothing happened."""
    if hosts_bed.missing():
        pytest.skip(hosts_bed.missing())
    place = tmp_path_factory.mktemp("undisturbed")
    with hosts_bed.bed(3, environment=CACHE) as hosts:
        furnish(hosts, shapes)
        for name, more in (("one", []), ("three", HOSTS)):
            train(hosts, *WORDS[1:], "--run", name, *more)
            shutil.copytree(hosts[0].path(hosts[0].home / name), place / name)
    return place


# What one process has compiled the others of a bed need not.
CACHE = {
    "JAX_COMPILATION_CACHE_DIR": str(SHARED / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}


def begin(hosts, *words, run="run", **environment):
    """Start a slow training; return when it has saved twice."""
    started = hosts.driver(
        ["hornbeam", *WORDS, "--run", run, *HOSTS, *words], **CACHE, **SLOWLY, **environment
    )
    path = hosts[0].path(hosts[0].home / run)

    def saved():
        assert started.poll() is None, started.out + started.err
        return len([*path.glob("checkpoints/step-*")]) > 1

    until(saved, LONG)
    return started


def workers(hosts, number):
    return hosts.pids(number, WORKER)


def weights(run):
    found = {}

    def keep(name, value):
        if isinstance(value, h5py.Dataset):
            found[name] = value[()]

    with h5py.File(run / "checkpoints/last/model.weights.h5") as file:
        file.visititems(keep)
    return found


def losses(run):
    with (run / "metrics.csv").open() as file:
        return [(int(row["step"]), row["loss"], row["val_loss"]) for row in csv.DictReader(file)]


def assert_same(run, other):
    """The same to the bit."""
    assert losses(run) == losses(other)
    a, b = weights(run), weights(other)
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def assert_near(run, other, tolerance=1e-4):
    for found, expected in zip(losses(run), losses(other), strict=True):
        assert found[0] == expected[0]
        assert [*map(float, found[1:])] == pytest.approx([*map(float, expected[1:])], abs=tolerance)


def train(hosts, *words, **environment):
    """Train to the end."""
    done = hosts.run(0, ["hornbeam", "train", *words], timeout=LONG, **CACHE, **environment)
    assert done.returncode == 0, done.stderr
    return done


def sentence(started):
    """The last line, which says what happened."""
    assert "Traceback" not in started.err, started.err
    return started.err.strip().splitlines()[-1]


def test_three_hosts_train_as_one_does(undisturbed):
    assert_near(undisturbed / "three", undisturbed / "one")
    logs = {path.name for path in (undisturbed / "three/workers").iterdir()}
    assert logs == {"0-oak.log", "1-elm.log", "2-ash.log"}


@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_worker_is_named_and_the_training_comes_to_the_same_end(three, undisturbed, rank):
    started = begin(three)
    (pid,) = workers(three, rank)
    os.kill(pid, signal.SIGKILL)
    assert started.wait(LONG) == 0, started.err
    name = three[rank].name
    assert f"Host {name} (rank {rank}) was killed (SIGKILL" in started.err.replace("host", "Host")
    assert_same(three[0].path(three[0].home / "run"), undisturbed / "three")


def test_when_the_driver_is_killed_no_worker_stays_and_the_run_goes_on_later(three, undisturbed):
    started = begin(three)
    assert all(workers(three, number) for number in range(3))
    started.kill()
    until(lambda: not any(three.pids(number, "hornbeam") for number in range(3)), 60)
    train(three, *HOSTS, "--run", "run", "--resume")
    assert_same(three[0].path(three[0].home / "run"), undisturbed / "three")


def test_sigterm_to_the_driver_saves_everywhere_and_says_how_to_go_on(three, undisturbed):
    started = begin(three)
    started.signal(signal.SIGTERM)
    assert started.wait(LONG) == 143
    told = sentence(started)
    assert re.search(r"Stopped by SIGTERM at step \d+, which is saved", told)
    until(lambda: not any(three.pids(number, "hornbeam") for number in range(3)), 10)
    words = shlex.split(told.partition("To go on: ")[2])
    assert words[:2] == ["hornbeam", "train"]
    train(three, *words[2:])
    assert_same(three[0].path(three[0].home / "run"), undisturbed / "three")


def test_a_host_that_is_cut_off_is_gone_on_without(three, undisturbed):
    started = begin(three, "--min-hosts", "2")
    three.cut(2)
    assert started.wait(LONG) == 0, started.err
    assert "ash" in started.err
    assert "2 of 3 hosts" in started.err
    until(lambda: not three.pids(2, "hornbeam"), 120)  # what is cut off ends by itself
    assert_near(three[0].path(three[0].home / "run"), undisturbed / "three")


def test_a_host_that_is_killed_for_good_is_gone_on_without(three, undisturbed):
    started = begin(three, "--min-hosts", "2")
    three.kill(1)
    assert started.wait(LONG) == 0, started.err
    assert "elm" in started.err
    assert "2 of 3 hosts" in started.err
    assert_near(three[0].path(three[0].home / "run"), undisturbed / "three")


def test_a_host_that_is_killed_for_good_ends_a_training_that_needs_it(three):
    started = begin(three)
    three.kill(1)
    assert started.wait(LONG) == 1
    told = sentence(started)
    assert "elm" in told
    assert "--resume" in told
    until(lambda: not any(three.pids(number, "hornbeam") for number in (0, 2)), 10)


def test_a_full_disk_on_the_head_is_told_and_the_run_goes_on_later(three, undisturbed):
    started = begin(three, run="../small/run")
    three.fill_disk(0)
    assert started.wait(LONG) == 1
    told = sentence(started)
    assert "oak" in told
    assert "No space left" in told or "disk" in told
    three.free_disk(0)
    train(three, *HOSTS, "--run", "../small/run", "--resume")
    assert_same(three[0].path(SMALL / "run"), undisturbed / "three")


def refused(hosts, *words):
    done = hosts.run(0, ["hornbeam", *WORDS, "--run", "run", *HOSTS, *words])
    assert done.returncode == 1
    assert "nothing was started" in done.stderr
    assert not hosts[0].path(hosts[0].home / "run").exists()
    return " ".join((done.stdout + done.stderr).split())


def test_hosts_that_are_not_as_the_first_are_refused_by_name(three):
    victim = next(three[1].path(three[1].home / "shapes").rglob("*.png"), None) or next(
        path for path in three[1].path(three[1].home / "shapes").rglob("*") if path.is_file()
    )
    victim.unlink()
    three.pretend_version(2, "9.9.9")
    told = refused(three)
    assert "2 of 3 hosts are not ready" in told
    assert re.search(r"elm .* is not as here", told)
    assert re.search(r"ash .*another Hornbeam: ", told)


def test_a_host_that_does_not_answer_is_refused_by_name(three):
    three.cut(1)
    assert re.search(r"elm .*cannot be reached: .*(timed out|No route)", refused(three))


def test_a_name_that_means_loopback_is_refused_before_the_start(shapes):
    if hosts_bed.missing():
        pytest.skip(hosts_bed.missing())
    with hosts_bed.bed(3, loopback_names={2}) as hosts:
        furnish(hosts, shapes)
        assert "its own name 'ash' means 127.0.1.1 there" in refused(hosts)


def test_mpirun_starts_the_same_training(three, undisturbed):
    own = {**CACHE, "HORNBEAM_COORDINATOR": f"{three[0].address}:4567"}
    exported = [word for name in [*own, "PYTHONPATH"] for word in ("-x", name)]
    words = ["mpirun", "--host", "oak,elm,ash", "--bind-to", "none", *exported,
             f"{sys.prefix}/bin/python", "-m", "hornbeam", *WORDS, "--run", "run"]  # fmt: skip
    done = three.run(0, words, timeout=LONG, **own)
    assert done.returncode == 0, done.stderr
    assert_same(three[0].path(three[0].home / "run"), undisturbed / "three")


def test_a_job_of_slurm_survives_the_loss_of_a_host(three, undisturbed):
    three.slurm()
    words = [
        "hornbeam",
        "cluster",
        "sbatch",
        *WORDS[1:],
        "--run",
        "/home/shared/run",
        "--nodes",
        "2",
    ]
    done = three.run(0, words, **CACHE, **SLOWLY)
    assert done.returncode == 0, done.stderr
    run = three.shared / "run"
    until(lambda: len([*run.glob("checkpoints/step-*")]) > 1, LONG)
    nodes = three.run(0, ["squeue", "--noheader", "--format=%N"]).stdout
    assert "ash" in nodes
    job = three.run(0, ["squeue", "--noheader", "--format=%A"]).stdout.strip()
    three.kill(2)
    start_requeued(three, job)
    until(lambda: (run / "report.html").exists(), LONG)
    assert_near(run, undisturbed / "three")
