"""A classifier cut in two computes what it computed whole; and which layers are its top."""

import keras
import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.models.classifier import adapt_user_model, build_classifier, freeze_backbone
from hornbeam.models.cut import linear_layers, split_at_backbone
from hornbeam.models.top import top_paths
from hornbeam.models.zoo import find_architecture

TASKS = [Task("kind", ("a", "b", "c")), Task("marks", ("x", "y"), multi_label=True)]


def classifier(name="compact", size=32):
    return build_classifier(find_architecture(name), (size, size, 3), TASKS, dropout=0.3)


def pictures(count=3, size=32):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_extractor_and_head_in_turn_compute_what_the_classifier_does():
    model = classifier()
    extractor, head = split_at_backbone(model)
    assert extractor.output_shape == (None, 128)  # after pooling, before dropout
    expected = model.predict_on_batch(pictures())
    found = head.predict_on_batch(extractor.predict_on_batch(pictures()))
    assert set(found) == {"kind", "marks"}
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_training_the_head_trains_the_classifier():
    model = classifier()
    _, head = split_at_backbone(model)
    before = model.predict_on_batch(pictures())["kind"]
    head.set_weights([weights + 1 for weights in head.get_weights()])
    assert np.abs(model.predict_on_batch(pictures())["kind"] - before).max() > 0.5


def test_the_last_layers_are_found_behind_dropout():
    model = classifier()
    _, head = split_at_backbone(model)
    layers = linear_layers(head, TASKS)
    assert layers == {"kind": model.get_layer("kind"), "marks": model.get_layer("marks")}


def own_model(deep=False, activation=None):
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    backbone = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, 2)], name="backbone"
    )
    x = keras.layers.Flatten()(backbone(x))
    if deep:
        x = keras.layers.Dense(8, "relu")(x)
    logits = keras.layers.Dense(3, activation=activation)(x)
    return keras.Model(inputs, {"kind": keras.layers.Identity()(logits)})


def test_a_deep_head_is_no_linear_one():
    _, head = split_at_backbone(own_model(deep=True))
    assert linear_layers(head, TASKS[:1]) is None
    _, head = split_at_backbone(own_model(activation="relu"))
    assert linear_layers(head, TASKS[:1]) is None
    _, head = split_at_backbone(own_model())
    assert list(linear_layers(head, TASKS[:1])) == ["kind"]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_backbone_of_a_recipes_model_can_be_cut_off_and_frozen(dtype):
    def build_model(input_shape, targets):
        inputs = keras.Input(input_shape, dtype=dtype)
        backbone = keras.Sequential(
            [
                keras.Input(input_shape),
                keras.layers.Conv2D(4, 3, 2),
                keras.layers.BatchNormalization(),
            ],
            name="backbone",
        )
        x = keras.layers.GlobalAveragePooling2D()(backbone(keras.layers.Rescaling(1 / 255)(inputs)))
        return keras.Model(inputs, keras.layers.Dense(3, "softmax", name="kind")(x))

    model = adapt_user_model(build_model, (32, 32, 3), TASKS[:1])
    extractor, head = split_at_backbone(model)
    expected = model.predict_on_batch(pictures())["kind"]
    found = head.predict_on_batch(extractor.predict_on_batch(pictures()))["kind"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert list(linear_layers(head, TASKS[:1])) == ["kind"]
    freeze_backbone(model)
    assert [v.name for v in model.trainable_variables] == ["kernel", "bias"]


def test_what_goes_around_the_backbone_is_not_cut():
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    backbone = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3)], name="backbone"
    )
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(x))
    around = keras.layers.GlobalAveragePooling2D()(x)
    both = keras.layers.Concatenate()([pooled, around])
    model = keras.Model(inputs, {"kind": keras.layers.Dense(3)(both)})
    assert split_at_backbone(model) is None
    plain = keras.Model(inputs, {"kind": keras.layers.Dense(3)(around)})
    assert split_at_backbone(plain) is None


@pytest.mark.parametrize(
    ("name", "size", "first", "not_in"),
    [
        ("mobilenet_v2_035", 64, "backbone/block_13_expand/kernel", "block_12"),
        ("efficientnet_b0", 64, "backbone/block6a_expand_conv/kernel", "block5"),
        ("compact", 32, "backbone/stage4_down_conv/kernel", "stage3"),
        ("vgg16", 32, "backbone/block5_conv1/kernel", "block4"),
    ],
)
def test_the_top_is_the_last_stage_without_its_batch_norms(name, size, first, not_in):
    paths = top_paths(classifier(name, size))
    assert first in paths
    assert "head/kind/bias" in paths
    assert not any(not_in in path or "gamma" in path for path in paths)


def test_batch_norm_that_is_to_learn_is_part_of_the_top():
    found = top_paths(classifier("compact", 32), batch_norm=True)
    assert "backbone/stage4_block1_b_norm/gamma" in found
    assert not any("stage3" in path for path in found)
