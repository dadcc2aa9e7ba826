"""Where a network looks: at the corner that decides, and the closed form is the gradient."""

import dataclasses
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import RunError
from hornbeam.evaluation.explanations import Explanations, explain
from hornbeam.evaluation.heat import heat_of
from hornbeam.evaluation.predictions import Predictions
from hornbeam.models.classifier import build_classifier
from hornbeam.models.feature_map import FeatureMap, last_feature_map
from hornbeam.models.side_features import SideFeatures
from hornbeam.models.zoo import find_architecture

TASK = Task("label", ("dark", "light"))


def corner_model(head=None):
    """Return a network whose answer is light where a picture is, dark where it is not.

    Its one map is 1 - x and x, of means of 4 by 4 pixels.
    """
    image = keras.Input((16, 16, 3), dtype="uint8", name="image")
    convolution = layers.Conv2D(2, 4, strides=4, name="map")
    features = convolution(layers.Rescaling(1 / 255)(image))
    kernel = np.full((4, 4, 3, 2), 1 / 48, np.float32) * [-1, 1]
    convolution.set_weights([kernel, np.array([1, 0], np.float32)])
    if head is None:
        dense = layers.Dense(2, name="label")
        logits = dense(layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(features)))
        dense.set_weights([np.eye(2, dtype=np.float32), np.zeros(2, np.float32)])
    else:
        logits = head(features)
    return keras.Model(image, {"label": logits})


@pytest.fixture
def corners(tmp_path):
    """Pictures, black but for one white corner, each time another one."""
    for number, (row, column) in enumerate([(0, 0), (0, 12), (12, 0), (12, 12)]):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[row : row + 4, column : column + 4] = 255
        (tmp_path / "p" / "light").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "p" / "light" / f"{number}.png")
    paths = [f"light/{number}.png" for number in range(4)]
    return Dataset.from_columns(tmp_path / "p", paths, ["test"] * 4, {TASK: [1] * 4})


def test_the_corner_that_decides_is_hot(corners):
    model = corner_model()
    pixels = np.stack([corners.decode(row, corners.read(row)) for row in range(4)])
    cut = last_feature_map(model, "label")
    assert cut.weights is not None
    heat = heat_of(cut, pixels, np.array([1, 1, 1, 1]))
    expected = np.zeros((4, 4, 4))
    for number, place in enumerate([(0, 0), (0, 3), (3, 0), (3, 3)]):
        expected[number][place] = 1
    np.testing.assert_allclose(heat, expected, atol=1e-6)
    np.testing.assert_allclose(heat_of(cut, pixels, np.zeros(4, int)), 1 - expected, atol=1e-6)


def test_a_trained_network_looks_at_the_corner_that_tells_the_classes():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 120, (256, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(256) % 2
    pixels[labels == 1, 20:28, 20:28, 0] = 255  # red, at the lower right
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    for width in (8, 16):
        x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
    logits = layers.Dense(2, name="label")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, {"label": logits})
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(pixels, {"label": labels}, epochs=8, verbose=0)
    assert (model.predict(pixels, verbose=0)["label"].argmax(1) == labels).mean() > 0.95
    shown = pixels[labels == 1][:8]
    heat = heat_of(last_feature_map(model, "label"), shown, np.ones(8, int))
    inside = heat[:, 4:8, 4:8].sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
    assert (inside > 0.5).all(), inside  # a quarter of the picture


def zoo_model(targets, features=None):
    keras.utils.set_random_seed(1)
    return build_classifier(find_architecture("compact"), (48, 48), targets, features=features)


def inputs_of(model, count=3):
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (count, 48, 48, 3)).astype(np.uint8)
    if isinstance(model.input, dict):
        columns = model.input["features"].shape[1]
        return {"image": pixels, "features": rng.normal(size=(count, columns)).astype(np.float32)}
    return pixels


def test_the_closed_form_is_the_gradient():
    model = zoo_model((Task("a", ("x", "y", "z")), Task("b", ("u", "v"))))
    inputs = inputs_of(model)
    for task, count in (("a", 3), ("b", 2)):
        cut = last_feature_map(model, task)
        assert cut.weights.shape[1] == count
        of = np.arange(3) % count
        by_gradient = heat_of(dataclasses.replace(cut, weights=None), inputs, of)
        np.testing.assert_allclose(heat_of(cut, inputs, of), by_gradient, atol=1e-5)


def test_two_parts_answer_as_the_whole():
    features = SideFeatures(("n", "m"), (0.0, 0.0), (1.0, 1.0))
    for model in (zoo_model((TASK,)), zoo_model((TASK,), features), pooled_inside()):
        inputs = inputs_of(model)
        cut = last_feature_map(model, "label")
        assert isinstance(cut, FeatureMap)
        whole = model.predict(inputs, verbose=0)["label"]
        np.testing.assert_allclose(cut.back(cut.front(inputs), inputs), whole, atol=1e-5)
        assert heat_of(cut, inputs, np.array([0, 1, 0])).max() <= 1


def pooled_inside():
    """Return a classifier whose nested network does the pooling itself."""
    source = keras.Input((48, 48, 3))
    x = layers.Conv2D(6, 3, strides=8, activation="relu")(source)
    inside = keras.Model(source, layers.GlobalMaxPooling2D()(x), name="backbone")
    image = keras.Input((48, 48, 3), dtype="uint8", name="image")
    logits = layers.Dense(2, name="label")(inside(layers.Rescaling(1 / 255)(image)))
    return keras.Model(image, {"label": logits})


def test_heads_that_are_not_linear_get_gradients(corners):
    def head(features):
        pooled = layers.GlobalMaxPooling2D()(features)
        return layers.Dense(2, name="label", kernel_initializer="identity")(pooled)

    model = corner_model(head)
    cut = last_feature_map(model, "label")
    assert cut.weights is None
    pixels = np.stack([corners.decode(row, corners.read(row)) for row in range(4)])
    heat = heat_of(cut, pixels, np.ones(4, int))
    assert heat[0, 0, 0] == 1
    assert heat[0].sum() == 1


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda x: layers.Dense(2, name="label")(layers.Flatten()(x)), "no map of features"),
        (lambda x: layers.Dense(2, name="label")(
            layers.GlobalAveragePooling1D()(layers.Reshape((16, 8))(layers.Conv2D(8, 4, 4)(x)))
        ), "sequence"),
        (lambda x: layers.Dense(2, name="label")(layers.Concatenate()([
            layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(x)), layers.Flatten()(layers.Conv2D(8, 3)(x))
        ])), "More than one map"),
    ],
    ids=["no convolution", "a sequence", "two maps"],
)  # fmt: skip
def test_what_has_no_last_map_says_so(build, reason):
    image = keras.Input((16, 16, 3), dtype="uint8", name="image")
    model = keras.Model(image, {"label": build(layers.Rescaling(1 / 255)(image))})
    assert reason in last_feature_map(model, "label")


def predictions_of(model, dataset, tasks=(TASK,)):
    pixels = np.stack([dataset.decode(row, dataset.read(row)) for row in range(len(dataset))])
    logits = model(pixels)
    return Predictions(dataset, tasks, {t.name: np.asarray(logits[t.name]) for t in tasks})


def test_right_wrong_and_uncertain_answers_are_explained_and_kept(corners, tmp_path):
    model = corner_model()
    predictions = predictions_of(model, corners)  # all dark, as most of each is
    found = explain(model, predictions, image_size=(16, 16, 3), batch_size=3)
    assert found.reason == ""
    assert len(found) == 8
    assert set(found.paths) == set(corners.paths)
    assert set(found.classes) == {"dark", "light"}
    assert "Is light, was named dark" in found.notes[0]
    assert found.pictures.shape == (8, 16, 16, 3)
    odd = dataclasses.replace(found, paths=("\udcff", "a\nb", "", *found.paths[3:]))
    odd.save(tmp_path / "e.npz")
    again = Explanations.load(tmp_path / "e.npz")
    assert dataclasses.asdict(again).keys() == dataclasses.asdict(odd).keys()
    for name in ("paths", "tasks", "classes", "notes", "reason"):
        assert getattr(again, name) == getattr(odd, name)
    np.testing.assert_array_equal(again.heat, odd.heat)


def test_a_reason_is_kept_as_well(tmp_path):
    Explanations(reason="No map.").save(tmp_path / "e.npz")
    again = Explanations.load(tmp_path / "e.npz")
    assert (len(again), again.reason) == (0, "No map.")


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_file_is_refused_by_name(tmp_path, damage):
    Explanations(reason="r").save(tmp_path / "e.npz")
    whole = (tmp_path / "e.npz").read_bytes()
    (tmp_path / "e.npz").write_bytes(whole[:-40] if damage is None else damage)
    with pytest.raises(RunError, match=r"e\.npz cannot be read"):
        Explanations.load(tmp_path / "e.npz")


def test_a_network_that_cannot_be_looked_into_gives_a_reason_and_no_error(corners):
    class Odd(keras.Model):
        def call(self, pixels):
            return {"label": pixels}

    model = corner_model()
    found = explain(Odd(), predictions_of(model, corners), image_size=(16, 16, 3), batch_size=3)
    assert len(found) == 0
    assert found.reason.startswith("The network could not be looked into")


def test_pictures_that_are_gone_by_now_give_a_reason(corners, tmp_path):
    model = corner_model()
    predictions = predictions_of(model, corners)
    (tmp_path / "p" / "light" / "0.png").unlink()
    found = explain(model, predictions, image_size=(16, 16, 3), batch_size=3)
    assert "0.png" in found.reason


def test_jax_gives_the_same_heat():
    code = """
import numpy as np, keras, dataclasses
assert keras.config.backend() == "jax"
from keras import layers
from hornbeam.models.feature_map import last_feature_map
from hornbeam.evaluation.heat import heat_of
image = keras.Input((32, 32, 3), dtype="uint8", name="image")
keras.utils.set_random_seed(3)
x = layers.Conv2D(5, 3, strides=4)(layers.Rescaling(1 / 255)(image))
x = layers.Activation("relu")(layers.BatchNormalization()(x))
logits = layers.Dense(3, name="label")(layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x)))
model = keras.Model(image, {"label": logits})
pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
cut = last_feature_map(model, "label")
of = np.arange(3)
exact = heat_of(cut, pixels, of)
assert exact.max() == 1
np.testing.assert_allclose(heat_of(dataclasses.replace(cut, weights=None), pixels, of), exact, atol=1e-5)
"""
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
        env={**os.environ, "KERAS_BACKEND": "jax"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
