"""Networks of the zoo, and recipes."""

import keras
import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.models.classifier import BACKBONE, adapt_user_model, build_classifier, freeze_backbone
from hornbeam.models.scopes import variables_by_path
from hornbeam.models.zoo import ZOO, find_architecture

TASKS = (Task("label", ("a", "b", "c")),)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 48, 3), np.uint8)


def test_every_classifier_of_keras_applications_is_in_the_zoo():
    known = {a.constructor for a in ZOO.values()}
    offered = {
        n
        for n in dir(keras.applications)
        if callable(getattr(keras.applications, n)) and n[0].isupper()
    }
    assert offered == known - {""}


@pytest.mark.parametrize(
    "name",
    [
        "compact",
        "mobilenet_025",
        "mobilenet_v2_035",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "mobilenet_v2_timm",
        "resnet50_timm",
        "resnet50_slim",
    ],
)
def test_the_table_tells_the_number_of_parameters(name):
    architecture = ZOO[name]
    backbone = architecture.build_backbone((64, 64), None)
    assert backbone.count_params() == architecture.parameters


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, a in ZOO.items() if a.parameters < 100e6])
def test_each_network_builds_and_answers(name):
    architecture = ZOO[name]
    side = max(96, architecture.smallest)
    model = build_classifier(architecture, (side, side), TASKS)
    assert model.get_layer(BACKBONE).count_params() == architecture.parameters
    answers = model.predict_on_batch(np.zeros((1, side, side, 3), np.uint8))
    assert answers["label"].shape == (1, 3)
    assert np.isfinite(answers["label"]).all()


@pytest.mark.parametrize(
    ("name", "module"),
    [("mobilenet_v2_035", "mobilenet_v2"), ("resnet50", "resnet50"), ("densenet121", "densenet"),
     ("vgg16", "vgg16"), ("efficientnet_b0", "efficientnet"), ("resnet50_v2", "resnet_v2")],
)  # fmt: skip
def test_normalization_inside_is_keras_own_preprocessing(name, module):
    model = build_classifier(ZOO[name], (40, 48), TASKS)
    normalized = keras.Model(model.input, model.get_layer("normalize").output)
    expected = getattr(keras.applications, module).preprocess_input(PIXELS.astype(np.float32))
    np.testing.assert_allclose(normalized.predict_on_batch(PIXELS), expected, atol=2e-5)


def test_pixels_of_slims_resnet_are_rgb_less_the_mean_of_imagenet():
    model = build_classifier(ZOO["resnet50_slim"], (40, 48), TASKS)
    normalized = keras.Model(model.input, model.get_layer("normalize").output)
    found = normalized.predict_on_batch(PIXELS)
    np.testing.assert_allclose(found, PIXELS - np.array([123.68, 116.78, 103.94]), atol=2e-3)


def test_layers_without_names_of_their_own_are_numbered_alike_in_every_network():
    ZOO["xception"].build_backbone((96, 96), None)
    names = [layer.name for layer in ZOO["xception"].build_backbone((96, 96), None).layers]
    assert [name for name in names if name.startswith("conv2d")] == [
        "conv2d", "conv2d_1", "conv2d_2", "conv2d_3"
    ]  # fmt: skip
    assert len(set(names)) == len(names)


def test_a_classifier_takes_bytes_and_names_its_outputs():
    two = (*TASKS, Task("age", ("young", "old")))
    model = build_classifier(ZOO["compact"], (40, 48), two)
    assert model.input.dtype == "uint8"
    answers = model.predict_on_batch(PIXELS)
    assert {name: logits.shape for name, logits in answers.items()} == {
        "label": (2, 3),
        "age": (2, 2),
    }


@pytest.mark.parametrize("name", ["pool", "image", "backbone", "dropout"])
def test_a_task_may_be_called_as_one_of_our_layers(name):
    tasks = (Task(name, ("a", "b")), Task("label", ("a", "b", "c")))
    model = build_classifier(ZOO["compact"], (40, 48), tasks)
    assert {task: len(found[0]) for task, found in model.predict(PIXELS, verbose=0).items()} == {
        name: 2, "label": 3,
    }  # fmt: skip
    assert {"head/label/bias", f"head/{name}_logits/bias"} < set(variables_by_path(model))

    def build_model(input_shape, targets):
        inputs = keras.Input(input_shape)
        mean = keras.layers.GlobalAveragePooling2D()(inputs)
        return keras.Model(
            inputs, [keras.layers.Dense(len(each.classes))(mean) for each in targets]
        )

    assert set(adapt_user_model(build_model, (40, 48), tasks).output) == {name, "label"}


def test_unknown_models_get_the_nearest_name():
    assert find_architecture("MobileNetV2").name == "mobilenet_v2"
    with pytest.raises(ConfigError, match=r"no model 'resnet5'\. Did you mean 'resnet50'"):
        find_architecture("resnet5")


def test_pictures_too_small_for_a_network_are_refused():
    with pytest.raises(ConfigError, match=r"64x64 is too small for inception_v3.*from 75 pixels"):
        ZOO["inception_v3"].build_backbone((64, 64), None)


def test_a_frozen_backbone_keeps_its_moving_statistics_under_fit():
    model = build_classifier(ZOO["compact"], (40, 48), TASKS)
    freeze_backbone(model)
    before = [np.array(w) for w in model.get_layer(BACKBONE).weights]
    model.compile("sgd", {"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
    model.fit(PIXELS, {"label": np.array([0, 2])}, epochs=3, verbose=0)
    for old, new in zip(before, model.get_layer(BACKBONE).weights, strict=True):
        np.testing.assert_array_equal(old, np.array(new))
    assert len(model.trainable_weights) == 2


def small_network(input_shape, classes, closing, dtype="float32"):
    inputs = keras.Input(input_shape, dtype=dtype)
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    activation = "softmax" if closing == "in the Dense" else None
    x = keras.layers.Dense(classes, activation=activation)(x)
    if closing == "a layer":
        x = keras.layers.Softmax()(x)
    if closing == "an Activation":
        x = keras.layers.Activation("softmax")(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("closing", ["none", "in the Dense", "a layer", "an Activation"])
def test_a_closing_softmax_of_a_recipe_is_taken_off(closing):
    def build_model(input_shape, targets):
        keras.utils.set_random_seed(1)
        return small_network(input_shape, len(targets[0].classes), closing)

    model = adapt_user_model(build_model, (40, 48), TASKS)
    expected = (
        adapt_user_model(lambda s, t: build_model(s, t), (40, 48), TASKS)
        if closing == "none"
        else None
    )
    logits = model.predict_on_batch(PIXELS)["label"]
    assert not np.allclose(logits.sum(axis=1), 1)
    if expected is not None:
        np.testing.assert_allclose(logits, expected.predict_on_batch(PIXELS)["label"], atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda input_shape, targets: small_network(input_shape, 3, "none"),
        lambda shape, targets: small_network(shape, 3, "none"),
        lambda input_shape, width=1: small_network(input_shape, 3, "none"),
        lambda **options: small_network(options["input_shape"], 3, "none", "uint8"),
        lambda: small_network((40, 48, 3), 3, "none"),
    ],
)
def test_a_recipe_may_take_its_arguments_in_several_ways(build):
    assert adapt_user_model(build, (40, 48), TASKS).predict_on_batch(PIXELS)["label"].shape == (
        2,
        3,
    )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda s, t: "a model", "is of type str; expected a keras.Model"),
        (lambda s, t: small_network(s, 7, "none"), r"logits of shape \(None, 7\)"),
        (lambda s, t: small_network((8, 8, 3), 3, "none"), r"pictures of shape \(8, 8, 3\)"),
        (lambda s, t: keras.Sequential([keras.layers.Dense(3)]), "no input yet"),
        (lambda s, t, width: None, "wants 'width', which Hornbeam does not give"),
    ],
)
def test_what_is_wrong_with_a_recipes_model_is_said(build, words):
    with pytest.raises(ConfigError, match=words):
        adapt_user_model(build, (40, 48), TASKS)
