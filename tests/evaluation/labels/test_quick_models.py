"""The simple models are those of scikit-learn, fitted without the pictures that they judge."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge

from hornbeam.evaluation.labels import quick_models as labels_models
from hornbeam.evaluation.labels.folds import divide, units_of
from hornbeam.evaluation.labels.noise import find_noise
from hornbeam.evaluation.labels.quick_models import (
    Folds,
    Neighbours,
    combined,
    prepare,
    scaled,
    scaled_alone,
    softmax,
)


@pytest.fixture
def pictures():
    """Features, labels and folds of 120 pictures of 3 classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 40)
    inputs = prepare(rng.gamma(1.0, 1.0, (120, 12)).astype(np.float32) + np.eye(3, 12)[labels])
    return inputs, labels, divide(labels[:, None] == np.arange(3), np.arange(120), 4, 0)


def test_discriminants_are_those_of_scikit_learn_fitted_to_the_other_folds(pictures):
    inputs, labels, folds = pictures
    targets = np.eye(3)[labels]
    logits = Folds(inputs, folds, np.ones(120, bool)).discriminants(targets)
    for fold in range(4):
        inside = folds == fold
        model = LinearDiscriminantAnalysis("lsqr", shrinkage=labels_models._SHRINKAGE)
        model.fit(inputs[~inside].astype(np.float64), labels[~inside])
        wanted = model.predict_proba(inputs[inside].astype(np.float64))
        np.testing.assert_allclose(softmax(logits[inside]), wanted, atol=2e-4)


def test_ridges_are_those_of_scikit_learn_fitted_to_the_other_folds(pictures):
    inputs, labels, folds = pictures
    targets = np.eye(3)[labels]
    answers = Folds(inputs, folds, np.ones(120, bool)).ridges(targets)
    for fold in range(4):
        inside = folds == fold
        learnt = inputs[~inside].astype(np.float64)
        strength = labels_models._RIDGE * len(learnt) * learnt.var(axis=0).mean()
        wanted = Ridge(strength).fit(learnt, targets[~inside]).predict(inputs[inside])
        np.testing.assert_allclose(answers[inside], wanted, atol=1e-4)


def test_pictures_without_a_label_are_judged_and_teach_nothing(pictures):
    inputs, labels, folds = pictures
    targets = np.eye(3)[labels]
    missing = np.arange(120) % 5 == 0
    targets[missing] = 0
    answers = Folds(inputs, folds, ~missing).ridges(targets)
    inside = folds == 0
    learnt = inputs[~inside & ~missing].astype(np.float64)
    strength = labels_models._RIDGE * len(learnt) * learnt.var(axis=0).mean()
    model = Ridge(strength).fit(learnt, targets[~inside & ~missing])
    np.testing.assert_allclose(answers[inside], model.predict(inputs[inside]), atol=1e-4)


def test_neighbours_are_the_nearest_by_angle_but_never_of_the_own_unit(pictures, monkeypatch):
    monkeypatch.setattr(labels_models, "_CELLS", 1000)  # several blocks
    inputs, _, _ = pictures
    units = np.arange(120) // 2
    found = Neighbours(inputs, units)
    unit = inputs / np.linalg.norm(inputs, axis=1, keepdims=True)
    for row in (0, 57, 119):
        others = np.flatnonzero(units != units[row])
        nearest = others[np.argsort(-(unit[others] @ unit[row]))[:20]]
        assert set(found.rows[row]) == set(nearest)


def test_shares_of_neighbours_are_probabilities_even_where_none_has_a_label(pictures):
    inputs, labels, _ = pictures
    targets = np.eye(3)[labels]
    targets[:100] = 0
    shares = Neighbours(inputs, np.arange(120)).shares(targets, np.array([0.2, 0.3, 0.5]))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares > 0).all()


def test_scaled_probabilities_have_the_temperature_of_least_cross_entropy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 4))
    labels = np.array([rng.choice(4, p=p) for p in softmax(2.5 * logits)])
    found = scaled(logits, np.eye(4)[labels])
    np.testing.assert_allclose(found, softmax(2.5 * logits), atol=0.05)


def test_probabilities_of_a_class_alone_are_those_of_logistic_regression():
    rng = np.random.default_rng(0)
    answers = rng.normal(0.3, 0.1, (3000, 1))
    marks = rng.random((3000, 1)) < 1 / (1 + np.exp(-(answers - 0.45) * 20))
    wanted = LogisticRegression(C=np.inf).fit(answers, marks[:, 0]).predict_proba(answers)[:, 1]
    np.testing.assert_allclose(scaled_alone(answers, marks.astype(float))[:, 0], wanted, atol=0.005)


def test_opinions_are_combined_as_a_geometric_mean():
    one, two = np.array([[0.9, 0.1]]), np.array([[0.5, 0.5]])
    np.testing.assert_allclose(combined([one, two]), [[0.75, 0.25]], atol=1e-12)


def test_folds_spread_each_class_evenly_and_keep_units_together():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=200)
    units = units_of(rng.integers(150, size=200))
    folds = divide(labels[:, None] == np.arange(4), units, 5, 3)
    assert all(len(set(folds[units == unit])) == 1 for unit in np.unique(units))
    counts = np.array([np.bincount(folds[labels == c], minlength=5) for c in range(4)])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 3
    assert not np.array_equal(folds, divide(labels[:, None] == np.arange(4), units, 5, 4))


def test_pictures_belong_together_through_a_third_one():
    groups = ["a", "a", None, "", "b", None]
    digests = ["1", "2", "2", "3", "4", "5"]
    units = units_of(groups, digests)
    assert units[0] == units[1] == units[2]
    assert len(set(units[[0, 3, 4, 5]])) == 4


def test_a_class_that_is_called_another_is_found_out_and_an_unsure_pair_is_not():
    """Half the model's answers about 0 and 1 are unsure; of class 2, which it knows, a tenth is
    called 3.
    """
    rng = np.random.default_rng(0)
    true = rng.integers(4, size=2000)
    sure = np.full((4, 4), 0.01) + 0.96 * np.eye(4)
    sure[:2, :2] = [[0.6, 0.38], [0.38, 0.6]]
    labels = np.where(true < 2, (rng.random(2000) < sure[true, 1] / 0.98).astype(int), true)
    wrong = (true == 2) & (rng.random(2000) < 0.1)
    labels[wrong] = 3
    posterior = find_noise(sure[true], labels)
    score = 1 - posterior[np.arange(2000), labels]
    assert score[wrong].min() > 0.8
    assert score[~wrong].max() < 0.5


def test_wide_features_keep_their_angles_where_pictures_are_fewer():
    features = np.random.default_rng(0).normal(size=(60, 5000)).astype(np.float32)
    found = prepare(features)
    assert found.shape == (60, 60)
    roots = np.sign(features) * np.sqrt(np.abs(features))
    roots /= np.linalg.norm(roots, axis=1, keepdims=True)
    roots -= roots.mean(axis=0)
    np.testing.assert_allclose(found @ found.T, roots @ roots.T, atol=1e-5)


def test_wide_features_of_more_pictures_are_projected(monkeypatch):
    monkeypatch.setattr(labels_models, "_WIDEST", 40)
    labels = np.arange(300) % 3
    noise = np.random.default_rng(0).normal(size=(300, 100))
    found = prepare((noise + 8 * np.eye(3, 100)[labels]).astype(np.float32))
    assert found.shape == (300, 40)
    folds = divide(labels[:, None] == np.arange(3), np.arange(300), 5, 0)
    answers = Folds(found, folds, np.ones(300, bool)).ridges(np.eye(3)[labels])
    assert (answers.argmax(axis=1) == labels).mean() > 0.8


def test_arrays_stay_float32_and_blocks_of_rows_change_nothing(pictures, monkeypatch):
    inputs, labels, folds = pictures
    targets = np.eye(3, dtype=np.float32)[labels]
    near = Neighbours(inputs, np.arange(120))

    def results():
        logits = Folds(inputs, folds, np.ones(120, bool)).discriminants(targets)
        one, two = scaled(logits, targets), near.shares(targets, np.full(3, 1 / 3))
        return logits, one, two, softmax(logits), combined([one, two])

    whole = results()
    monkeypatch.setattr(labels_models, "_ROWS", 7)
    for one, other in zip(whole, results(), strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_noise_is_that_of_a_twin_in_whole_matrices():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), 500), rng.integers(-1, 4, 500)
    known = labels >= 0
    marks = np.eye(4)[labels[known]]
    prior = probabilities**1.5
    prior /= prior.sum(axis=1, keepdims=True)
    usual = 0.95 * np.eye(4) + 0.05 * marks.mean(axis=0)
    called = usual
    for _ in range(50):
        joint = prior[known] * called[:, labels[known]].T
        joint /= joint.sum(axis=1, keepdims=True)
        seen = joint.T @ marks + 0.3 * known.sum() / 4 * usual
        before, called = called, seen / seen.sum(axis=1, keepdims=True)
        if np.abs(called - before).max() < 1e-5:
            break
    found = find_noise(probabilities, labels)
    np.testing.assert_allclose(found[known], joint, atol=1e-12)
    np.testing.assert_allclose(found[~known], prior[~known], atol=1e-12)
    assert find_noise(probabilities.astype(np.float32), labels).dtype == np.float32
