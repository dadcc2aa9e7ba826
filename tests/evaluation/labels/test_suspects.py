"""Wrong labels are found where they were planted, and nothing is found where nothing can be."""

import numpy as np
import pyarrow as pa
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.labels.suspects import find_suspects

OPTIONS = {"folds": 5, "divisions": 2, "threshold": 0.5}


def dataset_of(labels, classes, multi_label=False, **columns):
    """Make a dataset; labels are indices, `None` for missing ones, or lists of indices."""
    task = Task("kind", tuple(classes), multi_label)
    kind = pa.list_(pa.int32()) if multi_label else pa.int32()
    paths = [f"{i}.jpg" for i in range(len(labels))]
    others = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    splits = ["train"] * len(paths)
    return Dataset.from_columns("", paths, splits, {task: pa.array(labels, kind)}, **others)


def clusters(labels, seed=0, spread=0.5, width=32):
    """Make features around one centre for each class, as pooled ReLUs are: none below 0."""
    rng = np.random.default_rng(seed)
    centres = rng.gamma(0.5, 2.0, (labels.max() + 1, width))
    return (centres[labels] * rng.gamma(4, 0.25, (len(labels), width)) + spread * rng.random(
        (len(labels), width))).astype(np.float32)  # fmt: skip


@pytest.fixture
def planted():
    """Features of 300 pictures of 4 classes, labels of which 15 are wrong, and which."""
    rng = np.random.default_rng(1)
    true = rng.integers(4, size=300)
    wrong = rng.choice(300, 15, replace=False)
    labels = true.copy()
    labels[wrong] = (true[wrong] + rng.integers(1, 4, 15)) % 4
    return clusters(true), labels, true, wrong


def test_planted_labels_are_found_with_what_they_should_be(planted):
    features, labels, true, wrong = planted
    found = find_suspects(features, dataset_of(labels.tolist(), "abcd"), **OPTIONS)[0]
    assert set(found.rows) == set(wrong.tolist())
    for row, suspect in zip(found.rows, found.suspects, strict=True):
        assert suspect.path == f"{row}.jpg"
        assert (suspect.given, suspect.suggested) == ("abcd"[labels[row]], "abcd"[true[row]])
        assert suspect.probability_suggested > suspect.probability_given
    scores = [suspect.score for suspect in found.suspects]
    assert scores == sorted(scores, reverse=True)
    assert 12 <= found.wrong <= 18
    assert sum(count for _, _, count in found.pairs) == pytest.approx(15, abs=3)
    (sentence,) = found.sentences(several=False)
    assert sentence.startswith(f"At least about {found.wrong:.0f} of 300 labels")


def test_the_most_suspicious_can_be_asked_for_whatever_their_score(planted):
    features, labels, _, wrong = planted
    dataset = dataset_of(labels.tolist(), "abcd")
    found = find_suspects(features, dataset, **OPTIONS, most=40)[0]
    assert len(found.suspects) == 40
    assert set(wrong.tolist()) <= set(found.rows)


def test_the_same_seed_finds_the_same(planted):
    features, labels, _, _ = planted
    dataset = dataset_of(labels.tolist(), "abcd")
    one, two = (find_suspects(features, dataset, **OPTIONS, seed=7)[0].scores for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_copies_do_not_vouch_for_each_other(planted):
    """A wrong label with three copies of the picture that have it too."""
    features, labels, _, wrong = planted
    row = wrong[0]
    features = np.concatenate([features, np.repeat(features[row : row + 1], 3, axis=0)])
    labels = np.concatenate([labels, np.repeat(labels[row], 3)]).tolist()
    digests = [str(i) for i in range(300)] + [str(row)] * 3
    known = find_suspects(features, dataset_of(labels, "abcd", digest=digests), **OPTIONS)[0]
    assert {int(row), 300, 301, 302} <= set(known.rows)
    unknown = find_suspects(features, dataset_of(labels, "abcd"), **OPTIONS)[0]
    assert known.scores[row] > unknown.scores[row]


def test_pictures_of_a_group_do_not_vouch_for_each_other(planted):
    features, labels, _, wrong = planted
    row = wrong[0]
    features = np.concatenate([features, np.repeat(features[row : row + 1], 3, axis=0)])
    labels = np.concatenate([labels, np.repeat(labels[row], 3)]).tolist()
    groups = [None] * 300 + ["burst"] * 3
    groups[row] = "burst"
    found = find_suspects(features, dataset_of(labels, "abcd", group=groups), **OPTIONS)[0]
    assert {int(row), 300, 301, 302} <= set(found.rows)


def test_nothing_is_suspected_where_all_is_right():
    true = np.arange(200) % 4
    found = find_suspects(clusters(true), dataset_of(true.tolist(), "abcd"), **OPTIONS)[0]
    assert not found.suspects
    assert list(found.sentences(several=False)) == ["None of 200 labels is probably wrong."]


@pytest.mark.parametrize("counts", [[9], [1], [2, 2], [1, 9]])
def test_too_few_pictures_are_not_judged_and_that_is_said(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    features = clusters(labels)
    found = find_suspects(features, dataset_of(labels.tolist(), "abcd"), **OPTIONS)[0]
    assert not found.suspects
    assert found.judged == 0
    (sentence,) = found.sentences(several=False)
    assert "No label could be judged" in sentence


def test_a_class_of_one_picture_is_left_out_and_named():
    labels = np.array([0] * 30 + [1] * 30 + [2] + [3] * 4)
    found = find_suspects(clusters(labels), dataset_of(labels.tolist(), "abcd"), **OPTIONS)[0]
    assert found.judged == 64
    assert found.unjudged == ("c",)
    assert not found.suspects
    assert any("'c'" in sentence for sentence in found.sentences(several=False))


def test_fewer_pictures_than_folds_will_do():
    labels = np.array([0] * 3 + [1] * 3)
    options = OPTIONS | {"folds": 50}
    found = find_suspects(clusters(labels), dataset_of(labels.tolist(), "ab"), **options)[0]
    assert found.judged == 6


def test_features_that_are_all_the_same_say_nothing():
    labels = np.arange(60) % 3
    features = np.ones((60, 8), np.float32)
    found = find_suspects(features, dataset_of(labels.tolist(), "abc"), **OPTIONS)[0]
    assert np.isfinite(found.scores).all()
    assert not found.suspects


def test_missing_labels_are_no_suspects_but_get_suggestions(planted):
    features, labels, true, _ = planted
    given = [None if i % 10 == 0 else int(label) for i, label in enumerate(labels)]
    found = find_suspects(features, dataset_of(given, "abcd"), **OPTIONS)[0]
    suggested = [(r, s) for r, s in zip(found.rows, found.suspects, strict=True) if not s.given]
    assert len(suggested) > 25
    assert all(given[row] is None and s.score == 0 for row, s in suggested)
    assert all(s.suggested == "abcd"[true[row]] for row, s in suggested)
    assert found.rows[-len(suggested) :] == [row for row, _ in suggested]  # after the suspects
    assert found.judged == 270


def test_each_class_of_a_multi_label_task_is_judged_by_itself():
    rng = np.random.default_rng(0)
    marks = rng.random((400, 3)) < [0.5, 0.3, 0.1]
    features = np.concatenate(
        [clusters(marks[:, c].astype(int), seed=c, width=24) for c in range(3)], axis=1
    )
    given = marks.copy()
    lost, added = np.flatnonzero(marks[:, 0])[:4], np.flatnonzero(~marks[:, 2])[:4]
    given[lost, 0] = False
    given[added, 2] = True
    lists = [np.flatnonzero(row).tolist() for row in given]
    dataset = dataset_of(lists, ("hat", "bag", "cat"), multi_label=True)
    found = find_suspects(features, dataset, **OPTIONS)[0]
    said = {(row, s.given, s.suggested) for row, s in zip(found.rows, found.suspects, strict=True)}
    planted = {(int(row), "lacks hat", "add hat") for row in lost}
    planted |= {(int(row), "has cat", "remove cat") for row in added}
    assert len(planted & said) >= 7  # of 8
    assert len(said - planted) <= 2
    assert found.judged == 1200


def test_several_tasks_are_judged_one_by_one(planted):
    features, labels, _, wrong = planted
    one = dataset_of(labels.tolist(), "abcd")
    other = Task("side", ("left", "right"))
    sides = pa.array(np.arange(300) % 2, pa.int32())
    table = one.table.append_column("side", sides)
    dataset = Dataset("", table, (*one.tasks, other))
    first, second = find_suspects(features, dataset, **OPTIONS)
    assert set(first.rows) == set(wrong.tolist())
    assert second.task is other
    assert all(s.task == "side" for s in second.suspects)
    assert all(sentence.startswith("kind: ") for sentence in first.sentences(several=True))
