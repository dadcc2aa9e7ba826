"""What reaches the last layers is found, whatever the network, and changes no answer."""

import keras
import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.models.classifier import adapt_user_model, build_classifier
from hornbeam.models.penultimate import FEATURES, with_features
from hornbeam.models.side_features import SideFeatures
from hornbeam.models.zoo import find_architecture

TASKS = [Task("kind", ("a", "b", "c")), Task("marks", ("x", "y"), multi_label=True)]
PICTURES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def built(body, tasks=TASKS[:1]):
    def build_model(input_shape, targets):
        inputs = keras.Input(input_shape)
        x = keras.layers.Rescaling(1 / 255)(inputs)
        return keras.Model(inputs, body(x, targets))

    return adapt_user_model(build_model, (32, 32, 3), tasks)


def check(model, tasks, inputs=PICTURES):
    """The answers stay, and each task's logits are its last layer's of the features."""
    both = with_features(model, tasks)
    expected, found = model.predict_on_batch(inputs), both.predict_on_batch(inputs)
    assert set(found) == {FEATURES, *(task.name for task in tasks)}
    for task in tasks:
        np.testing.assert_allclose(found[task.name], expected[task.name], atol=1e-6)
        layers = [
            layer for layer in model.layers
            if isinstance(layer, keras.layers.Dense) and layer.units == len(task.classes)
        ]  # fmt: skip
        kernel, bias = layers[-1].get_weights()
        np.testing.assert_allclose(found[FEATURES] @ kernel + bias, expected[task.name], atol=1e-4)
    return found[FEATURES]


def test_of_the_zoo_they_are_the_pooled_features_of_all_tasks():
    model = build_classifier(find_architecture("compact"), (32, 32, 3), TASKS, dropout=0.3)
    found = check(model, TASKS)
    pooled = keras.Model(model.input, model.get_layer("pool").output).predict_on_batch(PICTURES)
    np.testing.assert_allclose(found, pooled, atol=1e-6)


def test_side_features_are_among_them():
    side = SideFeatures(("age",), (40.0,), (10.0,))
    model = build_classifier(find_architecture("compact"), (32, 32, 3), TASKS, features=side)
    inputs = {"image": PICTURES, "features": np.array([[20.0], [40.0], [60.0]], np.float32)}
    found = check(model, TASKS, inputs)
    pooled = model.get_layer("pool").output.shape[1]
    assert found.shape == (3, pooled + model.get_layer("encode_features").units)


def test_of_a_recipe_they_are_its_last_hidden_layer():
    def body(x, targets):
        x = keras.layers.Dense(8, "relu")(keras.layers.Flatten()(x))
        return keras.layers.Dense(3, "softmax")(keras.layers.Dropout(0.5)(x))

    assert check(built(body), TASKS[:1]).shape == (3, 8)


def test_of_a_sequential_recipe_too():
    def build_model(input_shape, targets):
        return keras.Sequential([
            keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(5, "relu"),
            keras.layers.Dense(3), keras.layers.Softmax(),
        ])  # fmt: skip

    model = adapt_user_model(build_model, (32, 32, 3), TASKS[:1])
    assert check(model, TASKS[:1]).shape == (3, 5)


@pytest.mark.parametrize("kind", ["convolution", "apart", "map", "relu"])
def test_a_head_without_such_a_vector_gives_none(kind):
    layers = keras.layers

    def body(x, targets):
        if kind == "convolution":
            return layers.GlobalAveragePooling2D()(layers.Conv2D(3, 1)(x))
        if kind == "map":
            return layers.GlobalAveragePooling2D()(layers.Dense(3)(x))
        if kind == "relu":
            return layers.Dense(3, "relu")(layers.Flatten()(x))
        flat = layers.Flatten()(x)
        return {t.name: layers.Dense(len(t.classes))(layers.Dense(4)(flat)) for t in targets}

    tasks = TASKS if kind == "apart" else TASKS[:1]
    assert with_features(built(body, tasks), tasks) is None


def test_a_model_that_is_no_graph_of_layers_gives_none():
    @keras.saving.register_keras_serializable("test_penultimate")
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(keras.ops.mean(x, axis=(1, 2)))

    def body(x, targets):
        return Own()(x)

    assert with_features(built(body), TASKS[:1]) is None


def test_they_outlive_saving(tmp_path):
    model = build_classifier(find_architecture("compact"), (32, 32, 3), TASKS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(check(loaded, TASKS), check(model, TASKS), atol=1e-6)
