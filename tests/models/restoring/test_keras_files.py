"""Weights in the files of Keras, of every kind and age."""

import zipfile

import h5py
import keras
import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, ModelError
from hornbeam.models.classifier import BACKBONE, build_classifier
from hornbeam.models.restoring.readers import read_weight_file
from hornbeam.models.restoring.restore import restore
from hornbeam.models.scopes import variables_by_path
from hornbeam.models.zoo import ZOO

TASKS = (Task("label", ("a", "b", "c")),)


@pytest.fixture(scope="module")
def source():
    keras.utils.set_random_seed(7)
    return keras.applications.MobileNetV2(
        alpha=0.35, weights=None, input_shape=(64, 64, 3), classes=10
    )


def fresh_backbone():
    keras.utils.set_random_seed(8)
    backbone = ZOO["mobilenet_v2_035"].build_backbone((64, 64), None)
    backbone.name = BACKBONE
    return backbone


@pytest.mark.parametrize("file", ["with_top.h5", "with_top.weights.h5", "with_top.keras"])
def test_weights_of_each_format_go_into_the_backbone_and_the_head_is_left_out(
    file, source, tmp_path
):
    path = tmp_path / file
    if file.endswith(".weights.h5"):
        source.save_weights(path)
    else:
        source.save(path)
    backbone = fresh_backbone()
    restore(backbone, path)
    for layer in (layer for layer in backbone.layers if layer.weights):
        for ours, theirs in zip(
            layer.get_weights(), source.get_layer(layer.name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_the_pretrained_files_load_alike_in_each_format(pretrained):
    stem = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224"
    names = [f"{stem}_no_top.h5", f"{stem}.h5", "mobilenet_v2_1.0_224_imagenet.weights.h5"]
    answers = []
    for name in names:
        backbone = ZOO["mobilenet_v2"].build_backbone((96, 96), None)
        restore(backbone, pretrained / name)
        answers.append(backbone.predict_on_batch(np.full((1, 96, 96, 3), 0.3, np.float32)))
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-4)
    np.testing.assert_allclose(answers[2], answers[0], atol=1e-4)


def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path):
    for file in ("other.h5", "other.weights.h5", "other.keras"):
        other = ZOO["compact"].build_backbone((64, 64), None)
        other.save_weights(tmp_path / file) if "weights" in file else other.save(tmp_path / file)
        backbone = fresh_backbone()
        before = backbone.get_weights()
        with pytest.raises(ModelError, match=rf"{file}.*(architecture|shape)"):
            restore(backbone, tmp_path / file)
        for old, new in zip(before, backbone.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("gone.h5", None, ConfigError, "no such file"),
        ("weights.txt", b"x", ConfigError, "this is none; expected a .keras, .h5"),
        ("broken.h5", b"not HDF5", ModelError, "cannot be read as HDF5"),
        ("broken.keras", b"not a zip", ModelError, "cannot be read as a Keras model"),
        ("broken.weights.h5", b"x", ModelError, "cannot be read as HDF5"),
    ],
)
def test_files_that_are_no_weights_are_refused(name, content, error, words, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=words):
        restore(fresh_backbone(), tmp_path / name)


def test_the_deviations_in_keras_efficientnet_files_become_variances(tmp_path):
    def layer_of(model):
        return next(x for x in model.layers if isinstance(x, keras.layers.Normalization))

    theirs = ZOO["efficientnet_b0"].build_backbone((32, 32), None)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    layer_of(theirs).set_weights([mean, deviation, np.array(0)])
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours = ZOO["efficientnet_b0"].build_backbone((32, 32), None)
    restore(ours, tmp_path / "theirs.weights.h5")
    np.testing.assert_allclose(layer_of(ours).get_weights()[1].ravel(), deviation**2, atol=1e-6)
    pixels = np.full((1, 32, 32, 3), 0.25, np.float32)
    found = layer_of(ours)(pixels)
    np.testing.assert_allclose(np.array(found)[0, 0, 0], (0.25 - mean) / deviation, atol=1e-3)


def assert_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def classifier(name="mobilenet_v2_035", tasks=TASKS, seed=0):
    keras.utils.set_random_seed(seed)
    return build_classifier(ZOO[name], (96, 96), tasks)


def write(model, path):
    model.save_weights(path) if path.name.endswith(".weights.h5") else model.save(path)
    return path


@pytest.mark.filterwarnings("ignore:.*HDF5 file via")
@pytest.mark.parametrize("file", ["run.keras", "run.weights.h5", "run.h5"])
def test_an_earlier_run_is_restored_with_its_head(file, tmp_path):
    theirs, ours = classifier(seed=1), classifier(seed=2)
    matched = restore(ours, write(theirs, tmp_path / file))
    assert_equal(ours.get_weights(), theirs.get_weights())
    assert not matched.left_in_file + matched.left_here


@pytest.mark.parametrize("file", ["run.keras", "run.weights.h5"])
def test_a_head_of_another_number_of_classes_begins_anew(file, tmp_path, capsys):
    from hornbeam.models.restoring.summary import tell

    theirs = classifier(seed=1, tasks=(Task("label", tuple("abcde")),))
    ours = classifier(seed=2)
    head = ours.get_layer("label").get_weights()
    matched = restore(ours, write(theirs, tmp_path / file))
    assert_equal(ours.get_layer("label").get_weights(), head)
    assert_equal(ours.get_layer(BACKBONE).get_weights(), theirs.get_layer(BACKBONE).get_weights())
    tell(matched, tmp_path / file)
    told = capsys.readouterr().out
    assert "260 variables are restored" in told
    assert "head/label has another number of classes in the file, and starts anew." in told


def test_of_several_heads_those_of_the_same_name_come_along(tmp_path):
    two = (Task("colour", ("red", "green")), Task("label", ("a", "b", "c")))
    theirs, ours = classifier(seed=1, tasks=two), classifier(seed=2)
    restore(ours, write(theirs, tmp_path / "run.keras"))
    assert_equal(ours.get_layer("label").get_weights(), theirs.get_layer("label").get_weights())


@pytest.mark.parametrize("file", ["old.h5", "old.weights.h5", "old.keras"])
def test_networks_whose_layers_only_have_numbers_are_restored_whatever_was_built_before(
    file, tmp_path
):
    keras.applications.InceptionV3(weights=None, input_shape=(96, 96, 3), include_top=False)
    theirs = keras.applications.InceptionV3(
        weights=None, input_shape=(96, 96, 3), include_top=False
    )
    numbers = [layer.name for layer in theirs.layers if layer.name.startswith("conv2d")]
    assert int(numbers[0].removeprefix("conv2d_")) >= 94
    if file == "old.h5":
        theirs.save_weights(tmp_path / "weights.weights.h5")
    write(theirs, tmp_path / file)
    ours = ZOO["inception_v3"].build_backbone((96, 96), None)
    assert {"conv2d/kernel", "conv2d_93/kernel"} < set(variables_by_path(ours))
    restore(ours, tmp_path / file, network="inception_v3")
    assert_equal(ours.get_weights(), theirs.get_weights())


def without_names(path):
    """Take away the names of layers, as Keras 3 did not write them at first."""
    with h5py.File(path, "r+") as file:
        groups = []
        file.visititems(lambda name, item: groups.append(item) if "name" in item.attrs else None)
        for group in groups:
            del group.attrs["name"]


def test_a_file_without_names_is_restored_by_the_order_of_the_layers(source, tmp_path):
    path = tmp_path / "old.weights.h5"
    source.save_weights(path)
    without_names(path)
    backbone = fresh_backbone()
    assert restore(backbone, path, network="mobilenet_v2_035") is None
    wanted = [layer.name for layer in backbone.layers if layer.weights]
    for name in wanted:
        assert_equal(backbone.get_layer(name).get_weights(), source.get_layer(name).get_weights())


def test_a_file_with_names_is_not_restored_by_order_into_a_twin_of_other_arithmetic(tmp_path):
    theirs = keras.applications.MobileNetV2(
        weights=None, input_shape=(96, 96, 3), include_top=False
    )
    for file in ("theirs.keras", "theirs.weights.h5"):
        write(theirs, tmp_path / file)
        with pytest.raises(ModelError, match=r"lacks 260 of the 260 variables"):
            restore(classifier("mobilenet_v2_timm"), tmp_path / file, network="mobilenet_v2_timm")


@pytest.mark.slow
def test_with_jax_too_all_kinds_of_files_are_read(in_a_process, tmp_path):
    source = classifier(seed=1)
    write(source, tmp_path / "run.keras")
    write(source, tmp_path / "run.weights.h5")
    in_a_process(
        f"""
import numpy as np, keras, h5py
from pathlib import Path
from hornbeam.data.tasks import Task
from hornbeam.models.classifier import build_classifier
from hornbeam.models.restoring.restore import restore
from hornbeam.models.zoo import ZOO
assert keras.backend.backend() == "jax"
for file in ("run.keras", "run.weights.h5"):
    model = build_classifier(ZOO["mobilenet_v2_035"], (96, 96), (Task("label", ("a", "b", "c")),))
    restore(model, Path({str(tmp_path)!r}) / file)
    with h5py.File(Path({str(tmp_path)!r}) / "run.weights.h5") as stored:
        expected = stored["layers/dense/vars/0"][()]
    np.testing.assert_array_equal(model.get_layer("label").get_weights()[0], expected)
""",
        backend="jax",
    )


def test_parts_that_are_excluded_keep_their_values_and_may_be_missing_in_the_file(tmp_path, capsys):
    from hornbeam.models.restoring.summary import tell

    theirs, ours = classifier(seed=1), classifier(seed=2)
    before = {path: np.array(v) for path, v in variables_by_path(ours).items()}
    path = write(theirs, tmp_path / "run.keras")
    matched = restore(ours, path, exclude=("block_16_.*", "head/.*"))
    changed = {
        name for name, variable in variables_by_path(ours).items()
        if not np.array_equal(before[name], np.array(variable))
    }  # fmt: skip
    assert changed
    assert not [name for name in changed if "block_16" in name or name.startswith("head/")]
    assert "backbone/block_15_expand/kernel" in changed
    assert len(matched.excluded) == 17
    tell(matched, path)
    told = capsys.readouterr()
    assert "15 variables before the head keep their first, random values" in told.err.replace(
        "\n", " "
    )
    smaller = write(ZOO["compact"].build_backbone((96, 96), None), tmp_path / "other.keras")
    with pytest.raises(ModelError, match=r"other\.keras lacks .* --restore-exclude"):
        restore(ours, smaller)


def test_a_pattern_that_excludes_nothing_is_an_error(tmp_path):
    path = write(classifier(seed=1), tmp_path / "run.keras")
    with pytest.raises(ConfigError, match=r"--restore-exclude: 'blok.*' matches none"):
        restore(classifier(), path, exclude=("blok_16_.*",))


def test_a_truncated_archive_is_said_to_be_damaged(tmp_path):
    path = write(classifier(), tmp_path / "run.keras")
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.weights.h5", weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=r"run\.keras cannot be read as a Keras model.*whole"):
        restore(classifier(), path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ModelError, match=r"run\.keras cannot be read as a Keras model.*whole"):
        restore(classifier(), path)


def test_a_model_that_holds_code_can_do_nothing(tmp_path):
    inputs = keras.Input((4,))
    layer = keras.layers.Lambda(lambda x: x + 1)
    model = keras.Model(inputs, keras.layers.Dense(2, name="only")(layer(inputs)))
    model.save(tmp_path / "lambda.keras")
    table = read_weight_file(tmp_path / "lambda.keras")
    assert list(table.variables) == ["only/kernel", "only/bias"]


def test_variables_inside_layers_of_layers_are_listed(tmp_path):
    inputs = keras.Input((6, 8))
    attention = keras.layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(attention))
    model.save_weights(tmp_path / "model.weights.h5")
    names = list(read_weight_file(tmp_path / "model.weights.h5").variables)
    assert len(names) == len(model.weights) == 8
    assert all(name.startswith("attention/") for name in names)


def test_an_empty_file_of_weights_is_refused(tmp_path):
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(ModelError, match="holds no weights"):
        restore(classifier(), tmp_path / "empty.h5")
