"""Calibration errors are those of the definition; their intervals hold; the curve is what one counts."""

import math

import numpy as np
import pytest
import scipy.special

from hornbeam.evaluation.scoring.units import Units
from hornbeam.evaluation.trust.reliability import (
    BINS,
    coverage_curve,
    reliability_of_answers,
    reliability_of_marks,
)


def pictures(count, factor=1.0, seed=0, classes=5):
    """Probabilities of logits that are `factor` times too large, and labels drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)) * 2
    true = scipy.special.softmax(logits, axis=1)
    labels = (true.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1).clip(0, classes - 1)
    return scipy.special.softmax(logits * factor, axis=1).astype(np.float32), labels


def naive_error(claims, right, bins=15):
    """Guo et al. 2017, equations 3 and 5, one bin after the other."""
    error = 0.0
    for i in range(bins):
        inside = (claims > i / bins) & (claims <= (i + 1) / bins)
        if inside.any():
            error += inside.sum() / len(claims) * abs(right[inside].mean() - claims[inside].mean())
    return error


def test_the_error_is_that_of_the_definition():
    probabilities, labels = pictures(700, 1.8)
    found = reliability_of_answers(probabilities, labels, Units(700))
    claims = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    assert found.error == pytest.approx(naive_error(claims, right), abs=1e-6)
    each = [naive_error(probabilities[:, i].astype(float), labels == i) for i in range(5)]
    assert found.of_classes == pytest.approx(np.mean(each), abs=1e-6)
    parts = np.array_split(np.argsort(claims, kind="stable"), 15)
    even = sum(len(p) / 700 * abs(right[p].mean() - claims[p].mean()) for p in parts)
    assert found.even_error == pytest.approx(even)
    assert found.accuracy.value == right.mean()
    assert found.gap.value == pytest.approx(claims.mean() - right.mean())


def test_the_bins_hold_each_answer_once():
    probabilities, labels = pictures(700, 1.8)
    probabilities[:3] = np.eye(5)[:3]  # exactly 1
    found = reliability_of_answers(probabilities, labels, Units(700))
    assert len(found.bins) == BINS
    assert sum(b.right.trials for b in found.bins) == 700
    last = found.bins[-1]
    claims = probabilities.max(axis=1)
    inside = claims > 14 / 15
    assert last.right.trials == inside.sum()
    assert last.claimed == pytest.approx(claims[inside].mean())
    assert last.right.successes == (probabilities.argmax(axis=1) == labels)[inside].sum()
    empty = found.bins[0]  # no largest of five probabilities is below a fifteenth
    assert (empty.right.trials, empty.right.interval) == (0, (0.0, 1.0))
    assert math.isnan(empty.claimed)


def truth(factor):
    claims, labels = pictures(400_000, factor, seed=99)
    return naive_error(
        claims.max(axis=1).astype(np.float64), claims.argmax(axis=1) == labels
    )  # fmt: skip


@pytest.mark.parametrize(("count", "factor"), [(100, 1.0), (500, 1.0), (500, 1.3), (800, 1.6)])
def test_the_interval_of_the_error_holds(count, factor):
    true = truth(factor) if factor > 1 else 0.0
    held, middle, plain = 0, [], []
    for seed in range(100):
        found = reliability_of_answers(*pictures(count, factor, seed + 1), Units(count))
        low, high = found.corrected.interval
        held += low <= true <= high
        middle.append(found.corrected.value)
        plain.append(found.error)
    assert held >= 88  # of 95 expected
    assert np.mean(middle) == pytest.approx(true, abs=0.6 * abs(np.mean(plain) - true) + 0.005)


def test_the_interval_of_the_gap_holds():
    claims, labels = pictures(400_000, 1.5, seed=99)
    true = claims.max(axis=1).mean(dtype=float) - (claims.argmax(axis=1) == labels).mean()
    held = 0
    for seed in range(100):
        low, high = reliability_of_answers(*pictures(200, 1.5, seed + 1), Units(200)).gap.interval
        held += low <= true <= high
    assert held >= 88


def test_pictures_of_one_group_widen_the_intervals():
    probabilities, labels = pictures(100, 1.5)
    alone = reliability_of_answers(probabilities, labels, Units(100))
    copies = [np.repeat(a, 9, axis=0) for a in (probabilities, labels)]
    grouped = reliability_of_answers(*copies, Units(900, np.repeat(np.arange(100), 9)))
    careless = reliability_of_answers(*copies, Units(900))
    width = {}
    for name, found in (("alone", alone), ("grouped", grouped), ("careless", careless)):
        width[name] = np.diff(found.gap.interval)[0]
        assert found.error == pytest.approx(alone.error, abs=1e-6)
    assert width["grouped"] == pytest.approx(width["alone"], rel=0.1)
    assert width["careless"] < 0.5 * width["alone"]
    bins = [found.bins[-1].right.interval for found in (alone, grouped, careless)]
    assert np.diff(bins[1])[0] > 1.8 * np.diff(bins[2])[0]


def test_marks_are_judged_one_by_one():
    rng = np.random.default_rng(0)
    honest = rng.random((400, 3))
    there = honest > rng.random((400, 3))
    found = reliability_of_marks(honest.astype(np.float32), there, Units(400))
    assert found.error == pytest.approx(naive_error(honest.ravel(), there.ravel()), abs=1e-5)
    assert found.accuracy.value == there.mean()
    assert sum(b.right.trials for b in found.bins) == 1200
    assert found.corrected.interval[0] == 0
    assert found.curve is None


def test_the_curve_counts_the_surest_answers():
    claims = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    right = np.array([True, True, False, True, False])
    curve = coverage_curve(claims, right, Units(5))
    assert curve.coverage == (0.2, 0.6, 0.8, 1.0)
    assert curve.accuracy == pytest.approx((1.0, 2 / 3, 0.75, 0.6))
    assert curve.threshold == (0.9, 0.8, 0.7, 0.6)
    # Of the two equal claims either may come first.
    orders = [[1, 1, 0, 1, 0], [1, 0, 1, 1, 0]]
    areas = [np.mean(1 - np.cumsum(order) / np.arange(1, 6)) for order in orders]
    assert curve.risk_area.value == pytest.approx(np.mean(areas))
    low, high = curve.risk_area.interval
    assert low <= curve.risk_area.value <= high


def test_a_long_curve_has_200_points_from_the_surest_to_all():
    probabilities, labels = pictures(3000)
    curve = reliability_of_answers(probabilities, labels, Units(3000)).curve
    assert len(curve.coverage) == 200
    assert curve.coverage[0] == pytest.approx(1 / 3000)
    assert curve.coverage[-1] == 1
    assert list(curve.coverage) == sorted(curve.coverage)
    assert curve.accuracy[-1] == (probabilities.argmax(axis=1) == labels).mean()
    for low, value, high in zip(curve.low, curve.accuracy, curve.high, strict=True):
        assert low - 1e-9 <= value <= high + 1e-9


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_are_survived(count):
    probabilities, labels = pictures(5)
    found = reliability_of_answers(probabilities[:count], labels[:count], Units(count))
    assert found.accuracy.trials == count
    marks = reliability_of_marks(probabilities[:count], probabilities[:count] > 0.5, Units(count))
    assert marks.accuracy.trials == 5 * count
