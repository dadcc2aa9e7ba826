"""Scalings of logits are those of scikit-learn and of float64 twins, and sane where data are poor."""

import numpy as np
import pytest
import scipy.optimize
import scipy.special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from hornbeam.data.tasks import Task
from hornbeam.evaluation.trust.calibration import Scaling, cross_fitted, fit_scaling, folds

KINDS = Task("kind", ("a", "b", "c", "d"))
MARKS = Task("marks", ("x", "y", "z"), multi_label=True)


def pictures(count, factor=2.5, offset=0.0, seed=0, classes=4):
    """Logits that claim too much by `factor`, and labels drawn from what they should have said."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(count, classes)) * 2
    labels = (scipy.special.softmax(honest, axis=1).cumsum(axis=1) < rng.random((count, 1))).sum(
        axis=1
    )
    return (honest * factor + offset).astype(np.float32), labels.clip(0, classes - 1)


def marked(count, factor=2.0, offset=1.0, seed=0):
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(count, 3)) * 2
    return ((honest - offset) * factor).astype(np.float32), scipy.special.expit(
        honest
    ) > rng.random((count, 3))


class Logits(ClassifierMixin, BaseEstimator):
    """A classifier for scikit-learn whose decisions are its inputs."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


def test_temperature_is_scikit_learns():
    logits, labels = pictures(600)
    theirs = CalibratedClassifierCV(
        FrozenEstimator(Logits().fit(logits, labels)), method="temperature"
    )
    theirs.fit(logits.astype(np.float64), labels)
    ours = fit_scaling(logits, labels, KINDS, "temperature")
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    assert ours.scale == (pytest.approx(beta, rel=2e-4),)
    assert ours.temperature == pytest.approx(2.5, rel=0.15)
    expected = theirs.predict_proba(logits.astype(np.float64))
    np.testing.assert_allclose(
        scipy.special.softmax(ours.apply(logits), axis=1), expected, atol=1e-4
    )


def test_platt_per_class_is_logistic_regression_with_its_prior():
    logits, labels = marked(500)
    simple = fit_scaling(logits, labels, MARKS, "temperature")
    both = [simple.scale[0], simple.offset[0]]
    ours = fit_scaling(logits, labels, MARKS, "vector")
    for i in range(3):

        def objective(x, i=i):
            scaled = x[0] * logits[:, i].astype(np.float64) + x[1]
            loss = np.logaddexp(0, np.where(labels[:, i], -scaled, scaled)).sum()
            return loss + ((x - both) ** 2).sum() / 2

        twin = scipy.optimize.minimize(objective, both, method="Nelder-Mead",
                                       options={"xatol": 1e-8, "fatol": 1e-10}).x  # fmt: skip
        assert [ours.scale[i], ours.offset[i]] == pytest.approx(twin, abs=1e-4)


def test_one_offset_for_all_marks_is_plain_logistic_regression():
    logits, labels = marked(400)
    ours = fit_scaling(logits, labels, MARKS, "temperature")
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(logits.reshape(-1, 1), labels.ravel())
    assert ours.scale[0] == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    assert ours.offset[0] == pytest.approx(theirs.intercept_[0], rel=1e-4)
    assert (ours.scale[0], ours.offset[0]) == pytest.approx((0.5, 1.0), rel=0.25)


def test_vector_scaling_is_the_minimum_of_its_objective():
    logits, labels = pictures(
        800, factor=np.array([1.0, 2.0, 3.0, 4.0]), offset=np.array([2, 0, 0, -1])
    )
    simple = fit_scaling(logits, labels, KINDS, "temperature")
    ours = fit_scaling(logits, labels, KINDS, "vector")
    centre = np.array([simple.scale[0]] * 4 + [0.0] * 4)

    def objective(x):
        scaled = logits.astype(np.float64) * x[:4] + x[4:]
        own = scaled[np.arange(800), labels]
        loss = (scipy.special.logsumexp(scaled, axis=1) - own).sum()
        return loss + ((x - centre) ** 2).sum() / 2

    found = np.array(ours.scale + ours.offset)
    twin = scipy.optimize.minimize(objective, centre, method="BFGS", options={"gtol": 1e-6}).x
    np.testing.assert_allclose(found, twin, atol=2e-4)
    assert objective(found) < objective(centre) - 20


def test_auto_takes_a_scaling_for_each_class_only_where_that_gains():
    honest = fit_scaling(*pictures(800), KINDS)
    assert honest.method == "temperature"
    uneven = pictures(800, factor=np.array([1.0, 2.0, 3.0, 4.0]), offset=np.array([2, 0, 0, -1]))
    assert fit_scaling(*uneven, KINDS).method == "vector"
    few = [part[:60] for part in uneven]  # fewer than 20 of a class
    assert fit_scaling(*few, KINDS).method == "temperature"


def test_auto_seldom_takes_it_where_there_is_nothing_to_gain():
    chosen = [fit_scaling(*pictures(300, seed=seed), KINDS).method for seed in range(8)]
    assert chosen.count("vector") <= 1


def test_calibrated_probabilities_hold_what_they_say():
    logits, labels = pictures(4000)
    fitted = fit_scaling(logits[:2000], labels[:2000], KINDS)
    probabilities = scipy.special.softmax(fitted.apply(logits[2000:]), axis=1)
    right = probabilities.argmax(axis=1) == labels[2000:]
    assert probabilities.max(axis=1).mean() == pytest.approx(right.mean(), abs=0.025)
    before = scipy.special.softmax(logits[2000:], axis=1).max(axis=1).mean()
    assert before > right.mean() + 0.1


def test_a_temperature_changes_no_answer():
    logits, labels = pictures(300)
    fitted = fit_scaling(logits, labels, KINDS, "temperature")
    assert fitted.apply(logits).dtype == np.float32
    np.testing.assert_array_equal(fitted.apply(logits).argmax(axis=1), logits.argmax(axis=1))


def test_pictures_without_a_label_do_not_count():
    logits, labels = pictures(300)
    some = np.where(np.arange(300) < 200, labels, -1)
    assert fit_scaling(logits, some, KINDS) == fit_scaling(logits[:200], labels[:200], KINDS)
    logits, labels = pictures(800, factor=np.array([1.0, 2, 3, 4]), offset=np.array([2, 0, 0, -1]))
    some = np.where(np.arange(800) < 700, labels, -1)
    assert fit_scaling(logits, some, KINDS).method == "vector"


@pytest.mark.parametrize("method", ["auto", "temperature", "vector"])
def test_what_tells_nothing_leaves_probabilities_as_they_are_and_says_so(method):
    logits, labels = pictures(200)
    few = fit_scaling(logits[:5], labels[:5], KINDS, method)
    right = fit_scaling(logits, logits.argmax(axis=1), KINDS, method)
    nobody = fit_scaling(logits, np.full(200, -1), KINDS, method)
    alone = fit_scaling(logits[:, :1], np.zeros(200, int), Task("kind", ("a",)), method)
    never = fit_scaling(logits[:, :3], np.zeros((200, 3), bool), MARKS, method)
    for scaling in (few, right, nobody, alone, never):
        assert scaling.is_identity
        assert scaling.note.endswith((".", "1."))
        np.testing.assert_array_equal(scaling.apply(logits), logits)
    assert "5 labelled pictures are too few" in few.note
    assert "answered right" in right.note


def test_confidence_that_says_nothing_is_levelled_and_told():
    logits, _ = pictures(4000)
    labels = (logits.argmax(axis=1) + 1) % 4  # never right
    scaling = fit_scaling(logits, labels, KINDS)
    assert scaling.temperature == pytest.approx(100)
    assert "says nothing" in scaling.note
    assert scipy.special.softmax(scaling.apply(logits), axis=1).max() < 0.3
    np.testing.assert_array_equal(scaling.apply(logits).argmax(axis=1), logits.argmax(axis=1))


def test_one_class_alone_among_the_labels_stays_finite():
    logits, _ = pictures(100)
    for method in ("temperature", "vector"):
        scaling = fit_scaling(logits, np.zeros(100, int), KINDS, method)
        assert np.isfinite(scaling.apply(logits)).all()
        assert np.abs(scaling.offset).max() < 10


def test_huge_logits_do_not_overflow():
    logits, labels = pictures(300)
    scaling = fit_scaling(logits * 1e6, labels, KINDS)
    assert np.isfinite(scaling.apply(logits * 1e6)).all()
    assert scaling.temperature == pytest.approx(100)


def test_it_survives_json():
    import json

    for method in ("temperature", "vector", "none"):
        scaling = fit_scaling(*pictures(300), KINDS, method)
        assert Scaling.from_json(json.loads(json.dumps(scaling.to_json()))) == scaling


def test_folds_keep_groups_whole_and_classes_alike():
    labels = np.repeat([0, 1, 2, 3], 50)
    groups = np.arange(200) // 2
    seen = []
    for fit, rest in folds(labels, KINDS, groups):
        assert not set(groups[fit]) & set(groups[rest])
        assert np.bincount(labels[rest]).tolist() == [10] * 4
        seen += rest.tolist()
    assert sorted(seen) == list(range(200))


def test_cross_fitting_scales_each_picture_by_what_was_fitted_without_it():
    logits, labels = pictures(100)
    found = cross_fitted(logits, labels, KINDS, "temperature")
    for fit, rest in folds(labels, KINDS, np.arange(100)):
        expected = fit_scaling(logits[fit], labels[fit], KINDS, "temperature").apply(logits[rest])
        np.testing.assert_array_equal(found[rest], expected)


def test_pictures_of_a_single_group_are_calibrated_by_a_temperature():
    logits, labels = pictures(600)
    one = np.zeros(600, np.int64)
    found = fit_scaling(logits, labels, KINDS, "auto", one)
    assert found == fit_scaling(logits, labels, KINDS, "temperature")
    scaled = cross_fitted(logits, labels, KINDS, found.method, one)
    np.testing.assert_array_equal(scaled, found.apply(logits))


@pytest.mark.parametrize("method", ["auto", "temperature", "vector"])
def test_pictures_of_no_numbers_do_not_count(method):
    logits, labels = pictures(600)
    damaged, kinds = logits.copy(), np.append(labels, [0, -1, 1])
    damaged = np.concatenate([logits, np.full((3, 4), np.nan, np.float32)])
    damaged[-1] = [np.inf, 0, 0, 0]
    found = fit_scaling(damaged, kinds, KINDS, method)
    clean = fit_scaling(logits, labels, KINDS, method)
    assert found.scale == clean.scale
    assert found.offset == clean.offset
    assert found.note == "2 pictures have logits that are no finite numbers and did not count."
    assert fit_scaling(damaged[:601], kinds[:601], KINDS, method).note.startswith("1 picture has")
    scaled = cross_fitted(damaged, kinds, KINDS, "temperature")
    np.testing.assert_array_equal(scaled[:600], cross_fitted(logits, labels, KINDS, "temperature"))
