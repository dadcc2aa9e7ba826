"""The simulation behind docs/cluster.md: against closed forms, and the page against the simulation."""

import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import scaling  # noqa: E402 - it is no package that is installed

EVEN = scaling.Plan(jitter=0.0, latency=0.0)


def test_the_page_shows_what_the_simulation_prints():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling"], cwd=ROOT, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    page = (ROOT / "docs" / "cluster.md").read_text()
    for table in done.stdout.strip().split("\n\n"):
        assert table in page


def test_resnet50_has_as_many_parameters_as_the_literature_says():
    # torchvision and Keras: 25,557,032 that are trained; Keras counts 53,120 moving statistics, too.
    assert scaling.TRAINED == 25_557_032
    assert scaling.PARAMETERS - scaling.TRAINED == 53_120


@pytest.mark.parametrize("workers", [2, 8, 512])
def test_a_ring_sends_what_the_formula_says(workers):
    expected = 2 * (workers - 1) / workers * 25_557_032 * 4
    assert scaling.reduced_bytes(workers, 4) == pytest.approx(expected)
    seconds = scaling.reduce_seconds(EVEN, workers, 25_557_032 * 4)
    assert seconds == pytest.approx(expected / (100e9 / 8 * 0.8))


def test_hops_make_trees_quicker_than_a_ring_of_many():
    slow = scaling.Plan(latency=1e-3)
    few = scaling.reduce_seconds(slow, 2, 1e9)
    assert few == pytest.approx(2 * (0.5e9 / 1e10 + 1e-3))
    many = scaling.reduce_seconds(slow, 1024, 1e6)
    assert many == pytest.approx(2 * 1e6 / 1e10 + 20 * 1e-3)


def test_one_worker_alone_is_what_it_is():
    assert scaling.efficiency(EVEN, 1, 4) == pytest.approx(1)


def test_a_fast_network_leaves_only_the_last_bucket_to_wait_for():
    plan = dataclasses.replace(EVEN, gigabits=400.0)
    count = math.ceil(scaling.TRAINED * 4 / plan.bucket)
    last = scaling.reduce_seconds(plan, 8, scaling.TRAINED * 4 / count)
    assert scaling.step_seconds(plan, 8, 4, 0.05) == pytest.approx(0.05 + last)


def test_a_slow_network_is_all_that_counts():
    plan = dataclasses.replace(EVEN, gigabits=1.0)
    whole = scaling.reduce_seconds(plan, 8, scaling.TRAINED * 4)
    count = math.ceil(scaling.TRAINED * 4 / plan.bucket)
    first_is_ready = 0.05 * (1 - plan.backward) + 0.05 * plan.backward / count
    assert scaling.step_seconds(plan, 8, 4, 0.05) == pytest.approx(first_is_ready + whole)


def test_the_slowest_of_many_is_as_late_as_order_statistics_say():
    # The mean of the largest of 64 standard normal numbers is 2.3744 (Harter 1961).
    plan = scaling.Plan(jitter=0.01, gigabits=1e9, latency=0.0, steps=4000)
    assert 1 / scaling.efficiency(plan, 64, 4) == pytest.approx(1 + 0.01 * 2.3744, abs=5e-4)


def test_more_workers_never_do_better_each():
    shares = [scaling.efficiency(scaling.Plan(), n, 4) for n in (1, 2, 8, 64, 512)]
    assert np.all(np.diff(shares) < 0)


def test_the_same_seed_gives_the_same_table():
    assert scaling.tables() == scaling.tables()


def test_input_and_checkpoints_are_multiplications():
    assert scaling.input_megabytes(scaling.Plan(speed=1000), 8, 110) == pytest.approx(880)
    assert scaling.checkpoint_megabytes(1) == pytest.approx((25_610_152 + 25_557_032) * 4 / 1e6)
