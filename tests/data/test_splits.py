"""Splits that do not leak: stratified, of groups, and stable when pictures are added."""

import numpy as np
import pyarrow as pa
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.sources import open_dataset
from hornbeam.data.splits import divide, with_validation
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError

THREE = (0.8, 0.1, 0.1)


def made(labels, *, groups=None, prefix="", classes=("a", "b", "c")):
    """A dataset without files: paths, labels, groups."""
    paths = [f"{prefix}{classes[label]}/{i:06}.jpg" for i, label in enumerate(labels)]
    columns = {} if groups is None else {"group": pa.array([str(g) for g in groups])}
    return Dataset.from_columns(
        "x", paths, [""] * len(paths), {Task("label", classes): labels}, **columns
    )


def multi_label(lists, classes):
    paths = [f"{i:06}.jpg" for i in range(len(lists))]
    return Dataset.from_columns("x", paths, [""] * len(paths), {Task("tags", classes, True): lists})


def shares(dataset, sides):
    """Of every class the share on every side: `[classes, 3]`."""
    task = dataset.tasks[0]
    marks = dataset.labels(task)
    if not task.multi_label:
        marks = marks[:, None] == np.arange(len(task.classes))
    counts = np.array([marks[sides == side].sum(axis=0) for side in range(3)]).T
    return counts / counts.sum(axis=1, keepdims=True)


def test_every_class_is_divided_in_the_ratios_within_chance():
    rng = np.random.default_rng(0)
    dataset = made(rng.choice(3, 20_000, p=[0.7, 0.25, 0.05]))
    np.testing.assert_allclose(shares(dataset, divide(dataset, THREE, 0)), [THREE] * 3, atol=0.03)


def test_exact_meets_the_ratios_to_a_picture():
    dataset = made([0] * 100 + [1] * 50 + [2] * 10)
    found = shares(dataset, divide(dataset, THREE, 0, exact=True))
    np.testing.assert_allclose(found, [THREE] * 3, atol=1e-9)


def test_adding_pictures_moves_none_to_another_side():
    old = made(np.repeat([0, 1, 2], 2000))
    new = made(np.repeat([0, 1, 2], 1500), prefix="later-")
    both = Dataset.from_columns(
        "x", old.paths + new.paths, [""] * 10_500,
        {old.tasks[0]: np.concatenate([old.labels(old.tasks[0]), new.labels(new.tasks[0])])},
    )  # fmt: skip
    order = np.random.default_rng(1).permutation(len(both))
    alone, together = divide(old, THREE, 0), divide(both.take(order), THREE, 0)
    np.testing.assert_array_equal(together[np.argsort(order)][: len(old)], alone)


@pytest.mark.parametrize("count", [3, 5, 8, 20, 40])
def test_a_small_class_has_pictures_on_every_side_and_most_in_training(count):
    for seed in range(30):
        dataset = made([0] * 500 + [1] * count)
        sides = divide(dataset, THREE, seed)[500:]
        counts = np.bincount(sides, minlength=3)
        assert counts.min() >= 1
        assert counts[0] >= count // 3


def test_an_earlier_split_holds_whatever_is_added_and_new_pictures_fill_what_is_short():
    labels = np.repeat([0, 1, 2], [60, 40, 20])
    dataset = made(labels)
    fixed = np.full(120, -1)
    fixed[::2] = 0  # all old ones train
    sides = divide(dataset, THREE, 0, fixed=fixed)
    np.testing.assert_array_equal(sides[::2], 0)
    np.testing.assert_allclose(shares(dataset, sides), [THREE] * 3, atol=0.03)


def test_a_group_is_never_divided():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 400, 5000)
    dataset = made(rng.integers(0, 3, 5000), groups=groups)
    for exact in (False, True):
        sides = divide(dataset, THREE, 0, exact=exact)
        assert all(len(set(sides[groups == g])) == 1 for g in range(400))
        np.testing.assert_allclose(shares(dataset, sides), [THREE] * 3, atol=0.06)


def test_near_duplicates_stay_on_one_side():
    together = np.arange(3000)
    together[1::2] = together[::2]  # neighbours
    sides = divide(made(np.repeat([0, 1, 2], 1000)), THREE, 0, together=[together])
    np.testing.assert_array_equal(sides[::2], sides[1::2])


def test_multi_label_classes_are_divided_as_well_as_scikit_multilearn_would():
    rng = np.random.default_rng(0)
    rates = np.array([0.5, 0.2, 0.05, 0.02])
    marks = rng.random((4000, 4)) < rates
    dataset = multi_label([np.flatnonzero(row).tolist() for row in marks], ("w", "x", "y", "z"))
    exact = shares(dataset, divide(dataset, THREE, 0, exact=True))
    np.testing.assert_allclose(exact, [THREE] * 4, atol=0.02)
    np.testing.assert_allclose(shares(dataset, divide(dataset, THREE, 0)), [THREE] * 4, atol=0.06)


def test_two_tasks_are_both_divided_in_the_ratios():
    rng = np.random.default_rng(0)
    colour, shape = rng.integers(0, 3, 3000), rng.integers(0, 5, 3000)
    tasks = {Task("colour", tuple("rgb")): colour, Task("shape", tuple("vwxyz")): shape}
    dataset = Dataset.from_columns("x", [f"{i}" for i in range(3000)], [""] * 3000, tasks)
    sides = divide(dataset, THREE, 0, exact=True)
    for labels, count in ((colour, 3), (shape, 5)):
        for label in range(count):
            found = np.bincount(sides[labels == label], minlength=3) / (labels == label).sum()
            np.testing.assert_allclose(found, THREE, atol=0.04)


def test_another_seed_makes_another_split_and_the_order_of_rows_does_not():
    dataset = made(np.repeat([0, 1, 2], 200))
    sides = divide(dataset, THREE, 0)
    assert (divide(dataset, THREE, 1) != sides).mean() > 0.2
    order = np.random.default_rng(0).permutation(600)
    np.testing.assert_array_equal(divide(dataset.take(order), THREE, 0), sides[order])


def test_training_without_a_split_gets_a_validation_split_of_every_class(folders):
    root = folders(
        {f"{c}/{i}.jpg": 1 for c, n in (("cat", 20), ("dog", 5), ("owl", 2)) for i in range(n)}
    )
    dataset = open_dataset(root)
    split = with_validation(dataset, 0.2, seed=0)
    counts = split.counts(split.tasks[0])
    assert set(counts) == {"train", "validation"}
    assert counts["validation"]["owl"] == 1
    assert 1 <= counts["validation"]["dog"] <= 2
    assert 2 <= counts["validation"]["cat"] <= 6


def test_an_existing_validation_folder_is_left_as_it_is(folders):
    root = folders(
        {f"{part}/{c}/{i}.jpg": 1 for part in ("train", "val") for c in "ab" for i in range(3)}
    )
    dataset = open_dataset(root)
    assert with_validation(dataset, 0.5, seed=0).table.equals(dataset.table)


def test_a_test_folder_stays_when_validation_is_taken_from_training(folders):
    root = folders(
        {f"{part}/{c}/{i}.jpg": 1 for part in ("train", "test") for c in "ab" for i in range(9)}
    )
    split = with_validation(open_dataset(root), 0.3, seed=0)
    assert all(path.startswith("test/") for path in split.only("test").paths)
    assert all(path.startswith("train/") for path in split.only("validation").paths)
    assert split.splits == ("train", "validation", "test")


def test_a_class_of_one_picture_cannot_be_split(folders):
    with pytest.raises(DataError, match="class 'b' with 1 picture; at least 2"):
        with_validation(
            open_dataset(folders({"a/1.jpg": 1, "a/2.jpg": 1, "b/1.jpg": 1})), 0.2, seed=0
        )
