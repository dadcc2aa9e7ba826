"""Comparisons agree with scikit-learn, say what changed, and say no more than is shown."""

import csv
import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.special
import sklearn.metrics

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.comparison.compare import (
    GAINED,
    LOST,
    OTHER_WRONG,
    SAME,
    STAYED_WRONG,
    compare_all,
)
from hornbeam.evaluation.comparison.compare_files import CHANGES, write_changes, write_comparisons
from hornbeam.evaluation.comparison.compare_words import (
    classes_in_words,
    conclusion,
    p_in_words,
    tell,
)
from hornbeam.evaluation.predictions import Predictions

TASK = Task("label", ("cat", "dog", "bird"))
MARKS = Task("marks", ("red", "round"), multi_label=True)


def dataset(labels, task=TASK, **columns):
    count = len(labels)
    made = Dataset.from_columns(
        "/pictures", [f"{i}.jpg" for i in range(count)], ["test"] * count, {task: labels}
    )
    for name, values in columns.items():
        made = made.with_column(name, values)
    return made


def models(labels, skills, task=TASK, seed=0, **columns):
    """Make answers of models, the surer of the right class the higher their skill."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    common = rng.normal(0, 1, (len(labels), len(task.classes)))
    made = dataset(labels.tolist(), task, **columns)
    result = []
    for skill in skills:
        logits = common + rng.normal(0, 1, common.shape)
        logits[np.arange(len(labels)), labels] += skill
        result.append(Predictions(made, (task,), {task.name: logits.astype(np.float32)}))
    return result


def answering(answers, labels, sure=3.0, task=TASK):
    """Make a model that gives these answers."""
    logits = sure * np.eye(len(task.classes), dtype=np.float32)[answers]
    return Predictions(dataset(labels, task), (task,), {task.name: logits})


def names(count):
    return [f"m{i}" for i in range(count)]


@pytest.fixture(scope="module")
def one():
    labels = np.random.default_rng(5).choice(3, 300, p=[0.6, 0.3, 0.1])
    made = models(labels, (1.0, 2.0))
    (found,) = compare_all(made, TASK, names(2))
    return labels, made, found


def test_measures_are_those_of_scikit_learn(one):
    labels, made, found = one
    for model, of in zip(made, ("first", "second"), strict=True):
        answers = model.predicted(TASK)
        value = {name: getattr(d, of) for name, d in found.measures.items()}
        assert getattr(found.accuracy, of) == pytest.approx((answers == labels).mean())
        for name, function in (
            ("macro_precision", sklearn.metrics.precision_score),
            ("macro_recall", sklearn.metrics.recall_score),
            ("macro_f1", sklearn.metrics.f1_score),
        ):
            assert value[name] == pytest.approx(function(labels, answers, average="macro"))
        probabilities = scipy.special.softmax(model.logits["label"].astype(np.float64), axis=1)
        loss = sklearn.metrics.log_loss(labels, probabilities)
        assert value["cross_entropy"] == pytest.approx(loss, rel=1e-5)
        truth = np.eye(3)[labels]
        brier = ((probabilities - truth) ** 2).sum(axis=1).mean()
        assert value["brier_score"] == pytest.approx(brier, rel=1e-5)
        area = sklearn.metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
        assert value["auc"] == pytest.approx(area)
        precision = sklearn.metrics.average_precision_score(truth, probabilities)
        assert value["average_precision"] == pytest.approx(precision)


def test_classes_are_those_of_scikit_learn(one):
    labels, made, found = one
    for i, (model, of) in enumerate(zip(made, ("first", "second"), strict=True)):
        precision, recall, _, support = sklearn.metrics.precision_recall_fscore_support(
            labels, model.predicted(TASK), zero_division=0
        )
        np.testing.assert_allclose([getattr(c.right, of) for c in found.classes], recall)
        np.testing.assert_allclose([c.precision[i] for c in found.classes], precision)
        assert [c.pictures for c in found.classes] == support.tolist()
    before, after = (sklearn.metrics.confusion_matrix(labels, m.predicted(TASK)) for m in made)
    np.testing.assert_array_equal(found.confusions, after - before)


def test_a_better_model_is_called_better_and_the_other_way_round_worse(one):
    _, made, found = one
    assert found.shown
    assert not found.worse
    assert conclusion(found).startswith("m1 is better than m0: ")
    (back,) = compare_all(made[::-1], TASK, ["m1", "m0"])
    assert back.worse
    assert conclusion(back).startswith("m0 is worse than m1: ")
    assert back.accuracy.low == pytest.approx(-found.accuracy.high)
    assert back.test == found.test
    assert back.count(GAINED) == found.count(LOST)


def test_a_model_beside_itself_differs_in_nothing(one):
    _, made, _ = one
    (found,) = compare_all([made[0], made[0]], TASK, ["a", "b"])
    assert not found.shown
    assert [found.count(c) for c in (LOST, GAINED, OTHER_WRONG)] == [0, 0, 0]
    assert conclusion(found).startswith("No difference shown: b answers all 300 pictures as a does")
    assert all(d.value == 0 and not d.shown for d in found.measures.values())
    assert classes_in_words(found) == "No single class shows a difference."


def test_what_is_not_shown_is_not_claimed():
    labels = [0] * 40 + [1] * 40
    first = answering(labels, labels)
    second = answering([2, 2, *labels[2:]], labels)
    (found,) = compare_all([first, second], TASK, ["a", "b"])
    said = conclusion(found)
    assert said.startswith(
        "No difference shown between a (100.0% are right) and b (97.5%): -2.5 points"
    )
    assert f"likely below {100 * max(-found.accuracy.low, found.accuracy.high):.1f} points" in said
    assert f"about {found.paired.needed:,} such" in said or found.paired.needed > 99


def test_changes_are_told_apart():
    labels = [0, 0, 0, 0, 0]
    first = answering([0, 1, 1, 0, 1], labels)
    second = answering([0, 1, 2, 1, 0], labels)
    (found,) = compare_all([first, second], TASK, ["a", "b"])
    assert found.changes.tolist() == [SAME, STAYED_WRONG, OTHER_WRONG, LOST, GAINED]


def test_pictures_without_a_label_count_in_nothing():
    labels = pa.array([0, None, 1, None, 2], pa.int32())
    first, second = (answering(a, labels) for a in ([0, 1, 1, 2, 2], [0, 0, 1, 1, 1]))
    (found,) = compare_all([first, second], TASK, ["a", "b"])
    assert found.rows.tolist() == [0, 2, 4]
    assert (found.pictures, found.count(LOST)) == (3, 1)
    nothing = pa.array([None, None], pa.int32())
    (found,) = compare_all([answering([0, 1], nothing)] * 2, TASK, ["a", "b"])
    assert conclusion(found) == "There is no picture with a label to compare a and b on."


def test_classes_without_pictures_are_no_tests(one):
    task = Task("label", ("cat", "dog", "bird", *(f"absent{i}" for i in range(50))))
    labels = [0] * 30 + [1] * 30
    first, second = (answering(a, labels, task=task) for a in ([0] * 22 + [1] * 38, labels))
    (found,) = compare_all([first, second], task, ["a", "b"])
    assert found.classes[0].p_value == pytest.approx(min(1, 2 * 2 * 0.5**8 - 0.5**8 * 2))
    assert "cat" in classes_in_words(found)
    assert found.measures["macro_recall"].second == 1


def test_several_models_are_corrected_for_their_number():
    labels = np.random.default_rng(1).integers(0, 3, 200)
    found = compare_all(models(labels, (1.0, 1.4, 1.2, 1.1)), TASK, names(4))
    plain = sorted(c.test.mid_p for c in found)
    corrected = sorted(c.p_value for c in found)
    assert corrected[0] == pytest.approx(min(1, 3 * plain[0]))
    assert all(c >= p for c, p in zip(corrected, plain, strict=True))
    assert "corrected for 3 comparisons" in conclusion(found[0])


def test_a_task_of_several_labels_is_compared_by_whole_answers_and_by_marks(capsys):
    labels = [[0], [0, 1], [], [1]] * 25
    made = Dataset.from_columns(
        "/p", [f"{i}.jpg" for i in range(100)], ["test"] * 100, {MARKS: labels}
    )
    truth = made.labels(MARKS)
    perfect = np.where(truth, 4, -4).astype(np.float32)
    half = perfect.copy()
    half[:50, 1] *= -1  # the second mark is wrong on half of the pictures
    first, second = (Predictions(made, (MARKS,), {"marks": x}) for x in (half, perfect))
    (found,) = compare_all([first, second], MARKS, ["a", "b"])
    assert (found.accuracy.first, found.accuracy.second) == (0.5, 1)
    assert conclusion(found).startswith("b is better than a: 100.0% are right in all labels")
    red, round_ = found.classes
    assert (red.right.first, red.right.second, red.p_value) == (1, 1, 1)
    assert (round_.right.first, round_.right.second) == (0.5, 1)
    assert "round (50.0% to 100.0%" in classes_in_words(found)
    own = (truth[:, 1] & (half[:, 1] >= 0)).sum() / (half[:, 1] >= 0).sum()
    assert round_.precision[0] == pytest.approx(own)
    expected = sklearn.metrics.f1_score(truth, half >= 0, average="macro")
    assert found.measures["macro_f1"].first == pytest.approx(expected)
    tell(found, first, second)
    said = capsys.readouterr().out
    assert "now right: 1.jpg, which is red, round: red, then red, round\n" in said
    assert "now right: 2.jpg, which is nothing: round, then nothing\n" in said


def test_classes_that_differ_are_told_by_their_own_names():
    task = Task("label", ("bookmarkes", "dog"))
    labels = [0, 1] * 50
    first, second = (answering(answers, labels, task=task) for answers in ([1] * 100, labels))
    (found,) = compare_all([first, second], task, ["a", "b"])
    assert classes_in_words(found).startswith(
        "Of 2 classes, these differ: bookmarkes (0.0% to 100.0%"
    )


def test_groups_widen_all_intervals():
    labels = np.repeat(np.random.default_rng(0).integers(0, 3, 40), 10)
    single = models(labels, (1.0, 1.5))
    # Whole groups are copies of their first picture.
    copied = [
        dataclasses.replace(m, logits={"label": np.repeat(m.logits["label"][::10], 10, axis=0)})
        for m in single
    ]
    grouped = [
        dataclasses.replace(m, dataset=m.dataset.with_column("group", [f"g{i // 10}" for i in range(400)]))
        for m in copied
    ]  # fmt: skip
    (plain,), (whole,) = (compare_all(m, TASK, names(2)) for m in (copied, grouped))
    assert whole.grouped
    assert whole.paired.units == 40
    assert "in 40 groups" in conclusion(whole)
    for a, b in zip(
        [plain.accuracy, *plain.measures.values()], [whole.accuracy, *whole.measures.values()],
        strict=True,
    ):  # fmt: skip
        assert b.value == pytest.approx(a.value)
        assert 2 < (b.high - b.low) / (a.high - a.low) < 5  # the root of 10
    first = [m.take(np.arange(0, 400, 10)) for m in copied]
    (once,) = compare_all(first, TASK, names(2))
    assert whole.test.exact == pytest.approx(once.test.exact)


def test_the_intervals_of_measures_hold_the_truth():
    rng = np.random.default_rng(7)
    shares, confusions = [0.5, 0.3, 0.2], rng.dirichlet([1, 1, 1], (2, 3)) * 0.5
    confusions += 0.5 * np.eye(3)  # of both models, by class
    recall = np.trace(confusions, axis1=1, axis2=2) / 3
    joint = confusions * np.array(shares)[:, None]
    f1 = np.mean(2 * np.diagonal(joint, axis1=1, axis2=2) / (joint.sum(1) + joint.sum(2)), axis=1)
    truth = {"macro_recall": recall[1] - recall[0], "macro_f1": f1[1] - f1[0]}
    held, cases = dict.fromkeys(truth, 0), 250
    for _ in range(cases):
        labels = rng.choice(3, 150, p=shares)
        common = rng.random(150)
        made = []
        for table in confusions:
            chance = np.where(rng.random(150) < 0.5, common, rng.random(150))
            answers = (chance[:, None] > table.cumsum(axis=1)[labels]).sum(axis=1)
            made.append(answering(np.minimum(answers, 2), labels.tolist()))
        (found,) = compare_all(made, TASK, names(2))
        for name, value in truth.items():
            held[name] += found.measures[name].low <= value <= found.measures[name].high
    assert 0.91 < held["macro_recall"] / cases < 0.985
    assert 0.91 < held["macro_f1"] / cases < 0.985


def test_intervals_of_areas_are_as_wide_as_those_of_a_bootstrap(one):
    labels, made, found = one
    rng = np.random.default_rng(0)
    probabilities = [
        scipy.special.softmax(m.logits["label"].astype(np.float64), axis=1) for m in made
    ]
    drawn = []
    for _ in range(300):
        rows = rng.integers(0, len(labels), len(labels))
        areas = [
            sklearn.metrics.roc_auc_score(labels[rows], p[rows], multi_class="ovr")
            for p in probabilities
        ]
        drawn.append(areas[1] - areas[0])
    area = found.measures["auc"]
    assert area.high - area.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.15)


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_every_picture_is_written_with_both_answers(tmp_path, suffix):
    labels = pa.array([0, 1, None], pa.int32())
    made = [answering([0, 2, 1], labels), answering([1, 1, 1], labels, sure=1.0)]
    found = compare_all(made, TASK, ["a", "b"])
    path = tmp_path / f"changes{suffix}"
    write_changes(path, made, ["a", "b"], found)
    if suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        table = pq.read_table(path).to_pylist() if suffix == ".parquet" else None
        rows = table or json.loads(path.read_text())
    assert [r["path"] for r in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [r["a:label"] for r in rows] == ["cat", "bird", "dog"]
    assert [r["b:label"] for r in rows] == ["dog", "dog", "dog"]
    assert [r["b:label_change"] or "" for r in rows] == ["right to wrong", "wrong to right", ""]
    sure = scipy.special.softmax([1, 0, 0])
    assert float(rows[0]["b:label_probability"]) == pytest.approx(sure[0], rel=1e-5)
    assert float(rows[0]["b:label_label_probability"]) == pytest.approx(sure[1], rel=1e-5)
    assert (rows[2]["label"] or "") == ""


def test_all_numbers_are_written_for_programs(one, tmp_path):
    _, _, found = one
    write_comparisons(tmp_path / "c.json", [found], {"m0": {}, "m1": {}}, {"number": 300})
    (told,) = json.loads((tmp_path / "c.json").read_text())["comparisons"]
    assert told["accuracy"]["difference"] == pytest.approx(found.accuracy.value)
    assert told["accuracy"]["low"] == pytest.approx(found.accuracy.low)
    assert told["p_mid"] == found.test.mid_p
    assert sum(told["changes"].values()) == 300
    assert set(told["changes"]) == set(CHANGES)
    assert told["conclusion"] == conclusion(found)
    assert sum(map(sum, (row.values() for row in told["confusion_changes"].values()))) == 0


def test_p_values_are_told_in_two_digits():
    assert [p_in_words(p) for p in (1, 0.0412, 0.00123, 1e-9)] == [
        "p = 1", "p = 0.041", "p = 0.0012", "p < 0.001"
    ]  # fmt: skip


def test_a_thousand_classes_take_seconds_not_minutes():
    import time

    task = Task("label", tuple(f"c{i}" for i in range(1000)))
    labels = np.random.default_rng(0).integers(0, 1000, 10_000)
    made = models(labels, (4.0, 4.2), task)
    start = time.process_time()  # of this process, however busy the machine is
    (found,) = compare_all(made, task, names(2))
    assert time.process_time() - start < 80
    assert found.shown
