"""Tests of two models on the same pictures hold their level, and intervals their coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from hornbeam.evaluation.comparison.paired import Paired, holm, score_interval, sign_flip


def right(gained, lost, both=40, neither=12):
    """Make right answers of two models with these counts."""
    pairs = [(0, 1)] * gained + [(1, 0)] * lost + [(1, 1)] * both + [(0, 0)] * neither
    first, second = np.array(pairs, bool).T
    return first, second


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (3, 9), (10, 10), (0, 6), (250, 200), (7, 1)])
def test_of_single_pictures_the_test_is_the_binomial_one(gained, lost):
    test = Paired.of(*right(gained, lost)).test
    expected = scipy.stats.binomtest(gained, gained + lost, 0.5).pvalue
    assert test.exact == pytest.approx(expected, rel=1e-9)
    if gained != lost:
        own = scipy.stats.binom.pmf(gained, gained + lost, 0.5)
        assert test.mid_p == pytest.approx(expected - own, rel=1e-9)


def test_published_figures_come_out():
    # Bentur et al. 2009, as in Fagerlund, Lydersen and Laake 2013 and 2014: 1, 1, 7 and 12 children.
    paired = Paired.of(*right(gained=1, lost=7, both=1, neither=12))
    assert paired.test.exact == pytest.approx(0.070, abs=5e-4)
    assert paired.test.mid_p == pytest.approx(0.039, abs=5e-4)
    assert paired.value == pytest.approx(-0.286, abs=5e-4)
    assert paired.interval == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("seed", range(8))
def test_of_groups_the_test_counts_all_assignments_of_signs(seed):
    rng = np.random.default_rng(seed)
    sums = rng.integers(-4, 5, 11) * rng.choice([1, 2])
    all_sums = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=len(sums))]
    observed = abs(sums.sum())
    test = sign_flip(sums)
    assert test.exact == pytest.approx(np.mean(np.array(all_sums) >= observed), abs=1e-12)
    if observed:
        beyond, same = (np.mean(f(np.array(all_sums), observed)) for f in (np.greater, np.equal))
        assert test.mid_p == pytest.approx(beyond + same / 2, abs=1e-12)


def test_many_groups_of_many_sizes_are_tested_at_once():
    rng = np.random.default_rng(0)
    sums = rng.integers(-30, 31, 5000)
    far = abs(sums.sum()) / math.sqrt((sums**2).sum())
    assert sign_flip(sums).exact == pytest.approx(2 * scipy.stats.norm.sf(far), rel=0.02)


def test_the_interval_holds_the_differences_that_the_score_test_does_not_reject():
    low, high = score_interval(30, 12, 200)
    for end in (low, high):
        # Tango's score with the restricted maximum likelihood estimate, found by search.
        losses = np.linspace(1e-6, (1 - abs(end)) / 2 - 1e-6, 400_001)
        gains = losses + end
        possible = (gains > 0) & (gains + losses < 1)
        losses, gains = losses[possible], gains[possible]
        likelihood = 30 * np.log(gains) + 12 * np.log(losses) + 158 * np.log(1 - gains - losses)
        best = likelihood.argmax()
        variance = (gains[best] + losses[best] - end**2) / 200
        assert abs(18 / 200 - end) / math.sqrt(variance) == pytest.approx(1.96, abs=2e-3)


def test_equal_answers_have_an_interval_of_some_width_and_no_difference():
    paired = Paired.of(*right(0, 0, both=80, neither=20))
    assert (paired.value, paired.test.mid_p, paired.needed) == (0, 1, None)
    low, high = paired.interval
    assert low == pytest.approx(-high)
    assert 0.03 < high < 0.04  # about 3 / 100, as where none of 100 pictures shows something


def test_no_pictures_and_one_picture_are_survived():
    nothing = Paired.of(np.zeros(0, bool), np.zeros(0, bool))
    assert math.isnan(nothing.value)
    assert nothing.interval == (-1, 1)
    one = Paired.of(np.array([True]), np.array([False]), np.array([0]))
    low, high = one.interval
    assert low <= -0.99
    assert high > 0.5
    assert one.test.mid_p > 0.05


def draw(rng, pictures, first=0.9, second=0.9, agreement=0.5):
    """Draw right answers of two models that agree more than chance does."""
    common = rng.random(pictures)
    own = rng.random(pictures)
    return common < first, np.where(rng.random(pictures) < agreement, common, own) < second


@pytest.mark.parametrize(("pictures", "accuracy"), [(60, 0.8), (400, 0.9)])
def test_equal_models_are_called_different_in_one_case_of_twenty(pictures, accuracy):
    rng = np.random.default_rng(1)
    tests, held, cases = [], 0, 2000
    for _ in range(cases):
        paired = Paired.of(*draw(rng, pictures, accuracy, accuracy))
        tests.append(paired.test.mid_p < 0.05)
        low, high = paired.interval
        held += low <= 0 <= high
    assert 0.025 < np.mean(tests) < 0.062
    assert 0.935 < held / cases < 0.98


def test_as_many_pictures_as_are_said_to_be_needed_show_the_difference_in_four_cases_of_five():
    rng = np.random.default_rng(2)
    # An observation with just the true shares: 0.86 and 0.90, half of the answers in common.
    first, second = draw(rng, 200_000, 0.86, 0.90)
    observed = Paired.of(first, second)
    assert observed.value == pytest.approx(0.04, abs=3e-3)
    needed = observed.needed
    shown = [Paired.of(*draw(rng, needed, 0.86, 0.90)).test.mid_p < 0.05 for _ in range(1000)]
    assert 0.75 < np.mean(shown) < 0.85


def draw_groups(rng, groups):
    """Draw right answers where each model is good at some groups and bad at others."""
    sizes = 1 + rng.poisson(11, groups)
    group = np.repeat(np.arange(groups), sizes)
    common = rng.normal(0, 1, groups)
    chances = [1 / (1 + np.exp(-1.5 - common - rng.normal(0, 1, groups))) for _ in range(2)]
    return *(rng.random(len(group)) < chance[group] for chance in chances), group


@pytest.mark.parametrize("groups", [12, 60])
def test_pictures_of_a_group_do_not_count_as_single_ones(groups):
    rng = np.random.default_rng(3)
    cases = 800
    rejected, naive, held, naive_held = np.zeros(4)
    for _ in range(cases):
        first, second, group = draw_groups(rng, groups)
        paired, single = Paired.of(first, second, group), Paired.of(first, second)
        rejected += paired.test.mid_p < 0.05
        naive += single.test.mid_p < 0.05
        held += paired.interval[0] <= 0 <= paired.interval[1]
        naive_held += single.interval[0] <= 0 <= single.interval[1]
    assert 0.03 < rejected / cases < 0.07
    assert naive / cases > 0.15
    assert 0.93 < held / cases < 0.98
    assert naive_held / cases < 0.87


def test_groups_of_one_picture_are_single_pictures():
    first, second = right(9, 3)
    single = Paired.of(first, second)
    grouped = Paired.of(first, second, np.arange(len(first)))
    assert grouped.interval == pytest.approx(single.interval, abs=2e-3)
    assert (grouped.test, grouped.units) == (single.test, len(first))


def test_a_picture_that_was_copied_ten_times_tells_what_it_told_once():
    first, second = right(12, 4)
    tenfold = Paired.of(*(np.repeat(r, 10) for r in (first, second)), np.arange(680) // 10)
    single = Paired.of(first, second)
    assert tenfold.value == pytest.approx(single.value)
    assert tenfold.test.exact == pytest.approx(single.test.exact)
    assert tenfold.effect == pytest.approx(10, rel=0.02)
    assert tenfold.interval == pytest.approx(single.interval, abs=5e-3)


def test_holm_steps_down():
    # The example of Holm's method by hand: 4 times the least, 3 times the next, never decreasing.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([0.03]).tolist() == [0.03]
    assert len(holm([])) == 0


def test_of_five_equal_models_one_is_called_different_in_one_case_of_twenty():
    rng = np.random.default_rng(4)
    cases, wrong = 800, 0
    for _ in range(cases):
        base, *others = rng.random((6, 300)) < 0.85
        wrong += holm([Paired.of(base, other).test.mid_p for other in others]).min() < 0.05
    assert wrong / cases < 0.06
