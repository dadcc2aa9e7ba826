"""Classes that are left out are told by what tells them; trials do not flatter."""

import dataclasses
import json
import time

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
import sklearn.decomposition
import sklearn.linear_model
import sklearn.metrics

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.trust import unknown_scores
from hornbeam.evaluation.trust.unknown import Unknown, fit_unknown, rows_to_know
from hornbeam.evaluation.trust.unknown_scores import angle, directions_of, energy
from hornbeam.evaluation.trust.unknown_trial import _axes, _fit_head, try_angle, try_energy

KINDS = Task("kind", tuple("abcdef"))


def clusters(count, seed=0, spread=1.0, apart=3.0, classes=6):
    """Features around a centre for each class, in as many directions, and logits of a linear head."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).normal(size=(classes, 20))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = np.arange(count) % classes
    features = centres[labels] + spread * rng.normal(size=(count, 20))
    logits = features @ centres.T - (centres**2).sum(axis=1) / 2
    return features.astype(np.float32), labels, logits.astype(np.float32)


def predictions(count, seed=0, split="validation", task=KINDS, **options):
    features, labels, logits = clusters(count, seed, **options)
    column = pa.array(labels.astype(np.int32))
    dataset = Dataset.from_columns(
        "/", [f"{split}{i}" for i in range(count)], [split] * count, {task: column}
    )
    return Predictions(dataset, (task,), {task.name: logits}, features)


def test_energy_is_minus_the_logsumexp():
    logits = np.array([[1000.0, 0.0, 0.0], [0.0, 1.0, 2.0]], np.float32)
    expected = -scipy.special.logsumexp(logits, axis=1)
    np.testing.assert_allclose(energy(logits, Task("t", ("a", "b", "c"))), expected, rtol=1e-6)
    marks = energy(logits[1:], Task("t", ("a", "b", "c"), multi_label=True))
    np.testing.assert_allclose(marks, -np.log1p(np.exp(logits[1:])).sum(axis=1), rtol=1e-6)


def test_the_angle_is_to_the_nearest_class_seen_from_the_middle_of_all():
    features = np.array([[2, 0], [4, 0], [0, 3], [0, 5]], np.float32)
    origin, directions = directions_of(features, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(origin, [1.5, 2.0])  # of (3, 0) and (0, 4)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    found = angle(np.array([[9, -8], [0.0, -3.625 + 2]], np.float32), origin, directions)
    assert found[0] == pytest.approx(0, abs=1e-6)  # on the ray to the first class
    cosines = directions @ (np.array([-1.5, -3.625]) / np.hypot(1.5, 3.625))
    assert found[1] == pytest.approx(1 - cosines.max(), abs=1e-6)
    assert np.isfinite(angle(origin[None], origin, directions)).all()


def test_the_head_of_a_trial_is_scikit_learns():
    features, labels, _ = clusters(120)
    ours = _fit_head(features.astype(np.float64), labels)
    theirs = sklearn.linear_model.LogisticRegression(C=1 / (0.01 * 120), tol=1e-8, max_iter=2000)
    theirs.fit(features, labels)
    scores = features @ ours[:-1] + ours[-1]
    np.testing.assert_allclose(
        scipy.special.softmax(scores, axis=1), theirs.predict_proba(features), atol=5e-3
    )


def test_a_trial_is_the_area_of_each_class_that_was_left_out():
    fit, fitted, _ = clusters(120)
    judge, labels, _ = clusters(90, 1)
    trial = try_angle(fit, fitted, judge, labels, KINDS)
    assert list(trial.areas) == list("abcdef")
    for i, name in enumerate("abcdef"):
        scores = angle(judge, *directions_of(fit[fitted != i], fitted[fitted != i]))
        assert trial.areas[name] == pytest.approx(
            sklearn.metrics.roc_auc_score(labels == i, scores)
        )
    low, high = trial.area.interval
    assert 0 <= low < trial.area.value < high <= 1
    assert trial.area.value == pytest.approx(np.mean(list(trial.areas.values())))


@pytest.mark.parametrize("attempt", [try_angle, try_energy])
def test_a_trial_of_noise_says_chance(attempt):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 20)).astype(np.float32)
    labels = np.arange(400) % 6
    trial = attempt(noise[:200], labels[:200], noise[200:], labels[200:], KINDS)
    assert trial.area.value == pytest.approx(0.5, abs=0.07)


def test_classes_in_directions_of_their_own_are_told():
    found = fit_unknown(predictions(240), predictions(120, 1, "train"))
    assert found.kind == "angle"
    assert found.trials[0].area.value > 0.85
    assert found.trials[0].area.value >= found.trials[1].area.value
    assert f"{found.trials[0].area.value:.2f}" in found.sentence
    strangers = np.random.default_rng(3).normal(size=(50, 20)).astype(np.float32) * 3
    stranger = dataclasses.replace(predictions(50), features=strangers)
    assert (found.score(stranger) > found.threshold).mean() > 0.3
    assert (found.score(predictions(500, 9)) > found.threshold).mean() < 0.12


def test_five_of_a_hundred_known_pictures_are_called_unknown():
    validation = predictions(400)
    found = fit_unknown(validation, predictions(120, 1, "train"))
    scores = found.score(validation)
    assert found.called == (scores > found.threshold).mean()
    assert 0.03 <= found.called <= 0.05


def test_without_training_pictures_those_that_judge_are_others_than_those_that_are_known():
    found = fit_unknown(predictions(400))
    assert found.kind == "angle"
    fresh = (found.score(predictions(2000, 5)) > found.threshold).mean()
    assert fresh == pytest.approx(0.05, abs=0.04)


def test_without_features_it_is_the_energy_and_says_that_it_flatters():
    found = fit_unknown(dataclasses.replace(predictions(200), features=None))
    assert found.kind == "energy"
    assert not found.needs_features
    assert found.trials[0].fixed
    assert "The network had been trained on them" in found.sentence


def test_a_network_that_learned_the_classes_is_said_to_flatter():
    both = predictions(200), predictions(120, 1, "train")
    assert "had been trained on them" in fit_unknown(*both, learned=True).sentence
    assert "had been trained on them" not in fit_unknown(*both).sentence


def test_two_classes_cannot_be_tried_and_marks_neither():
    two = Task("kind", ("a", "b"))
    found = fit_unknown(
        predictions(100, task=two, classes=2), predictions(60, 1, "train", two, classes=2)
    )
    assert found.trials == ()
    assert found.sentence.endswith("How well that works was not tried.")
    marks = Task("marks", ("x", "y"), multi_label=True)
    lists = Dataset.from_columns("/", ["a", "b"], ["", ""], {marks: [[0], [0, 1]]})
    told = Predictions(lists, (marks,), {"marks": np.ones((2, 2), np.float32)})
    assert fit_unknown(told).kind == "energy"


@pytest.mark.parametrize("count", [0, 1, 7])
def test_few_pictures_are_survived(count):
    for training in (None, predictions(12, 1, "train"), predictions(0, 1, "train")):
        found = fit_unknown(predictions(count), training)
        kept = Unknown.from_json(json.loads(json.dumps(found.to_json())), found.arrays())
        assert kept.score(predictions(5)).shape == (5,)


def test_it_comes_back_from_files_as_it_was():
    found = fit_unknown(predictions(200), predictions(120, 1, "train"))
    values = json.loads(json.dumps(found.to_json()))
    again = Unknown.from_json(values, found.arrays())
    np.testing.assert_array_equal(again.score(predictions(9)), found.score(predictions(9)))
    assert (again.threshold, again.sentence) == (found.threshold, found.sentence)
    assert again.trials == found.trials


def test_rows_to_know_are_some_of_each_class():
    dataset = predictions(1200).dataset
    rows = rows_to_know(dataset, (KINDS,))
    assert np.bincount(dataset.labels(KINDS)[rows]).tolist() == [50] * 6
    many = Task("kind", tuple(map(str, range(400))))
    labels = pa.array((np.arange(8000) % 400).astype(np.int32))
    dataset = Dataset.from_columns("/", ["x"] * 8000, ["train"] * 8000, {many: labels})
    assert len(rows_to_know(dataset, (many,))) == 2000
    assert len(rows_to_know(dataset, (Task("m", ("a",), multi_label=True),))) == 0


@pytest.mark.parametrize("shape", [(200, 90), (90, 200), (70, 70)])
def test_the_axes_of_a_trial_are_scikit_learns_principal_components(shape):
    away = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1])
    away -= away.mean(axis=0)
    theirs = sklearn.decomposition.PCA(64, svd_solver="full").fit(away).components_
    ours = _axes(away)
    np.testing.assert_allclose(ours.T @ ours, np.eye(64), atol=1e-8)
    np.testing.assert_allclose(np.linalg.norm(theirs @ ours, axis=0), 1, atol=1e-8)


def test_more_features_than_pictures_take_no_time():
    features, labels, _ = clusters(600)
    wide = np.zeros((600, 18_432), np.float32)
    wide[:, ::1000] = features[:, : wide[:, ::1000].shape[1]]
    began = time.process_time()  # of this process, however busy the machine is
    trial = try_energy(wide[:300], labels[:300], wide[300:], labels[300:], KINDS)
    assert time.process_time() - began < 120  # 18,432 x 18,432 took half an hour
    narrow = features[:, : wide[:, ::1000].shape[1]]
    same = try_energy(narrow[:300], labels[:300], narrow[300:], labels[300:], KINDS)
    # The axes without any variance change the scale alone.
    assert trial.area.value == pytest.approx(same.area.value, abs=0.02)


def test_the_angle_of_many_pictures_is_that_of_each(monkeypatch):
    features, labels, _ = clusters(100)
    known = directions_of(features, labels)
    whole = angle(features, *known)
    monkeypatch.setattr(unknown_scores, "_ROWS", 7)
    np.testing.assert_allclose(angle(features, *known), whole, atol=1e-6)
    assert whole.dtype == np.float32
