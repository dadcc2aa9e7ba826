"""95 % intervals hold the truth in about 95 of 100 sets of pictures, of groups too.

A model's answers are drawn many times for as many pictures as one has; the truth is what 100,000 pictures
give.
"""

from pathlib import Path

import numpy as np
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.scores import score


def predictions_of(labels, logits, groups=None):
    count = len(labels)
    task = Task("label", tuple(f"class {i}" for i in range(logits.shape[1])))
    dataset = Dataset.from_columns(
        Path(), [f"{i}.jpg" for i in range(count)], ["test"] * count, {task: labels}
    )
    if groups is not None:
        dataset = dataset.with_column("group", [f"group {i}" for i in groups])
    return Predictions(dataset, (task,), {"label": logits.astype(np.float32)}), task


def estimates(scores):
    """Return all numbers that have an interval, by a name; of classes, under the same name."""
    whole = {
        "accuracy": scores.accuracy, "cross_entropy": scores.cross_entropy,
        "brier_score": scores.brier_score, **scores.measures,
    }  # fmt: skip
    result = list(whole.items())
    for c in scores.classes:
        ranking = c.ranking
        result += [("recall", c.recall), ("precision", c.precision), ("f1", c.f1),
                   ("area", ranking.auc), ("ap", ranking.average_precision)]  # fmt: skip
        result += [(f"sensitivity={level}", s) for level, s in ranking.sensitivities.items()]
    return result


def coverage(draw, truth, times):
    """Return by name how often intervals hold the truth."""
    expected = [estimate.value for _, estimate in estimates(score(*predictions_of(*truth)))]
    inside = {}
    for _ in range(times):
        for value, (name, estimate) in zip(
            expected, estimates(score(*predictions_of(*draw()))), strict=True
        ):
            if not np.isnan(estimate.value):
                low, high = estimate.interval
                assert low - 1e-9 <= estimate.value <= high + 1e-9, name
                inside.setdefault(name, []).append(low <= value <= high)
    return {name: np.mean(held) for name, held in inside.items()}


def answers(rng, labels, apart, shared=0.0):
    """Draw logits; `shared` may be what groups have in common."""
    logits = rng.normal(size=(len(labels), 3)) + shared + [0.3, 0, -0.2]
    logits[np.arange(len(labels)), labels] += apart
    return labels, 1.5 * logits


def check(found, low, high=1.0):
    wrong = {name: held for name, held in found.items() if not low <= held <= high}
    assert not wrong, wrong


CHIEF = ("accuracy", "macro_f1", "auc", "average_precision", "f1", "cross_entropy", "area", "ap")


@pytest.mark.parametrize("apart", [1.0, 2.0])
def test_intervals_of_pictures_hold(apart):
    rng = np.random.default_rng(1)

    def draw(count=150):
        return answers(rng, rng.choice(3, count, p=[0.5, 0.3, 0.2]), apart)

    found = coverage(draw, draw(100_000), 250)
    check({name: found[name] for name in CHIEF}, 0.92, 0.99)
    check(found, 0.905)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("count", [60, 150, 1000])
def test_intervals_of_pictures_hold_in_many_sets(apart, count):
    rng = np.random.default_rng(2)

    def draw(count=count):
        return answers(rng, rng.choice(3, count, p=[0.5, 0.3, 0.2]), apart)

    found = coverage(draw, draw(200_000), 1000)
    check(
        {name: found[name] for name in CHIEF}, 0.92
    )  # areas near 1 have longer ones than they need
    check(found, 0.88)


def grouped(rng, groups, apart):
    """Draw groups of 2 pictures and more, 6 on average, of one class, that are wrong together."""
    sizes = 1 + rng.geometric(0.2, groups)
    group = np.repeat(np.arange(groups), sizes)
    shared = rng.normal(size=(groups, 3))[group] * 1.2
    return *answers(rng, rng.choice(3, groups, p=[0.5, 0.3, 0.2])[group], apart, shared), group


@pytest.mark.parametrize("groups", [25, pytest.param(80, marks=pytest.mark.slow)])
def test_intervals_of_groups_hold_and_those_of_their_pictures_do_not(groups):
    rng = np.random.default_rng(3)
    truth = grouped(rng, 20_000, 2.0)[:2]
    found = coverage(lambda: grouped(rng, groups, 2.0), truth, 150)
    check({name: found[name] for name in CHIEF}, 0.9)
    check(found, 0.88)
    naive = coverage(lambda: grouped(rng, groups, 2.0)[:2], truth, 150)
    check({name: naive[name] for name in CHIEF}, 0.0, 0.88)


def test_a_picture_without_a_group_stands_alone():
    rng = np.random.default_rng(0)
    labels, logits = answers(rng, rng.integers(0, 3, 60), 2.0)
    predictions, task = predictions_of(labels, logits)
    half = [f"group {i // 5}" if i < 30 else None for i in range(60)]
    some = predictions.dataset.with_column("group", half)
    scores = score(Predictions(some, (task,), predictions.logits), task)
    assert scores.grouped
    assert scores.units == 6 + 30
    none = predictions.dataset.with_column("group", [None] * 60)
    scores = score(Predictions(none, (task,), predictions.logits), task)
    assert scores.units == 60
    alone = score(predictions, task)
    assert (alone.units, alone.grouped) == (60, False)
    np.testing.assert_allclose(scores.accuracy.interval, alone.accuracy.interval, atol=0.02)


def test_of_one_group_nothing_is_known():
    rng = np.random.default_rng(0)
    labels, logits = answers(rng, rng.integers(0, 3, 60), 2.0)
    scores = score(*predictions_of(labels, logits, np.zeros(60, int)))
    assert scores.accuracy.interval == (0, 1)
    assert scores.classes[0].ranking.auc.interval == (0, 1)
    assert np.isnan(scores.cross_entropy.interval).all()
