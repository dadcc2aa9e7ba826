"""What is chosen is trained and nothing else; what is frozen stays, moving statistics included."""

import keras
import numpy as np
import pytest

from hornbeam.config import TrainOptions
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.models.blocks import block_depths, blocks_of
from hornbeam.models.classifier import build_classifier
from hornbeam.models.freezing import choose_trained, rate_factors, summary, train_only
from hornbeam.models.scopes import variables_by_path
from hornbeam.models.zoo import find_architecture


def compact():
    keras.utils.set_random_seed(0)
    task = Task("label", ("a", "b", "c"))
    return build_classifier(find_architecture("compact"), (32, 32), (task,))


def chosen(model=None, **options):
    model = model or compact()
    choose_trained(model, TrainOptions(data="x", **options).resolved().planned(1000))
    trained = {id(v) for v in model.trainable_variables}
    return {path for path, v in variables_by_path(model).items() if id(v) in trained}


def train_on_noise(model, steps=2):
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (8, 32, 32, 3), np.uint8)
    model.fit(pictures, {"label": rng.normal(size=(8, 3))}, batch_size=4, epochs=steps, verbose=0)


EVERYTHING = {path for path in variables_by_path(compact()) if "/moving_" not in path}


@pytest.mark.parametrize(
    ("options", "begins"),
    [
        ({"freeze": "backbone"}, ("head/",)),
        ({"trainable": "head/.*"}, ("head/",)),
        ({"trainable": "head/.*,stage4_.*"}, ("head/", "backbone/stage4_")),
        ({"trainable": "head/.*,backbone/stage[34]_block1_[ab]_conv/.*"},
         ("head/", "backbone/stage3_block1_a_conv", "backbone/stage3_block1_b_conv",
          "backbone/stage4_block1_a_conv", "backbone/stage4_block1_b_conv")),
        ({"lr_mult": "backbone/stage4.*=0.1,backbone/.*=0"}, ("head/", "backbone/stage4_")),
        ({"trainable": "head/.*,backbone/stage4.*", "lr_mult": ".*/bias=0"},
         ("head/label/kernel", "backbone/stage4_")),
        ({}, ("head/", "backbone/")),
    ],
)  # fmt: skip
def test_exactly_what_is_chosen_is_trained_and_all_else_stays_bit_for_bit(options, begins):
    model = compact()
    trained = chosen(model, **options)
    assert trained == {path for path in EVERYTHING if path.startswith(begins)}
    before = {path: v.numpy().copy() for path, v in variables_by_path(model).items()}
    train_on_noise(model)
    after = {path: v.numpy() for path, v in variables_by_path(model).items()}
    layers_trained = {path.rpartition("/")[0] for path in trained}
    for path, old in before.items():
        # A norm of which something is trained learns its statistics; any other does not.
        moves = path.rpartition("/")[0] in layers_trained if "moving_" in path else path in trained
        assert np.array_equal(old, after[path]) != moves, path


def test_frozen_norms_answer_in_training_as_in_inference():
    model = compact()
    chosen(model, freeze="none", batch_norm="frozen")
    pictures = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    features = model.get_layer("backbone")
    inputs = pictures.astype("float32") / 127.5 - 1
    np.testing.assert_array_equal(features(inputs, training=True), features(inputs, training=False))
    train_on_noise(model)
    norms = [v for path, v in variables_by_path(model).items() if "_norm/" in path]
    assert all(np.isin(v.numpy(), (0.0, 1.0)).all() for v in norms)  # as they were made


def test_norms_of_a_backbone_with_weights_are_frozen_unless_asked_for():
    assert not any("_norm/" in path for path in chosen(weights="x.h5", freeze="none"))
    assert any(
        "_norm/" in path for path in chosen(weights="x.h5", freeze="none", batch_norm="train")
    )
    assert any("_norm/" in path for path in chosen(weights="none"))


def test_a_backbone_with_weights_is_frozen_unless_an_option_says_what_of_it_is_trained():
    assert all(path.startswith("head/") for path in chosen(weights="x.h5"))
    assert any(path.startswith("backbone/") for path in chosen(weights="x.h5", layer_decay=0.8))
    assert any(
        path.startswith("backbone/") for path in chosen(weights="x.h5", lr_mult="backbone/.*=0.1")
    )
    both = chosen(weights="x.h5", freeze="backbone", lr_mult="backbone/.*=0.1")
    assert all(path.startswith("head/") for path in both)


def test_a_second_choice_takes_the_place_of_the_first():
    model = compact()
    chosen(model, freeze="backbone")
    more = {path for path in EVERYTHING if path.startswith(("head/", "backbone/stage4_"))}
    train_only(model, more)
    trained = {id(v) for v in model.trainable_variables}
    assert {path for path, v in variables_by_path(model).items() if id(v) in trained} == more
    assert not model.get_layer("backbone").get_layer("stage3_down_norm").trainable
    assert model.get_layer("backbone").get_layer("stage4_down_norm").trainable


def test_what_a_recipe_froze_stays_frozen_and_norms_inside_of_own_layers_are_frozen_too():
    @keras.saving.register_keras_serializable("test")
    class Block(keras.layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.dense = keras.layers.Dense(4)
            self.norm = keras.layers.BatchNormalization(center=False, scale=False)

        def build(self, shape):
            self.dense.build(shape)
            self.norm.build((None, 4))

        def call(self, x, training=None):
            return self.norm(self.dense(x), training=training)

    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="early", trainable=False)(inputs)
    x = Block(name="block")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    assert chosen(model, trainable="last/.*") == {"last/kernel", "last/bias"}
    assert not model.get_layer("block").norm.trainable
    statistics = model.get_layer("block").norm.moving_mean.numpy()
    model.compile(optimizer="sgd", loss="mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    np.testing.assert_array_equal(model.get_layer("block").norm.moving_mean.numpy(), statistics)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trainable": "head/.*,block_99.*"}, "--trainable: 'block_99.*' matches none"),
        ({"lr_mult": "tail/.*=0.1"}, r"--lr-mult: 'tail/\.\*' matches none"),
        ({"lr_mult": ".*=1,head/.*=2"}, "--lr-mult: everything that 'head/.*' matches was decided"),
        ({"no_decay": "nothing"}, "--no-decay: 'nothing' matches none"),
        ({"freeze": "backbone", "trainable": "backbone/.*"}, "Nothing is left to train"),
        ({"lr_mult": ".*=0"}, "Nothing is left to train"),
    ],
)
def test_a_pattern_without_effect_is_an_error(options, message):
    with pytest.raises(ConfigError, match=message):
        chosen(**options)


def test_factors_are_those_of_the_first_pattern_times_the_decay_of_the_block():
    model = compact()
    options = (
        TrainOptions(
            data="x", lr_mult="backbone/stage4_block1.*=0.5,backbone/stage1.*=0", layer_decay=0.8
        )
        .resolved()
        .planned(1000)
    )
    choose_trained(model, options)
    factors = rate_factors(model, options)
    assert factors["head/label/kernel"] == 1
    assert factors["backbone/stage4_block1_b_conv/kernel"] == pytest.approx(0.5 * 0.8)
    assert factors["backbone/stage4_down_conv/kernel"] == pytest.approx(0.8**2)
    assert factors["backbone/stage2_down_norm/gamma"] == pytest.approx(0.8**6)
    assert not any(path.startswith("backbone/stage1") for path in factors)
    rows = summary(model, factors)
    assert [row[0] for row in rows] == [
        "1",
        "0.64",
        "0.512",
        "0.4096",
        "0.4",
        "0.3277",
        "0.2621",
        "0",
    ]
    assert sum(int(row[1]) for row in rows) == len(EVERYTHING)


BLOCKS = {
    # Number of blocks, stem included; first layers of some.
    "mobilenet": (14, {1: "conv_dw_1", 13: "conv_dw_13"}),
    "mobilenet_v2": (
        18,
        {1: "expanded_conv_depthwise", 2: "block_1_expand", 17: "block_16_expand"},
    ),
    "mobilenet_v3_small": (12, {1: "expanded_conv_depthwise", 11: "expanded_conv_10_expand"}),
    "efficientnet_b0": (17, {1: "block1a_dwconv", 16: "block7a_expand_conv"}),
    "resnet50": (17, {1: "conv2_block1_1_conv", 16: "conv5_block3_1_conv"}),
    "resnet50_v2": (17, {1: "conv2_block1_preact_bn", 16: "conv5_block3_preact_bn"}),
    "densenet121": (62, {1: "conv2_block1_0_bn", 7: "pool2_bn"}),
    "convnext_tiny": (22, {4: "convnext_tiny_downsampling_block_0"}),
    "vgg16": (5, {0: "block1_conv1", 4: "block5_conv1"}),
    "xception": (14, {0: "block1_conv1", 13: "block14_sepconv1"}),
    "inception_v3": (16, {}),
    "nasnet_mobile": (
        17,
        {0: "stem_conv1", 1: "reduction_conv_1_stem_1", 16: "adjust_conv_projection_12"},
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_of_the_family(name):
    count, begins = BLOCKS[name]
    # Names that Keras counts must not matter.
    keras.layers.Conv2D(1, 1)
    backbone = find_architecture(name).build_backbone((96, 96), None)
    blocks = blocks_of(backbone)
    assert sorted(n for block in blocks for n in block) == sorted(
        layer.name for layer in backbone.layers if layer.weights
    )
    assert len(blocks) == count
    for index, first in begins.items():
        assert blocks[index][0] == first


def test_blocks_of_an_unknown_network_lie_between_what_all_must_pass():
    layers = keras.layers
    inputs = x = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", name="one")(x)
    x = layers.BatchNormalization(name="one_norm")(x)
    short = x
    x = layers.Conv2D(4, 3, padding="same", name="two")(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(4, 3, padding="same", name="three")(x)
    x = layers.Add()([x, short])
    x = layers.Conv2D(4, 3, name="four")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(2, name="last")(x))
    assert blocks_of(model) == [["one", "one_norm"], ["two", "three"], ["four"], ["last"]]
    assert block_depths(model) == {
        "one/kernel": 3, "one/bias": 3, "one_norm/gamma": 3, "one_norm/beta": 3,
        "one_norm/moving_mean": 3, "one_norm/moving_variance": 3, "two/kernel": 2, "two/bias": 2,
        "three/kernel": 2, "three/bias": 2, "four/kernel": 1, "four/bias": 1, "last/kernel": 0,
        "last/bias": 0,
    }  # fmt: skip
