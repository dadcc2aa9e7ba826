"""Numbers beside the picture keep their meaning in files of integers, however unlike their sizes are."""

import dataclasses

import numpy as np
import pytest

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import Artifact, Manifest
from hornbeam.deployment.contract.structure import faults
from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.quantisation import edgetpu, litert, onnx
from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph, float_operators
from hornbeam.deployment.conversion.quantisation.running import input_of
from hornbeam.deployment.conversion.quantisation.side_features import first_operators
from hornbeam.deployment.runtimes.runtime import open_runtime
from hornbeam.errors import ConfigError

COUNT = 64
ABOUT = Manifest(
    "n", "t", (24, 24, 3), "crop", 1, None, ("sign", "price"), (Task("kind", ("a", "b")),), {}, {},
    None, {}, {}, {},
)  # fmt: skip


def numbers(count, seed):
    """A column of 0 or 1, which decides, beside one of 0 to 60,000, and pictures of noise."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (count, 24, 24, 3), dtype=np.uint8)
    return pictures, np.stack(
        [rng.integers(0, 2, count), rng.uniform(0, 60_000, count)], axis=1
    ).astype(np.float32)


def network(way):
    import keras
    from keras import layers

    from hornbeam.models.side_features import SideFeatures

    keras.utils.set_random_seed(0)
    image = keras.Input((24, 24, 3), dtype="uint8", name="image")
    known = SideFeatures.of(("sign", "price"), numbers(1000, 0)[1])
    given = known.input()
    found = layers.Conv2D(4, 3, strides=2, activation="relu")(layers.Rescaling(1 / 255)(image))
    beside = {
        "standardised": known.standardize,
        "encoded": known.encode,
        "dense": layers.Dense(2, name="columns"),
        "bare": lambda columns: columns,
    }[way](given)
    joined = layers.Concatenate()([layers.GlobalAveragePooling2D()(found), beside])
    last = layers.Dense(2, name="last")
    model = keras.Model(
        {"image": image, "features": given}, {"kind": layers.Softmax()(last(joined))}
    )
    weights = np.zeros((joined.shape[1], 2), np.float32)
    if way == "dense":
        model.get_layer("columns").set_weights(
            [np.diag([1, 1e-9]).astype("f4"), np.array([-0.5, 0], "f4")]
        )
    if way == "encoded":
        kernel = np.zeros((2, 128), np.float32)
        kernel[0, :2] = 1, -1
        model.get_layer("encode_features").set_weights([kernel, np.zeros(128, np.float32)])
        weights[5] = 3, -3
    weights[4] = -3, 3
    last.set_weights([weights, np.zeros(2, np.float32)])
    return model


@pytest.fixture(scope="module")
def networks():
    return {way: network(way) for way in ("standardised", "encoded", "dense", "bare")}


@pytest.fixture
def job(tmp_path):
    for name, seed in (("calibration", 1), ("selection", 2)):
        pictures, columns = numbers(COUNT, seed)
        np.savez(tmp_path / f"{name}.npz", image=pictures, features=columns)
    return Job(
        "", None, (), str(tmp_path), ("kind",), features=2,
        calibration=str(tmp_path / "calibration.npz"), selection=str(tmp_path / "selection.npz"),
    )  # fmt: skip


def artifact_of(made):
    return Artifact(made.format, made.file, 0, "", made.inputs, made.outputs, notes=made.notes)


@pytest.mark.parametrize("way", ["standardised", "encoded", "dense"])
@pytest.mark.parametrize("format", ["litert-int8", "litert-int8 of int16", "onnx-int8"])
def test_a_small_column_decides_beside_a_large_one(format, way, networks, job, tmp_path):
    convert, name = (
        (onnx.convert_int8, "m.onnx")
        if format == "onnx-int8"
        else (litert.convert_int8, "m.tflite")
    )
    asked = dataclasses.replace(job, options={"int8_activations": 16 if "16" in format else 8})
    made = convert(networks[way], asked, tmp_path / name)
    pictures, columns = numbers(100, 3)
    found = open_runtime(tmp_path, artifact_of(made), 1).run(pictures, columns)["kind"]
    wanted = networks[way].predict_on_batch({"image": pictures, "features": columns})["kind"]
    assert (found.argmax(axis=1) == columns[:, 0]).all()
    assert np.abs(found - wanted).max() < 0.03
    features = made.inputs["features"]
    assert (features.dtype, features.scale) == ("float32", None)
    (note,) = [note for note in made.notes if "beside the picture" in note]
    assert "stay in float" in note
    assert faults(tmp_path, artifact_of(made), ABOUT) == []


def test_each_way_to_integers_leaves_them_in_float(networks, job):
    begun = litert.begin(networks["standardised"], job)
    for candidate in litert.tried(begun, ()):
        graph = Graph(candidate.content)
        assert candidate.closeness.agreement == 1, candidate
        assert [o.type for o in first_operators(graph)] == ["MUL", "ADD"], candidate.way
        assert set(float_operators(graph)) == set(first_operators(graph)), candidate.way
        assert [t.dtype for t in graph.inputs if t.name == "image"] == ["UINT8"]


def test_floats_elsewhere_are_still_a_fault(networks, job, tmp_path):
    path = tmp_path / "m.tflite"
    made = litert.convert_int8(
        networks["standardised"], dataclasses.replace(job, options={"float_layers": "concat"}), path
    )
    silent = dataclasses.replace(artifact_of(made), notes=made.notes[:2])
    (said,) = faults(tmp_path, silent, ABOUT)
    assert "left in float, and no note says so: CONCATENATION" in said


def test_numbers_that_nothing_standardises_are_told(networks, job, tmp_path):
    for convert, name in ((litert.convert_int8, "m.tflite"), (onnx.convert_int8, "m.onnx")):
        made = convert(networks["bare"], job, tmp_path / name)
        assert any("does not standardise" in note for note in made.notes)


def test_an_input_that_is_called_by_a_layer_is_found_by_its_whole_name():
    inputs = {"image": 0, "image_data/add": 1}
    assert input_of("image_data/add", inputs) == "image_data/add"
    assert input_of("serving_default_image:0", inputs) == "image"


def test_the_edge_tpu_is_refused(networks, job, tmp_path):
    with pytest.raises(ConfigError, match=r"one scale for all numbers .* use litert-int8"):
        edgetpu.convert(networks["standardised"], job, tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()
