"""The linear head that L-BFGS finds, beside scikit-learn's and the closed form of its optimum."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from hornbeam.training.linear import _minimize, _unpack, solve_linear_head


def blobs(count, classes=4, features=12, seed=0, spread=1.5):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(classes, features))
    labels = rng.integers(0, classes, count)
    values = centres[labels] + spread * rng.normal(size=(count, features))
    return (5 + 3 * values).astype(np.float32), labels


def one_hot(labels, classes=4):
    return np.eye(classes, dtype=np.float32)[labels]


def test_one_fit_is_scikit_learns_with_the_same_strength_of_l2():
    x, labels = blobs(300)
    inputs = (x - x.mean(0)) / x.std()
    penalty = 0.01
    found = _minimize(
        inputs, one_hot(labels), np.ones(300, np.float32), penalty, np.zeros(13 * 4), False, 1e-12
    )
    kernel, bias = _unpack(found, 12)
    peer = LogisticRegression(C=1 / (penalty * 300), tol=1e-8, max_iter=2000).fit(inputs, labels)
    np.testing.assert_allclose(kernel, peer.coef_.T, atol=2e-3)
    centred = bias - bias.mean()
    np.testing.assert_allclose(centred, peer.intercept_ - peer.intercept_.mean(), atol=2e-3)


def test_the_head_takes_features_as_they_are_not_standardised():
    x, labels = blobs(300)
    xv, yv = blobs(200, seed=1)
    head = solve_linear_head(
        x, one_hot(labels), np.ones(300, np.float32), xv, one_hot(yv), np.ones(200, np.float32)
    )
    logits = xv @ head.kernel + head.bias
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert head.cross_entropy == pytest.approx(-log_p[np.arange(200), yv].mean(), abs=1e-5)
    peer = LogisticRegression(C=1.0, max_iter=2000).fit(x, labels)
    assert (logits.argmax(1) == yv).mean() >= peer.score(xv, yv) - 0.02


def test_noise_gets_a_strong_penalty_and_signal_a_weak_one():
    def penalty(spread):
        x, y = blobs(80, spread=spread)
        xv, yv = blobs(400, seed=1, spread=spread)
        ones = np.ones(400, np.float32)
        return solve_linear_head(x, one_hot(y), ones[:80], xv, one_hot(yv), ones).penalty

    assert penalty(4.0) > 3 * penalty(0.3)


def test_an_example_of_weight_0_counts_nothing():
    x, labels = blobs(200)
    xv, yv = blobs(100, seed=1)
    weights = np.ones(200, np.float32)
    weights[150:] = 0
    wrong = one_hot(labels)
    wrong[150:] = wrong[150:, ::-1] * 0
    judge = (xv, one_hot(yv), np.ones(100, np.float32))
    some = _minimize(
        x[:150] / 9, one_hot(labels[:150]), weights[:150], 0.1, np.zeros(52), False, 1e-12
    )
    masked = _minimize(x / 9, wrong, weights, 0.1, np.zeros(52), False, 1e-12)
    np.testing.assert_allclose(some, masked, atol=2e-3)
    assert np.isfinite(solve_linear_head(x, wrong, weights, *judge).cross_entropy)


def test_each_class_of_a_multi_label_task_is_a_logistic_regression_of_its_own():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    marks = (x[:, :3] + 0.7 * rng.normal(size=(400, 3)) > 0).astype(np.float32)
    penalty = 0.02
    found = _minimize(x, marks, np.ones(400, np.float32), penalty, np.zeros(7 * 3), True, 1e-12)
    kernel, bias = _unpack(found, 6)
    for column in range(3):
        # Ours is the mean over classes: each class has a third of the loss.
        peer = LogisticRegression(C=1 / (3 * penalty * 400), tol=1e-8, max_iter=2000)
        peer.fit(x, marks[:, column])
        np.testing.assert_allclose(kernel[:, column], peer.coef_[0], atol=2e-3)
        np.testing.assert_allclose(bias[column], peer.intercept_[0], atol=2e-3)
