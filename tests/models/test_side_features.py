"""Numbers beside the picture: standardised inside the model, whatever the recipe's inputs look like."""

import keras
import numpy as np
import pytest
from keras import layers

from hornbeam.data.pixels.mixing import neutral
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.models.classifier import adapt_user_model, build_classifier
from hornbeam.models.side_features import SideFeatures
from hornbeam.models.zoo import ZOO
from hornbeam.training.mixing import mixing_model

RNG = np.random.default_rng(0)
SIZE = (32, 40)
TASKS = (Task("kind", ("a", "b", "c")), Task("colour", ("x", "y", "z")))
VALUES = RNG.normal([50, -3, 2024, 7], [10, 0.01, 2, 0], (200, 4)).astype(np.float32)
FEATURES = SideFeatures.of(("age", "tiny", "year", "same"), VALUES)
PIXELS = RNG.integers(0, 256, (5, *SIZE, 3), np.uint8)
INPUTS = {"image": PIXELS, "features": VALUES[:5]}


def standardized(values):
    """In float64, a column that does not vary divided by 1."""
    exact = VALUES.astype(np.float64)
    deviations = exact.std(axis=0)
    deviations[3] = 1
    return (values - exact.mean(axis=0)) / deviations


def test_columns_are_standardised_by_the_training_pictures():
    inputs = FEATURES.input()
    model = keras.Model(inputs, FEATURES.standardize(inputs))
    found = model.predict_on_batch(VALUES)
    # The year 2024 in float32 is known to 1e-4, of a deviation of 2.
    np.testing.assert_allclose(found, standardized(VALUES), atol=2e-4)
    np.testing.assert_array_equal(np.unique(found[:, 3]), [0])


def test_a_column_that_does_not_vary_is_told_from_rounding():
    constant = np.full((1000, 2), [0.1, 1e6], np.float32)
    assert SideFeatures.of(("a", "b"), constant).deviations == (1.0, 1.0)
    assert SideFeatures.of(("a",), np.zeros((3, 1), np.float32)).deviations == (1.0,)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_heads_of_the_zoo_see_the_standardised_columns(policy):
    """Other numbers move the logits by what a float64 twin of the hidden layer says."""
    keras.config.set_dtype_policy(policy)
    try:
        model = build_classifier(ZOO["compact"], SIZE, TASKS, dropout=0.5, features=FEATURES)
    finally:
        keras.config.set_dtype_policy("float32")
    before = model.predict_on_batch(INPUTS)
    moved = INPUTS["features"] + np.float32([10, 0.02, 4, 1])
    after = model.predict_on_batch({**INPUTS, "features": moved})
    weights, bias = model.get_layer("encode_features").get_weights()

    def hidden(values):
        return np.maximum(standardized(values) @ weights.astype(np.float64) + bias, 0)

    change = hidden(moved) - hidden(INPUTS["features"])
    assert np.abs(change).max() > 0.1
    for task in TASKS:
        kernel = model.get_layer(task.name).kernel.numpy()
        assert after[task.name].dtype == np.float32
        expected = change @ kernel[-weights.shape[1] :]
        np.testing.assert_allclose(after[task.name] - before[task.name], expected, atol=2e-3)


def of_recipe(form, closing=None):
    """A recipe's model whose logits are its standardised columns, times 1, 2, 3 for `kind`."""

    def build_model(input_shape, targets, features):
        assert features == FEATURES.names
        image = keras.Input(input_shape, dtype="uint8" if form == "bytes" else "float32", name="b")
        vector = keras.Input((len(features),), name="a")
        none = layers.Flatten()(layers.Rescaling(0.0)(image))[:, :3]
        first = layers.Add()([vector[:, :3], none])
        outputs = {"kind": first, "colour": layers.Rescaling(2.0)(first)}
        if closing:
            outputs = {name: layers.Softmax()(o) for name, o in outputs.items()}
        inputs = {
            "list": [image, vector],
            "reversed": [vector, image],
            "named": {"b": image, "a": vector},
            "bytes": (image, vector),
        }[form]
        return keras.Model(inputs, outputs)

    return build_model


@pytest.mark.parametrize("form", ["list", "reversed", "named", "bytes"])
@pytest.mark.parametrize("closing", [None, "softmax"])
def test_a_recipes_model_may_take_its_two_inputs_in_any_form(form, closing, tmp_path):
    model = adapt_user_model(of_recipe(form, closing), SIZE, TASKS, FEATURES)
    found = model.predict_on_batch(INPUTS)
    expected = standardized(INPUTS["features"])[:, :3]
    np.testing.assert_allclose(found["kind"], expected, atol=2e-4)
    # Two outputs of one shape: a closing softmax must not make them change places.
    np.testing.assert_allclose(found["colour"], 2 * expected, atol=4e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict_on_batch(INPUTS)["kind"], found["kind"])


def picture_only(input_shape, targets):
    inputs = keras.Input(input_shape)
    pooled = layers.GlobalAveragePooling2D()(inputs)
    return keras.Model(inputs, [layers.Dense(3)(pooled), layers.Dense(3)(pooled)])


def with_vectors(*widths):
    def build_model(input_shape, targets):
        inputs = keras.Input(input_shape)
        vectors = [keras.Input((width,)) for width in widths]
        joined = layers.Concatenate()([layers.GlobalAveragePooling2D()(inputs), *vectors])
        return keras.Model([inputs, *vectors], [layers.Dense(3)(joined), layers.Dense(3)(joined)])

    return build_model


@pytest.mark.parametrize(
    ("build", "features", "sentence"),
    [
        (picture_only, FEATURES, r"does not take the numbers age, tiny, year, same; give it a second "
         r"input, keras.Input\(\(4,\), name='features'\), or leave --feature-columns out"),
        (with_vectors(4), None, "has 2 inputs; expected one, the pixels; name the columns .* with "
         "--feature-columns"),
        (with_vectors(3), FEATURES, "takes a vector of 3 numbers; expected 4: age, tiny, year, same"),
        (with_vectors(4, 1), FEATURES, "has 3 inputs; expected two"),
    ],
)  # fmt: skip
def test_a_recipes_model_that_does_not_fit_the_columns_is_refused(build, features, sentence):
    with pytest.raises(ConfigError, match=sentence):
        adapt_user_model(build, SIZE, TASKS, features)


def test_a_recipe_is_given_no_names_where_there_are_no_columns():
    seen = []

    def build_model(input_shape, targets, features):
        seen.append(features)
        return picture_only(input_shape, targets)

    adapt_user_model(build_model, SIZE, TASKS)
    assert seen == [()]


def test_a_mixing_model_hands_the_numbers_on():
    model = build_classifier(ZOO["compact"], SIZE, TASKS, features=FEATURES)
    mixing = mixing_model(model)
    found = mixing.predict_on_batch({**INPUTS, "mix": neutral(5)})
    expected = model.predict_on_batch(INPUTS)
    for task in TASKS:
        np.testing.assert_allclose(found[task.name], expected[task.name], atol=1e-5)
