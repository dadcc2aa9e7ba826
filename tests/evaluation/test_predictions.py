"""Answers to several views are averaged; marks stand alone."""

import dataclasses

import keras
import numpy as np
import pyarrow as pa
import pytest
import scipy.special

from hornbeam.data.dataset import Task
from hornbeam.data.loader import Loader
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.sources import open_folder
from hornbeam.evaluation.predictions import Predictions, predict

MARKS = Task("marks", ("round", "flat", "red"), multi_label=True)


@pytest.fixture(scope="module")
def dataset(shapes):
    folder = open_folder(shapes).take(np.arange(0, 72, 5))
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
