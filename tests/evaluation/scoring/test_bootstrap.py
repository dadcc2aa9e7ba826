"""Pictures are drawn anew as they should be: by whole groups, the same each time."""

import numpy as np
import pytest
from scipy import stats

from hornbeam.evaluation.scoring.bootstrap import Resampling


def test_each_picture_counts_once_on_average_and_all_keep_their_number():
    weights = Resampling(50, draws=4000).weights(0, 4000)
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(weights.sum(axis=1), 50, rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 10, 200])
def test_the_spread_of_a_mean_is_its_standard_error_also_of_few(count):
    values = np.random.default_rng(0).normal(size=count)
    drawn = Resampling(count, draws=8000).values(lambda weights: weights @ values / count)
    assert drawn.std() == pytest.approx(values.std(ddof=1) / np.sqrt(count), rel=0.04)


def test_pictures_of_a_group_are_drawn_together():
    groups = np.array(["a", "b", "a", "c", "b", "d"])
    weights = Resampling(6, units=groups).weights(0, 1000)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    assert not np.array_equal(weights[:, 0], weights[:, 1])


def test_the_spread_by_groups_is_that_of_their_means():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 5)
    values = rng.normal(size=30)[groups]
    drawn = Resampling(150, units=groups, draws=8000).values(lambda w: w @ values / w.sum(axis=1))
    assert drawn.std() == pytest.approx(stats.sem(values[::5]), rel=0.04)


def test_any_draw_can_be_had_alone_and_is_the_same_each_time():
    resampling = Resampling(20_000, draws=500)
    assert resampling.block < 250  # so that several are asked for
    every = resampling.weights(0, 500)
    np.testing.assert_array_equal(resampling.weights(100, 350), every[100:350])
    again = Resampling(20_000, draws=500).weights(499, 500)
    np.testing.assert_array_equal(again, every[499:])
    other = Resampling(20_000, draws=500, seed=1).weights(499, 500)
    assert not np.array_equal(other, again)


def test_an_interval_of_several_numbers_has_their_shape():
    values = np.random.default_rng(0).normal(size=(400, 2, 3))
    resampling = Resampling(400)
    low, high = resampling.interval(lambda w: np.einsum("dp,pij->dij", w, values) / 400)
    error = 1.96 * values.std(axis=0) / 20
    np.testing.assert_allclose(low, values.mean(axis=0) - error, atol=0.02)
    np.testing.assert_allclose(high, values.mean(axis=0) + error, atol=0.02)


def test_of_few_units_the_interval_is_as_long_as_students():
    values = np.random.default_rng(0).normal(size=6)
    low, high = Resampling(6, draws=20_000).interval(lambda weights: weights @ values / 6)
    expected = 2 * stats.t.ppf(0.975, 5) * stats.sem(values)
    assert 0.75 * expected < high - low < 1.1 * expected
    assert high - low > 1.15 * 2 * 1.96 * stats.sem(values)


def test_draws_without_a_number_do_not_count():
    resampling = Resampling(50)
    values = np.random.default_rng(0).normal(size=(1000, 2))
    values[::3, 0] = np.nan
    low, high = resampling.quantiles(values)
    numbers = values[~np.isnan(values[:, 0]), 0]
    assert np.quantile(numbers, 0.01) < low[0] < np.quantile(numbers, 0.03)
    assert np.isnan(resampling.quantiles(np.full((1000, 1), np.nan))).all()
    assert high[0] > low[0]


@pytest.mark.parametrize("pictures", [0, 1])
def test_nothing_is_known_of_fewer_than_two(pictures):
    low, high = Resampling(pictures).interval(lambda weights: weights.sum(axis=1))
    assert np.isnan([low, high]).all()
    low, high = Resampling(3, units=["a"] * 3).interval(lambda weights: weights.sum(axis=1))
    assert np.isnan([low, high]).all()
