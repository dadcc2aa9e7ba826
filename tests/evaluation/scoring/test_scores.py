"""Numbers agree with scikit-learn and with closed forms."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import special, stats
from sklearn import metrics

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.comparison.compare import compare_all
from hornbeam.evaluation.comparison.compare_words import difference_in_words
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scores_file import write_scores
from hornbeam.evaluation.scoring.bootstrap import Resampling
from hornbeam.evaluation.scoring.grouped import groupings_for
from hornbeam.evaluation.scoring.scores import score, score_all
from hornbeam.evaluation.scoring.shares import Share

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
        np.testing.assert_allclose(np.nan_to_num(found.f1.value), f1[i])
    loss = metrics.log_loss(labels, predictions.probabilities(TASK), labels=range(4))
    np.testing.assert_allclose(scores.cross_entropy.value, loss, rtol=1e-5)


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
    assert np.isfinite(score(huge, TASK).cross_entropy.value)


def test_brier_scores_are_mean_squared_distances(predictions, marks):
    labels, shares = predictions.dataset.labels(TASK), predictions.probabilities(TASK)
    found = score(predictions, TASK).brier_score
    expected = ((shares - np.eye(4)[labels]) ** 2).sum(axis=1)
    assert found.value == pytest.approx(expected.mean(), rel=1e-6)
    error = expected.std(ddof=1) / np.sqrt(90)
    assert found.interval == pytest.approx(
        (found.value - 1.99 * error, found.value + 1.99 * error), abs=0.2 * error
    )
    several, task, truth = marks
    expected = [
        metrics.brier_score_loss(truth[:, i], several.probabilities(task)[:, i], pos_label=True)
        for i in range(2)
    ]
    own = np.square(several.probabilities(task) - truth).mean(axis=0)
    assert own[:2] == pytest.approx(expected, rel=1e-5)
    assert score(several, task).brier_score.value == pytest.approx(own.mean(), rel=1e-6)


def test_scores_are_those_of_calibrated_answers(predictions):
    class Halved:
        def apply(self, logits):
            return logits / 2

    scaled = dataclasses.replace(predictions, scalings={"label": Halved()})
    halves = Predictions(predictions.dataset, (TASK,), {"label": predictions.logits["label"] / 2})
    groupings = groupings_for((TASK,), {"letters": ["a", "b"]})
    (found,), (expected,) = (score_all(p, (), groupings) for p in (scaled, halves))
    assert found.cross_entropy == expected.cross_entropy
    assert found.groups.cross_entropy == expected.groups.cross_entropy
    assert found.cross_entropy != score(predictions, TASK).cross_entropy


def test_the_best_classes_come_in_order(predictions):
    best = predictions.best(TASK, 2)
    np.testing.assert_array_equal(best[:, 0], predictions.predicted(TASK))
    top2 = metrics.top_k_accuracy_score(
        predictions.dataset.labels(TASK), predictions.logits["label"], k=2, labels=range(4)
    )
    hit = (best == predictions.dataset.labels(TASK)[:, None]).any(axis=1).mean()
    np.testing.assert_allclose(hit, top2)


def test_the_first_few_answers_are_scikit_learns(predictions):
    scores = score(predictions, TASK, tops=(2, 3, 4))
    labels, logits = predictions.dataset.labels(TASK), predictions.logits["label"]
    assert "top_4" not in scores.measures  # there are no more classes
    for k in (2, 3):
        expected = metrics.top_k_accuracy_score(labels, logits, k=k, labels=range(4))
        assert scores.measures[f"top_{k}"].value == pytest.approx(expected)


def test_of_equal_logits_the_first_is_the_answer(predictions):
    equal = Predictions(predictions.dataset, (TASK,), {"label": np.zeros((90, 4), np.float32)})
    scores = score(equal, TASK, tops=(2,))
    labels = predictions.dataset.labels(TASK)
    assert scores.accuracy.successes == (labels == 0).sum()
    assert scores.measures["top_2"].successes == (labels <= 1).sum()


def test_areas_of_classes_and_their_means_are_scikit_learns(predictions):
    labels = predictions.dataset.labels(TASK)
    order = special.softmax(predictions.logits["label"].astype(float), axis=1)
    scores = score(predictions, TASK)
    areas = [metrics.roc_auc_score(labels == i, order[:, i]) for i in range(3)]
    precisions = [metrics.average_precision_score(labels == i, order[:, i]) for i in range(3)]
    for found, area, precision in zip(scores.classes, areas, precisions, strict=False):
        assert found.ranking.auc.value == pytest.approx(area, abs=1e-9)
        assert found.ranking.average_precision.value == pytest.approx(precision, abs=1e-9)
    never = scores.classes[3].ranking
    assert np.isnan(
        [never.auc.value, never.average_precision.value, never.sensitivities[0.9].value]
    ).all()
    assert scores.measures["auc"].value == pytest.approx(np.mean(areas), abs=1e-9)
    assert scores.measures["average_precision"].value == pytest.approx(
        np.mean(precisions), abs=1e-9
    )


@pytest.fixture
def marks(tmp_path):
    """Predictions of a task of several labels; one class is always there, one never."""
    task = Task("marks", ("round", "flat", "always", "never"), multi_label=True)
    rng = np.random.default_rng(0)
    truth = rng.random((80, 4)) < [0.3, 0.5, 2, 0]
    lists = [np.flatnonzero(row).tolist() for row in truth]
    dataset = Dataset.from_columns(
        tmp_path, [f"{i}.jpg" for i in range(80)], ["test"] * 80, {task: lists}
    )
    logits = (rng.normal(size=(80, 4)) + truth).astype(np.float32)
    return Predictions(dataset, (task,), {"marks": logits}), task, truth


def test_scores_of_several_labels_agree_with_scikit_learn(marks):
    predictions, task, truth = marks
    scores, answers = score(predictions, task), predictions.predicted(task)
    assert scores.accuracy.value == pytest.approx(metrics.accuracy_score(truth, answers))
    options = {"labels": range(3), "average": "macro", "zero_division": 0}
    for kind in ("precision", "recall", "f1"):
        expected = getattr(metrics, f"{kind}_score")(truth, answers, **options)
        assert scores.measures[f"macro_{kind}"].value == pytest.approx(expected)
    logits = predictions.logits["marks"]
    expected = metrics.roc_auc_score(truth[:, :2], logits[:, :2], average="macro")
    assert scores.measures["auc"].value == pytest.approx(expected)
    expected = metrics.average_precision_score(truth[:, :3], logits[:, :3], average="macro")
    assert scores.measures["average_precision"].value == pytest.approx(expected)
    assert "top_3" not in scores.measures


def test_groups_are_judged_by_the_sums_of_their_probabilities(predictions):
    groupings = groupings_for((TASK,), {"letters": ["a", "b"]})
    (scores,) = score_all(predictions, ("top_2", "sensitivity_at_specificity=0.7"), groupings)
    assert {"top_2", "top_3", "sensitivity_at_specificity=0.7"} <= set(scores.measures)
    shares = special.softmax(predictions.logits["label"].astype(float), axis=1)
    sums = np.stack([shares[:, :2].sum(axis=1), shares[:, 2], shares[:, 3]], axis=1)
    truth = np.array([0, 0, 1, 2])[predictions.dataset.labels(TASK)]
    groups = scores.groups
    assert groups.task.classes == ("letters", "c", "never")
    assert groups.accuracy.value == pytest.approx((sums.argmax(axis=1) == truth).mean())
    assert groups.cross_entropy.value == pytest.approx(
        metrics.log_loss(truth, sums, labels=range(3)), rel=1e-5
    )
    np.testing.assert_array_equal(
        groups.confusion, metrics.confusion_matrix(truth, sums.argmax(axis=1), labels=range(3))
    )
    expected = metrics.roc_auc_score(truth == 0, sums[:, 0])
    assert groups.classes[0].ranking.auc.value == pytest.approx(expected, abs=1e-6)


def test_pictures_without_the_label_count_in_no_score(predictions):
    half = np.arange(90) % 2 == 0
    labels = pa.array(predictions.dataset.labels(TASK), pa.int32(), mask=~half)
    missing = dataclasses.replace(
        predictions, dataset=predictions.dataset.with_column("label", labels)
    )
    kept = Predictions(
        predictions.dataset.take(np.flatnonzero(half)),
        (TASK,),
        {"label": predictions.logits["label"][half]},
    )
    groupings = groupings_for((TASK,), {"letters": ["a", "b"]})
    (found,), (expected,) = (score_all(p, (), groupings) for p in (missing, kept))
    assert found.measures.keys() == expected.measures.keys()
    for name, estimate in expected.measures.items():
        assert found.measures[name].value == estimate.value
    assert found.groups.accuracy == expected.groups.accuracy
    np.testing.assert_array_equal(found.groups.confusion, expected.groups.confusion)


def test_no_picture_with_a_label_gives_no_number_and_no_warning(predictions, tmp_path):
    labels = pa.nulls(90, pa.int32())
    empty = dataclasses.replace(
        predictions, dataset=predictions.dataset.with_column("label", labels)
    )
    (scores,) = score_all(empty, (), groupings_for((TASK,), {"letters": ["a", "b"]}))
    assert all(np.isnan(estimate.value) for estimate in scores.measures.values())
    write_scores(tmp_path / "scores.json", empty, [scores])
    written = json.loads((tmp_path / "scores.json").read_text())["tasks"]["label"]
    assert written["metrics"]["macro_f1"] == {"value": None, "low": None, "high": None}


def test_the_file_of_scores_says_what_the_scores_say(predictions, tmp_path):
    (scores,) = score_all(predictions, (), groupings_for((TASK,), {"letters": ["a", "b"]}))
    write_scores(tmp_path / "scores.json", predictions, [scores])
    text = (tmp_path / "scores.json").read_text()
    assert "NaN" not in text
    written = json.loads(text)
    assert (written["pictures"], written["splits"]) == (90, ["test"])
    task = written["tasks"]["label"]
    low, high = scores.accuracy.interval
    assert task["metrics"]["accuracy"] == {
        "value": pytest.approx(scores.accuracy.value), "low": pytest.approx(low),
        "high": pytest.approx(high), "successes": scores.accuracy.successes, "trials": 90,
    }  # fmt: skip
    for name, estimate in scores.measures.items():
        assert task["metrics"][name]["value"] == pytest.approx(estimate.value)
    assert task["units"] == {"count": 90, "kind": "pictures"}
    assert task["advice"] == scores.advice
    for name, estimate in (("f1", scores.classes[0].f1), ("auc", scores.classes[0].ranking.auc)):
        assert task["classes"]["a"][name] == {
            "value": pytest.approx(estimate.value), "low": pytest.approx(estimate.interval[0]),
            "high": pytest.approx(estimate.interval[1]),
        }  # fmt: skip
    area = scores.classes[1].ranking.auc
    assert task["classes"]["b"]["auc"]["low"] == pytest.approx(area.interval[0])
    assert task["classes"]["never"]["recall"]["value"] is None
    cells = {(i, j): n for i, row in task["confusion"].items() for j, n in row.items()}
    assert cells[("a", "a")] == scores.confusion[0, 0]
    assert sum(cells.values()) == 90
    groups = task["groups"]
    assert list(groups["classes"]) == ["letters", "c", "never"]
    assert groups["metrics"]["accuracy"]["value"] == pytest.approx(scores.groups.accuracy.value)


def test_the_file_says_when_groups_are_the_witnesses(predictions, tmp_path):
    names = [f"group {i // 3}" for i in range(90)]
    dataset = predictions.dataset.with_column("group", names)
    grouped = Predictions(dataset, (TASK,), predictions.logits)
    scores = score_all(grouped, (), groupings_for((TASK,), {"letters": ["a", "b"]}))
    write_scores(tmp_path / "scores.json", grouped, scores)
    task = json.loads((tmp_path / "scores.json").read_text())["tasks"]["label"]
    assert task["units"] == task["groups"]["units"] == {"count": 30, "kind": "groups"}
    assert task["metrics"]["accuracy"]["trials"] == 90
    assert task["metrics"]["accuracy"]["effective_trials"] <= 90
    assert "90 pictures of 30 groups" in task["advice"]


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_of_means_are_those_of_drawing_pictures_anew(predictions, grouped):
    # The jackknife's and the bootstrap's lengths, of means over classes that are ranked.
    groups = np.arange(90) // 3 if grouped else None
    dataset = predictions.dataset
    if grouped:
        dataset = dataset.with_column("group", [str(group) for group in groups])
    scores = score(Predictions(dataset, (TASK,), predictions.logits), TASK)
    labels, logits = predictions.dataset.labels(TASK), predictions.logits["label"]

    def statistic(weights):
        return np.array([
            [np.mean([of(labels == i, shares[:, i], sample_weight=row) for i in range(3)])
             for of in (metrics.roc_auc_score, metrics.average_precision_score)]
            for row in weights
        ])  # fmt: skip

    shares = special.softmax(logits.astype(float), axis=1)
    low, high = Resampling(90, units=groups, draws=300).interval(statistic)
    for i, name in enumerate(("auc", "average_precision")):
        ends = scores.measures[name].interval
        assert ends[1] - ends[0] == pytest.approx(high[i] - low[i], rel=0.25)
        assert ends == pytest.approx((low[i], high[i]), abs=0.04)


def test_one_picture_gives_numbers_and_no_warning(predictions):
    scores = score(predictions.take([0]), TASK)
    assert scores.accuracy.trials == 1
    assert np.isnan(scores.cross_entropy.interval).all()
    assert np.isfinite(scores.cross_entropy.value)
    assert "1 picture," in scores.advice


def test_labels_that_no_picture_has_give_no_number_and_no_warning(tmp_path):
    marks = Task("marks", ("red", "round"), multi_label=True)
    paths = [f"{i}.jpg" for i in range(9)]
    dataset = Dataset.from_columns(tmp_path, paths, ["test"] * 9, {marks: [[]] * 9})
    logits = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    made = Predictions(dataset, (marks,), {"marks": logits})
    assert np.isnan(score(made, marks).measures["macro_f1"].value)
    (found,) = compare_all([made, made], marks, ["a", "b"])
    assert difference_in_words(found.measures["macro_f1"]) == ("–", "–", "–", "")
