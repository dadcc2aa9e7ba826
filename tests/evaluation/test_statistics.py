"""Numbers agree with scikit-learn and with closed forms."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from hornbeam.data.dataset import Dataset, Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.statistics import Share, score

TASK = Task("label", ("a", "b", "c", "never"))


@pytest.fixture
def predictions(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    logits = rng.normal(0, 1, (90, 4)).astype(np.float32)
    logits[np.arange(90), labels] += 1.2
    dataset = Dataset.from_columns(
        tmp_path, [f"{i}.jpg" for i in range(90)], ["test"] * 90, {TASK: labels}
    )
    return Predictions(dataset, (TASK,), {"label": logits})


def test_scores_agree_with_scikit_learn(predictions):
    labels, answers = predictions.dataset.labels(TASK), predictions.predicted(TASK)
    scores = score(predictions, TASK)
    np.testing.assert_allclose(scores.accuracy.value, metrics.accuracy_score(labels, answers))
    expected = metrics.confusion_matrix(labels, answers, labels=range(4))
    np.testing.assert_array_equal(scores.confusion, expected)
    precision, recall, f1, count = metrics.precision_recall_fscore_support(
        labels, answers, labels=range(4), zero_division=0
    )
    for i, found in enumerate(scores.classes):
        assert found.recall.trials == count[i]
        np.testing.assert_allclose(np.nan_to_num(found.recall.value), recall[i])
        np.testing.assert_allclose(np.nan_to_num(found.precision.value), precision[i])
        np.testing.assert_allclose(np.nan_to_num(found.f1), f1[i])
    loss = metrics.log_loss(labels, predictions.probabilities(TASK), labels=range(4))
    np.testing.assert_allclose(scores.cross_entropy, loss, rtol=1e-5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (7, 10), (450, 500), (1, 1)])
def test_intervals_are_wilsons(successes, trials):
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(Share(successes, trials).interval, expected, atol=1e-9)


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98])
def test_intervals_hold_the_truth_in_95_of_100_cases(truth):
    successes = np.random.default_rng(0).binomial(100, truth, 4000)
    intervals = [Share(int(s), 100).interval for s in successes]
    covered = np.mean([low <= truth <= high for low, high in intervals])
    assert 0.93 <= covered <= 0.98


def test_nothing_is_known_of_a_class_without_pictures(predictions):
    never = score(predictions, TASK).classes[3]
    assert str(never.recall) == "–"
    assert never.recall.interval == (0, 1)


def test_probabilities_of_huge_logits_are_numbers(predictions):
    logits = predictions.logits["label"] * 1e4
    huge = Predictions(predictions.dataset, (TASK,), {"label": logits})
    np.testing.assert_allclose(huge.probabilities(TASK).sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(score(huge, TASK).cross_entropy)


def test_the_best_classes_come_in_order(predictions):
    best = predictions.best(TASK, 2)
    np.testing.assert_array_equal(best[:, 0], predictions.predicted(TASK))
    top2 = metrics.top_k_accuracy_score(
        predictions.dataset.labels(TASK), predictions.logits["label"], k=2, labels=range(4)
    )
    hit = (best == predictions.dataset.labels(TASK)[:, None]).any(axis=1).mean()
    np.testing.assert_allclose(hit, top2)
