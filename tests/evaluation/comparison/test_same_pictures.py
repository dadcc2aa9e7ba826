"""Models are compared on pictures that none of them trained on, and on classes that all know."""

import numpy as np
import pyarrow as pa
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError
from hornbeam.evaluation.comparison.matching import (
    common_tasks,
    held_out_by_all,
    match,
    with_common_classes,
)

PETS = Task("label", ("cat", "dog", "bird"))


def pictures(splits, root="/p", digests=None, prefix=""):
    """Make a dataset of `{name: split}`."""
    columns = (
        {}
        if digests is None
        else {"digest": pa.array([digests.get(n) for n in splits], pa.string())}
    )
    paths = [f"{prefix}{name}.jpg" for name in splits]
    return Dataset.from_columns(root, paths, list(splits.values()), {}, **columns)  # fmt: skip


def names(dataset, rows):
    return [dataset.paths[row].removesuffix(".jpg") for row in rows]


def test_only_what_no_run_trained_on_is_compared():
    first = pictures({"a": "train", "b": "test", "c": "test", "d": "validation"})
    second = pictures({"b": "train", "c": "test", "a": "test", "d": "validation"})
    held = held_out_by_all([first, second])
    assert names(first, held.rows) == ["c"]
    assert names(second, held.theirs[1]) == ["c"]
    assert (held.candidates, held.trained) == (3, (0, 1))


def test_validation_pictures_serve_where_there_are_no_test_pictures_of_all():
    first = pictures({"a": "validation", "b": "validation", "c": "test"})
    second = pictures({"a": "validation", "b": "test", "c": "train"})
    assert names(first, held_out_by_all([first, second]).rows) == ["a", "b"]
    assert names(first, held_out_by_all([first, second], "validation").rows) == ["a"]
    assert len(held_out_by_all([first, second], "test").rows) == 0


def test_what_another_run_does_not_list_it_did_not_train_on():
    first, second = pictures({"a": "test", "b": "test"}), pictures({"b": "test", "x": "train"})
    held = held_out_by_all([first, second])
    assert names(first, held.rows) == ["a", "b"]
    assert held.theirs[1].tolist() == [-1, 0]


def test_a_copy_elsewhere_is_known_by_its_digest():
    first = pictures(
        {"a": "test", "b": "test", "c": "test"}, digests={"a": "1", "b": "2", "c": "3"}
    )
    moved = pictures({"x": "train", "y": "test"}, root="/elsewhere", digests={"x": "1", "y": "2"})
    held = held_out_by_all([first, moved])
    assert names(first, held.rows) == ["b", "c"]
    assert held.theirs[1].tolist() == [1, -1]
    # Without digests another place is another picture, as nothing else can be known.
    unknown = pictures({"x": "train", "y": "test"}, root="/elsewhere")
    assert len(held_out_by_all([first, unknown]).rows) == 3


def test_a_picture_that_was_edited_or_replaced_is_another_one():
    first = pictures(
        {"a": "test", "b": "test", "c": "test", "d": "test"}, digests={"a": "1", "b": "2", "c": "3"}
    )
    later = pictures(
        {"a": "test", "b": "train", "c": "test", "d": "test"}, digests={"a": "9", "b": "8", "c": "3", "d": "4"}
    )  # fmt: skip
    held = held_out_by_all([first, later])
    # Of d the first does not know the digest, so its place tells.
    assert held.theirs[1].tolist() == [-1, -1, 2, 3]
    assert held.trained == (0, 0)
    # What was in the file then may be elsewhere now.
    moved = pictures({"a": "test", "x": "train"}, digests={"a": "9", "x": "1"})
    assert held_out_by_all([first, moved]).trained == (0, 1)


def test_a_copy_among_its_own_training_pictures_is_left_out():
    first = pictures(
        {"a": "train", "b": "test", "c": "test"}, digests={"a": "1", "b": "1", "c": "2"}
    )
    held = held_out_by_all([first, first])
    assert names(first, held.rows) == ["c"]
    assert held.trained == (1, 1)


def test_relative_and_absolute_roots_are_the_same_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here, there = pictures({"a": "train"}, root="."), pictures({"a": "test"}, root=str(tmp_path))
    assert match(there, [here]).trained[0].tolist() == [True]


def test_records_of_shards_are_told_apart_by_their_place():
    def shards(splits):
        count = len(splits)
        return Dataset.from_columns(
            "/s", ["same.jpg"] * count, splits, {}, shard=pa.array(["0.tfrecord"] * count),
            offset=pa.array(range(count), pa.int64()),
        )  # fmt: skip

    held = held_out_by_all([shards(["test", "test", "train"]), shards(["train", "test", "test"])])
    assert held.rows.tolist() == [1]
    assert held.theirs[1].tolist() == [1]


def test_classes_are_the_same_by_name_whatever_their_order():
    other = Task("label", ("bird", "cat", "dog"))
    (common,) = common_tasks([(PETS,), (other,)], ["a", "b"])
    assert common.task == PETS
    assert common.columns[1].tolist() == [1, 2, 0]
    assert common.lacking == ((), ())


def test_classes_that_one_model_lacks_are_left_out():
    other = Task("kind", ("fish", "dog", "cat"))
    (common,) = common_tasks([(PETS,), (other,)], ["a", "b"])
    assert common.task == Task("label", ("cat", "dog"))
    assert common.names == ("label", "kind")
    assert [c.tolist() for c in common.columns] == [[0, 1], [2, 1]]
    assert common.lacking == (("fish",), ("bird",))
    labels = pa.array([0, 1, 2, None], pa.int32())
    dataset = Dataset.from_columns("/p", list("wxyz"), ["test"] * 4, {PETS: labels})
    assert with_common_classes(dataset, [common], 0).labels(common.task).tolist() == [0, 1, -1, -1]
    theirs = Dataset.from_columns("/p", list("wxyz"), ["test"] * 4, {other: labels})
    assert with_common_classes(theirs, [common], 1).labels(common.task).tolist() == [-1, 1, 0, -1]


def test_labels_of_several_are_mapped_too():
    own = Task("marks", ("a", "b", "c"), multi_label=True)
    other = Task("marks", ("c", "a"), multi_label=True)
    (common,) = common_tasks([(own,), (other,)], ["x", "y"])
    dataset = Dataset.from_columns("/p", ["1", "2"], ["test"] * 2, {own: [[0, 1], [1, 2]]})
    marks = with_common_classes(dataset, [common], 0).labels(common.task)
    np.testing.assert_array_equal(marks, [[True, False], [False, True]])


def test_of_several_tasks_those_of_one_name_and_kind_are_compared():
    colour = Task("colour", ("red", "blue"))
    found = common_tasks([(PETS, colour), (colour, Task("label", ("x", "y")))], ["a", "b"])
    assert [c.task for c in found] == [colour]
    marks = Task("label", PETS.classes, multi_label=True)
    with pytest.raises(DataError, match="do not answer the same question"):
        common_tasks([(PETS,), (marks,)], ["a", "b"])


def test_models_of_other_classes_are_refused_by_name():
    with pytest.raises(
        DataError, match=r"a tells 'cat', 'dog' and 'bird'; b tells 'oak' and 'elm'"
    ):
        common_tasks([(PETS,), (Task("label", ("oak", "elm")),)], ["a", "b"])
