"""Networks for grey pictures and for pictures with alpha."""

import keras
import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.models.classifier import adapt_user_model, build_classifier
from hornbeam.models.zoo import ZOO

TASKS = (Task("label", ("a", "b", "c")),)
RNG = np.random.default_rng(0)


def test_grey_pictures_are_answered_as_their_three_equal_colours_are():
    keras.utils.set_random_seed(0)
    grey = build_classifier(ZOO["mobilenet_v2_035"], (40, 48, 1), TASKS)
    colour = build_classifier(ZOO["mobilenet_v2_035"], (40, 48, 3), TASKS)
    colour.set_weights(grey.get_weights())
    pixels = RNG.integers(0, 256, (2, 40, 48, 1), np.uint8)
    np.testing.assert_allclose(
        grey.predict_on_batch(pixels)["label"],
        colour.predict_on_batch(np.repeat(pixels, 3, axis=3))["label"],
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("compact", -1, 1), ("mobilenet_v3_small", -1, 1), ("efficientnet_b0", 0, 255),
     ("densenet121", -2.3, 2.7), ("resnet50", -127.5, 152), ("resnet50_slim", -127.5, 152)],
)  # fmt: skip
def test_alpha_reaches_the_network_in_the_range_of_the_colours(name, low, high):
    model = build_classifier(ZOO[name], (40, 48, 4), TASKS)
    pixels = RNG.integers(0, 256, (2, 40, 48, 4), np.uint8)
    normalized = keras.Model(model.input, model.get_layer("normalize").output)
    values = normalized.predict_on_batch(pixels)
    assert values.shape == (2, 40, 48, 4)
    assert low - 0.01 <= values.min()
    assert values.max() <= high + 0.01
    answers = model.predict_on_batch(pixels)["label"]
    assert np.isfinite(answers).all()
    without = pixels.copy()
    without[..., 3] = 255 - without[..., 3]
    other = normalized.predict_on_batch(without)
    np.testing.assert_allclose(values[..., :3], other[..., :3])
    assert np.abs(values[..., 3] - other[..., 3]).max() > (high - low) / 3


def test_weights_of_colours_are_refused_for_alpha():
    with pytest.raises(ConfigError, match=r"imagenet were trained on 3 channels, and --image-size 40x48x4 has 4"):  # fmt: skip
        build_classifier(ZOO["mobilenet_v2_035"], (40, 48, 4), TASKS, weights="imagenet")


@pytest.mark.parametrize("channels", [1, 4])
def test_a_recipes_model_gets_the_channels_that_were_asked_for(channels):
    def build_model(input_shape, targets):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))

    model = adapt_user_model(build_model, (8, 9, channels), TASKS)
    assert model.input_shape == (None, 8, 9, channels)
