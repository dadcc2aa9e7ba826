"""Answers to several views are averaged; marks stand alone."""

import dataclasses

import keras
import numpy as np
import pyarrow as pa
import pytest
import scipy.special

from hornbeam.data.loader import Loader
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.sources import open_dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import RunError
from hornbeam.evaluation.predictions import Predictions, predict

MARKS = Task("marks", ("round", "flat", "red"), multi_label=True)


@pytest.fixture(scope="module")
def dataset(shapes):
    folder = open_dataset(shapes).take(np.arange(0, 72, 5))
    lists = pa.array([[], [1], [0, 2]] * 5, pa.list_(pa.int32()))
    return dataclasses.replace(folder.with_column("marks", lists), tasks=(*folder.tasks, MARKS))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 3), dtype="uint8")
    pixels = keras.layers.Rescaling(1 / 64)(inputs)
    flat = keras.layers.Flatten()(keras.layers.AveragePooling2D(4)(pixels))
    outputs = {"label": keras.layers.Dense(6)(flat), "marks": keras.layers.Dense(3)(flat)}
    return keras.Model(inputs, outputs)


def answers(model, dataset, **options):
    return predict(
        model, dataset, dataset.tasks, image_size=(24, 24, 3), threads=2, **{"batch_size": 4} | options
    )  # fmt: skip


def logits_of(model, dataset, **options):
    batch = Loader(dataset, batch_size=len(dataset), image_size=(24, 24), **options).batch(0)
    return model.predict_on_batch(batch.images)


def test_two_views_are_a_picture_and_its_mirror_image(model, dataset):
    found = answers(model, dataset, views=2)
    plain = logits_of(model, dataset)
    mirrored = logits_of(model, dataset, augment=Augmentation(flip=1.0))
    label, marks = dataset.tasks
    expected = [scipy.special.softmax(view["label"], axis=1) for view in (plain, mirrored)]
    np.testing.assert_allclose(found.probabilities(label), np.mean(expected, axis=0), atol=1e-5)
    expected = [scipy.special.expit(view["marks"]) for view in (plain, mirrored)]
    np.testing.assert_allclose(found.probabilities(marks), np.mean(expected, axis=0), atol=1e-5)


def test_one_view_leaves_the_models_logits(model, dataset):
    np.testing.assert_allclose(
        answers(model, dataset).logits["label"], logits_of(model, dataset)["label"], atol=1e-4
    )


def test_more_views_are_the_same_in_every_call_whatever_the_batch(model, dataset):
    first = answers(model, dataset, views=5)
    again = answers(model, dataset, views=5, batch_size=15)
    np.testing.assert_allclose(first.logits["label"], again.logits["label"], atol=1e-4)
    two = answers(model, dataset, views=2)
    assert np.abs(first.logits["label"] - two.logits["label"]).max() > 1e-3


def test_certain_answers_stay_finite_when_averaged(model, dataset):
    sure = keras.models.clone_model(model)
    sure.set_weights([1000 * weights for weights in model.get_weights()])
    found = answers(sure, dataset, views=3)
    for logits in found.logits.values():
        assert np.isfinite(logits).all()


def test_the_table_lists_the_marks(dataset):
    logits = np.random.default_rng(0).normal(size=(15, 3)).astype(np.float32)
    predictions = Predictions(dataset, (MARKS,), {"marks": logits})
    table = predictions.table()
    predicted = predictions.predicted(MARKS)
    np.testing.assert_array_equal(predicted, predictions.probabilities(MARKS) >= 0.5)
    names = [[MARKS.classes[i] for i in np.flatnonzero(row)] for row in predicted]
    assert table["marks_prediction"].to_pylist() == names
    assert table["marks"].to_pylist()[:3] == [[], ["flat"], ["round", "red"]]
    same = [a == b for a, b in zip(table["marks"].to_pylist(), names, strict=True)]
    assert table["marks_correct"].to_pylist() == same
    assert "marks_probability" not in table.column_names


def kept(dataset, seed=0):
    rng = np.random.default_rng(seed)
    logits = {
        t.name: rng.normal(size=(len(dataset), len(t.classes))).astype(np.float32)
        for t in dataset.tasks
    }
    return Predictions(dataset, dataset.tasks, logits)


def in_two(dataset):
    splits = ["validation" if row % 3 else "test" for row in range(len(dataset))]
    return dataset.with_column("split", splits)


def test_what_was_saved_is_read_back_in_its_order_for_pictures_in_any_order(dataset, tmp_path):
    before = kept(in_two(dataset))
    before.save(tmp_path / "p.parquet")
    mixed = before.dataset.take(np.random.default_rng(1).permutation(len(dataset)))
    after = Predictions.load(tmp_path / "p.parquet", mixed, dataset.tasks)
    assert after.dataset.paths == before.dataset.paths
    for task in dataset.tasks:
        np.testing.assert_array_equal(after.logits[task.name], before.logits[task.name])
        np.testing.assert_array_equal(after.dataset.labels(task), before.dataset.labels(task))


def test_records_of_one_path_are_told_apart_by_their_order(dataset, tmp_path):
    twice = dataset.take([0, 0, 1])
    before = kept(twice)
    before.save(tmp_path / "p.parquet")
    after = Predictions.load(tmp_path / "p.parquet", twice, dataset.tasks)
    np.testing.assert_array_equal(after.logits["label"], before.logits["label"])


def test_a_file_keeps_the_splits_that_were_judged_before_and_only_those(dataset, tmp_path):
    both = kept(in_two(dataset))
    sides = {side: both.take(both.dataset.where(side)) for side in ("validation", "test")}
    file = tmp_path / "p.parquet"
    sides["validation"].add_to(file)
    sides["test"].add_to(file)
    again = kept(sides["validation"].dataset, seed=7)
    again.add_to(file)
    found = Predictions.load(file, both.dataset, dataset.tasks)
    assert len(found) == len(dataset)
    validation = Predictions.load(file, both.dataset, dataset.tasks, split="validation")
    np.testing.assert_array_equal(validation.logits["marks"], again.logits["marks"])
    test = Predictions.load(file, both.dataset, dataset.tasks, split="test")
    np.testing.assert_array_equal(test.logits["marks"], sides["test"].logits["marks"])


def test_a_damaged_file_is_made_anew(dataset, tmp_path):
    file = tmp_path / "p.parquet"
    file.write_bytes(b"PAR1 was cut off")
    before = kept(in_two(dataset))
    before.add_to(file)
    after = Predictions.load(file, before.dataset, dataset.tasks)
    np.testing.assert_array_equal(after.logits["label"], before.logits["label"])


def test_predictions_of_other_pictures_or_classes_are_refused(dataset, tmp_path):
    kept(dataset).save(tmp_path / "p.parquet")
    with pytest.raises(RunError, match="about other pictures or classes"):
        Predictions.load(tmp_path / "p.parquet", dataset.take([0, 1]), dataset.tasks)
    fewer = (Task("label", dataset.tasks[0].classes[:-1]),)
    with pytest.raises(RunError, match="about other pictures or classes"):
        Predictions.load(tmp_path / "p.parquet", dataset, fewer)
    with pytest.raises(RunError, match="hornbeam evaluate makes it"):
        Predictions.load(tmp_path / "none.parquet", dataset, dataset.tasks)


class Halved:
    def apply(self, logits):
        return logits / 2


def test_probabilities_and_answers_are_those_of_the_scaled_logits(dataset):
    plain = kept(dataset)
    scaled = dataclasses.replace(plain, scalings={"label": Halved()})
    label, marks = dataset.tasks
    expected = scipy.special.softmax(plain.logits["label"].astype(np.float64) / 2, axis=1)
    np.testing.assert_allclose(scaled.probabilities(label), expected, atol=1e-6)
    np.testing.assert_array_equal(scaled.probabilities(marks), plain.probabilities(marks))
    table = scaled.table()
    np.testing.assert_allclose(
        np.stack(table["label_probabilities"].to_numpy()), expected, atol=1e-6
    )
    np.testing.assert_array_equal(np.stack(table["label_logits"].to_numpy()), plain.logits["label"])


def test_the_table_names_the_group_of_a_picture_where_there_are_groups(dataset):
    assert "group" not in kept(dataset).table().column_names
    grouped = dataset.with_column("group", [f"g{i // 2}" for i in range(len(dataset))])
    assert kept(grouped).table()["group"].to_pylist() == [f"g{i // 2}" for i in range(len(dataset))]


def test_averaged_answers_keep_the_mean_size_of_their_logits(model, dataset):
    """Which tells unknown pictures by their energy."""
    found = answers(model, dataset, views=2).logits["label"].astype(np.float64)
    views = (logits_of(model, dataset), logits_of(model, dataset, augment=Augmentation(flip=1.0)))
    expected = np.mean([scipy.special.logsumexp(v["label"], axis=1) for v in views], axis=0)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(scipy.special.logsumexp(found, axis=1), expected, atol=1e-4)
