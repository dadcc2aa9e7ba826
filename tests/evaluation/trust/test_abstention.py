"""A promised precision is kept as often as promised; what cannot be promised is not."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from hornbeam.data.tasks import Task
from hornbeam.evaluation.scoring.units import Units
from hornbeam.evaluation.trust.abstention import (
    Threshold,
    threshold_for_coverage,
    threshold_for_precision,
)
from hornbeam.evaluation.trust.calibration import fit_scaling

KINDS = Task("kind", tuple("abcdef"))


def pictures(count, seed, groups=1):
    """Logits twice too large, and labels; those of a group have the same of both."""
    rng = np.random.default_rng([seed, count])
    logits = rng.normal(size=(count // groups, 6)) * 4
    sums = scipy.special.softmax(logits, axis=1).cumsum(axis=1)
    labels = (sums < rng.random((len(logits), 1))).sum(axis=1).clip(0, 5)
    return np.repeat(2 * logits, groups, axis=0), np.repeat(labels, groups)


def answers(logits, labels, scaling):
    probabilities = scipy.special.softmax(scaling.apply(logits), axis=1)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


@pytest.mark.parametrize(
    ("count", "level", "groups"), [(100, 0.8, 1), (500, 0.9, 1), (500, 0.95, 1), (600, 0.8, 3)]
)
def test_the_promise_fails_in_at_most_ten_of_a_hundred_cases(count, level, groups):
    everyone = pictures(8_000, 999)
    failed, coverage, cases = 0, [], 100
    for seed in range(cases):
        logits, labels = pictures(count, seed, groups)
        scaling = fit_scaling(logits, labels, KINDS, "temperature")  # on the same pictures
        units = Units(count, np.arange(count) // groups if groups > 1 else None)
        found = threshold_for_precision(*answers(logits, labels, scaling), level, units)
        claims, right = answers(*everyone, scaling)
        sure = found.sure(claims) & (found.probability is not None)
        coverage.append(sure.mean())
        failed += bool(sure.any() and right[sure].mean() < level)
    assert failed <= 0.1 * cases
    order = np.argsort(-answers(*everyone, fit_scaling(*everyone, KINDS, "temperature"))[0])
    right = answers(*everyone, scaling)[1][order]
    possible = (np.cumsum(right) / np.arange(1, len(right) + 1) >= level).mean()
    assert np.mean(coverage) > 0.4 * possible  # and it does not keep silent to be on the safe side


def test_the_number_of_errors_that_is_allowed_is_that_of_the_binomial_test():
    claims, right = np.linspace(1, 0.5, 200), np.ones(200, bool)
    right[[100, 140, 150, 160, 170, 180, 190]] = False
    found = threshold_for_precision(claims, right, 0.95, Units(200))
    sure = found.sure(claims)
    wrong = (~right[sure]).sum()
    assert scipy.stats.binomtest(wrong, sure.sum(), 0.05, "less").pvalue <= 0.1
    more = sure.sum() + 2  # the next step, of 1 %
    assert scipy.stats.binomtest((~right[:more]).sum(), more, 0.05, "less").pvalue > 0.1
    assert (found.coverage.value, found.precision.value) == (sure.mean(), right[sure].mean())
    assert f"{found.probability:.4g}" in found.sentence


def test_what_cannot_be_shown_has_no_threshold_and_a_sentence():
    claims, right = np.linspace(1, 0.5, 20), np.ones(20, bool)
    few = threshold_for_precision(claims, right, 0.95, Units(20))
    assert few.probability is None
    assert few.sentence.endswith("It takes at least 45 right answers without an error to show it.")
    assert 0.95**45 <= 0.1 < 0.95**44
    assert not few.sure(claims).any()
    bad = threshold_for_precision(
        np.linspace(1, 0.5, 400), np.arange(400) % 2 == 0, 0.95, Units(400)
    )
    assert bad.probability is None
    assert bad.sentence == (
        "No threshold gives a precision of 0.95 that 400 pictures could show with 90% confidence."
    )
    nobody = threshold_for_precision(claims[:0], right[:0], 0.95, Units(0))
    certain = threshold_for_precision(claims, right, 1.0, Units(20))
    assert nobody.probability is certain.probability is None


def test_all_right_gives_all_answers():
    claims, right = np.linspace(1, 0.5, 100), np.ones(100, bool)
    assert threshold_for_precision(claims, right, 0.9, Units(100)).probability == 0.5


def test_equal_claims_are_sure_together_or_not_at_all():
    claims = np.repeat([0.9, 0.7, 0.5], 100)
    right = np.repeat([True, False, False], 100)
    found = threshold_for_precision(claims, right, 0.9, Units(300))
    assert found.sure(claims).sum() == 100
    flat = threshold_for_precision(np.full(300, 0.5), right, 0.9, Units(300))
    assert flat.probability is None


@pytest.mark.parametrize("level", [0.01, 0.5, 0.9, 1.0])
def test_a_wanted_coverage_is_had(level):
    claims = np.random.default_rng(0).random(1000)
    found = threshold_for_coverage(claims, claims > 0.5, level, Units(1000))
    assert found.sure(claims).sum() == round(1000 * level)
    assert found.coverage.value == level


def test_float32_claims_reach_their_own_threshold():
    claims = np.random.default_rng(0).random(1000)
    found = threshold_for_coverage(claims, claims > 0.5, 0.3, Units(1000))
    assert found.sure(claims.astype(np.float32)).sum() == 300


def test_it_survives_json():
    import json

    claims = np.linspace(1, 0.5, 100)
    for level in (0.5, 0.99):
        found = threshold_for_precision(claims, claims > 0.6, level, Units(100))
        assert Threshold.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_the_threshold_of_a_single_group_survives_json_which_knows_no_infinity():
    import json

    claims = np.linspace(1, 0.5, 100)
    found = threshold_for_coverage(claims, claims > 0.6, 0.5, Units(100, np.zeros(100, int)))
    assert np.isinf(found.precision.reach)
    text = json.dumps(found.to_json(), allow_nan=False)
    assert Threshold.from_json(json.loads(text)) == found


@pytest.mark.parametrize(
    ("share", "size", "errors", "level"),
    [(0.01, 1000, 0.3, 0.95), (0.015, 60, 0.5, 0.8), (0.05, 20, 0.3, 0.95)],
)
@pytest.mark.parametrize("alike", [True, False])
def test_the_promise_is_kept_where_a_few_large_groups_decide(share, size, errors, level, alike):
    """Single pictures are right; those of a large group are all wrong, or all right."""
    true = 1 - share * size * errors / (share * size + 1 - share)
    assert true < level
    given = 0
    for seed in range(100):
        rng = np.random.default_rng([seed, size])
        large = rng.random(300) < share
        codes = np.repeat(np.arange(300), np.where(large, size, 1))
        wrong = large & (rng.random(300) < errors)
        claims = rng.random(300)[codes] if alike else rng.random(len(codes))
        found = threshold_for_precision(claims, ~wrong[codes], level, Units(len(codes), codes))
        given += found.probability is not None
    assert given <= 10


def test_groups_of_unequal_size_can_still_show_a_precision():
    sizes = np.arange(400) % 5 + 1
    codes = np.repeat(np.arange(400), sizes)
    claims = np.linspace(1, 0.5, len(codes))
    found = threshold_for_precision(claims, claims > 0.52, 0.9, Units(len(codes), codes))
    assert found.coverage.value > 0.9
    # Of equal size each is a witness: 45 without an error show 0.95 (see above), 44 do not.
    for count, shown in ((45, True), (44, False)):
        units = Units(3 * count, np.repeat(np.arange(count), 3))
        right = np.ones(3 * count, bool)
        found = threshold_for_precision(np.full(3 * count, 0.9), right, 0.95, units)
        assert (found.probability is not None) is shown
