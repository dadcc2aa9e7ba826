"""LiteRT gives what Keras gives, and is used only where it does, and is quicker."""

import keras
import numpy as np
import pytest

from hornbeam.training import extract


def network(layer=None):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((24, 24, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    norm = keras.layers.BatchNormalization()
    x = norm(x)
    norm.set_weights([np.random.default_rng(i).uniform(0.5, 2, 8) for i in range(4)])
    x = keras.layers.DepthwiseConv2D(3, activation="relu6")(x)
    x = (layer or keras.layers.Identity())(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def pictures(seed=0, count=4):
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)


def test_litert_gives_what_keras_gives():
    model = network()
    lite = extract._litert_forward(model, pictures(), threads=1)
    for seed in (0, 1):
        np.testing.assert_allclose(
            lite(pictures(seed)), model.predict_on_batch(pictures(seed)), atol=1e-5
        )


@pytest.fixture
def worth_it(monkeypatch):
    monkeypatch.setattr(extract, "_WORTH", 0.0)
    pace = {"LiteRT": 1.0, "tensorflow": 2.0}
    monkeypatch.setattr(extract, "_timed", lambda runtime, _: (pace[runtime.name],) * 2)
    return pace


def test_the_quicker_one_is_used(worth_it):
    assert extract.quickest_runtime(network(), pictures(), 9, 1).name == "LiteRT"
    worth_it["LiteRT"] = 3.0
    assert extract.quickest_runtime(network(), pictures(), 9, 1).name == "tensorflow"


def test_a_runtime_that_answers_otherwise_is_not_used(worth_it, monkeypatch):
    monkeypatch.setattr(extract, "_litert_forward", lambda *_: lambda x: np.full((4, 8), np.nan))
    runtime = extract.quickest_runtime(network(), pictures(), 9, 1)
    assert runtime.name == "tensorflow"
    assert np.isfinite(runtime.run(pictures())).all()


class OnlyInTensorFlow(keras.layers.Layer):
    def call(self, x):
        import tensorflow as tf

        return tf.raw_ops.Betainc(a=tf.abs(x) + 1.0, b=tf.ones_like(x), x=tf.sigmoid(x))


def test_a_network_that_litert_cannot_run_is_left_to_keras(worth_it):
    assert (
        extract.quickest_runtime(network(OnlyInTensorFlow()), pictures(), 9, 1).name == "tensorflow"
    )


def test_a_few_pictures_are_not_worth_a_conversion(monkeypatch):
    monkeypatch.setattr(extract, "_litert_forward", lambda *_: pytest.fail("converted"))
    assert extract.quickest_runtime(network(), pictures(), 1, 1).name == "tensorflow"
