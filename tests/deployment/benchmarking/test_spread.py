"""Medians with intervals, and ties."""

import numpy as np
import pytest

from hornbeam.deployment.benchmarking.spread import Timed, median_interval, slower


def timed(values):
    return Timed(tuple((float(each),) for each in values))


@pytest.mark.parametrize("count", [6, 9, 12, 20])
def test_the_interval_holds_the_median_in_at_least_95_of_100_simulations(count):
    random = np.random.default_rng(count)
    held = 0
    for _ in range(2000):
        low, high = median_interval(random.lognormal(size=count).tolist())
        held += low <= 1.0 <= high  # the median of a lognormal is 1
    assert held >= 0.94 * 2000


def test_with_twelve_rounds_it_is_the_third_from_either_end():
    assert median_interval([float(n) for n in range(12)]) == (2.0, 9.0)
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([5.0]) == (5.0, 5.0)


def test_equal_artifacts_are_told_apart_in_no_more_than_5_of_100_cases():
    random = np.random.default_rng(1)
    told = sum(
        slower(timed(random.lognormal(0, 0.1, 12)), timed(random.lognormal(0, 0.1, 12))) != 0
        for _ in range(1000)
    )
    assert told <= 60


def test_noise_that_hits_both_alike_hides_no_difference():
    noise = np.random.default_rng(2).lognormal(0, 1.0, 12)
    assert slower(timed(1.05 * noise), timed(noise)) == 1
    assert slower(timed(noise), timed(1.05 * noise)) == -1
    assert slower(timed(noise), timed(noise)) == 0


def test_percentiles_are_of_all_calls_and_are_not_told_of_too_few():
    many = Timed(((1.0,) * 60, (2.0,) * 40))
    assert many.calls == 100
    assert many.median == 1.5
    assert many.percentile(90) == 2.0
    assert np.isnan(timed([1.0] * 12).percentile(99))
