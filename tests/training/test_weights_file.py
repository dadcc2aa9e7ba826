"""Weights written later are those of the moment when they were taken, in Keras' own file."""

import h5py
import keras
import numpy as np
import pytest

from hornbeam.training.weights_file import WeightsFile


@pytest.fixture
def model():
    layers = keras.layers
    pixels = keras.Input((8, 8, 3))
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Dense(5), layers.BatchNormalization()])
    x = inner(layers.Conv2D(4, 3)(pixels))
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.5)(x))
    return keras.Model(
        pixels, {"a": layers.Dense(2, name="a")(x), "b": layers.Dense(3, name="b")(x)}
    )


def tree(path):
    """Return all that is in an HDF5 file: values, names of groups, attributes."""
    found = {}

    def note(name, what):
        value = np.array(what).tolist() if isinstance(what, h5py.Dataset) else None
        found[name] = (value, getattr(what, "dtype", None), dict(what.attrs))

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def write(model, path):
    file = WeightsFile(model)
    file.write(path, file.values())


def test_the_file_is_the_one_that_keras_writes(model, tmp_path):
    model.save_weights(tmp_path / "keras.weights.h5")
    write(model, tmp_path / "ours.weights.h5")
    assert len(tree(tmp_path / "ours.weights.h5")) > 10
    assert tree(tmp_path / "ours.weights.h5") == tree(tmp_path / "keras.weights.h5")


def test_what_changes_after_it_was_taken_is_not_in_the_file(model, tmp_path):
    before = model.get_weights()
    file = WeightsFile(model)
    for number in (0, 1):  # the file is of the moment of its values, not of its making
        model.set_weights([weight + number for weight in before])
        values = file.values()
        model.set_weights([weight + 2 for weight in before])
        file.write(tmp_path / "ours.weights.h5", values)
        model.load_weights(tmp_path / "ours.weights.h5")
        for weight, expected in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, expected + number)


def test_what_a_layer_computes_when_it_is_saved_is_computed_anew(tmp_path):
    @keras.saving.register_keras_serializable()
    class Doubled(keras.layers.Dense):
        def save_own_variables(self, store):
            store["0"] = 2 * keras.ops.convert_to_numpy(self.kernel)

    model = keras.Sequential([keras.Input((2,)), Doubled(1, use_bias=False)])
    file = WeightsFile(model)
    model.set_weights([np.full((2, 1), 3.0)])
    file.write(tmp_path / "ours.weights.h5", file.values())
    with h5py.File(tmp_path / "ours.weights.h5") as saved:
        assert saved["layers/doubled/vars/0"][:].tolist() == [[6.0], [6.0]]


def test_narrow_types_are_kept(tmp_path):
    narrow = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="bfloat16")])
    narrow.save_weights(tmp_path / "keras.weights.h5")
    write(narrow, tmp_path / "ours.weights.h5")
    assert tree(tmp_path / "ours.weights.h5") == tree(tmp_path / "keras.weights.h5")
    expected = narrow.get_weights()[0]
    narrow.set_weights([0 * weight for weight in narrow.get_weights()])
    narrow.load_weights(tmp_path / "ours.weights.h5")
    np.testing.assert_array_equal(narrow.get_weights()[0], expected)
