"""The model that converters get is the trained one, in float32."""

import keras
import numpy as np
import pytest
from networks import network, pictures

from hornbeam.data.tasks import Task
from hornbeam.deployment.conversion.operators import refuse_bare_operations
from hornbeam.deployment.conversion.rebuild import in_float32, rebuilt
from hornbeam.errors import ModelError
from hornbeam.models.classifier import build_classifier
from hornbeam.models.zoo import find_architecture


def test_short_types_become_float32_and_others_stay():
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}
    config = {"layers": [{"dtype": policy}, {"dtype": "uint8"}, ({"dtype": "float16"},)]}
    found = in_float32(config)
    assert found["layers"][0]["dtype"]["config"] == {"name": "float32"}
    assert found["layers"][1] == {"dtype": "uint8"}
    assert found["layers"][2] == ({"dtype": "float32"},)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_no_layer_computes_in_less_than_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        inner = keras.Sequential([keras.layers.Conv2D(8, 3), keras.layers.BatchNormalization()])
        model = network(body=[inner])
    finally:
        keras.config.set_dtype_policy("float32")
    anew = rebuilt(model)
    assert {layer.compute_dtype for layer in anew._flatten_layers()} <= {"float32", "uint8"}
    for old, new in zip(model.get_weights(), anew.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_it_has_been_called():
    assert rebuilt(network())._called


def test_statistics_of_normalization_are_arrays():
    layer = keras.layers.Normalization(name="adapted")
    layer.adapt(np.random.default_rng(0).normal(3, 2, (20, 32, 32, 3)))
    found = rebuilt(network(body=[layer])).get_layer("adapted")
    assert type(found.mean) is np.ndarray
    assert type(found.variance) is np.ndarray
    np.testing.assert_allclose(found.mean, layer.mean, rtol=1e-6)


def flips(model):
    return [
        operation for layer in [model, *model._flatten_layers()] if hasattr(layer, "operations")
        for operation in layer.operations if type(operation).__name__ == "Flip"
    ]  # fmt: skip


def test_colours_are_turned_by_a_layer_to_the_same_answers():
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    inner = keras.Model(image, keras.layers.Rescaling(1 / 255)(keras.ops.flip(image, -1)))
    found = keras.layers.Flatten()(keras.layers.Conv2D(2, 5, strides=5)(inner(image)))
    model = keras.Model(image, {"kind": keras.layers.Dense(3)(found)})
    anew = rebuilt(model)
    assert flips(model)
    assert not flips(anew)
    expected = model.predict_on_batch(pictures())["kind"]
    np.testing.assert_allclose(anew.predict_on_batch(pictures())["kind"], expected, atol=1e-6)
    with pytest.raises(ModelError, match="Flip"):
        refuse_bare_operations(model)
    refuse_bare_operations(anew)


def test_a_caffe_network_of_the_zoo_has_no_flip_left():
    model = build_classifier(
        find_architecture("resnet50"), (32, 32, 3), (Task("kind", ("a", "b")),)
    )
    anew = rebuilt(model)
    assert not flips(anew)
    expected = model.predict_on_batch(pictures(2))["kind"]
    np.testing.assert_allclose(
        anew.predict_on_batch(pictures(2))["kind"], expected, rtol=1e-4, atol=1e-4
    )
