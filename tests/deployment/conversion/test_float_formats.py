"""Files in all float formats answer as the model; what goes silently wrong elsewhere does not here."""

import json

import keras
import numpy as np
import pytest
from networks import answers_of, assert_same, job_of, network, pictures

from hornbeam.deployment.conversion import litert, onnx, openvino, savedmodel
from hornbeam.deployment.conversion.quantisation.litert import convert_dynamic
from hornbeam.deployment.conversion.rebuild import rebuilt
from hornbeam.errors import ModelError

CONVERTERS = {
    "savedmodel": (savedmodel.convert, "saved_model", 1e-5),
    "litert": (litert.convert_float, "model.tflite", 1e-5),
    "litert-f16": (litert.convert_float16, "model-f16.tflite", 0.01),
    "onnx": (onnx.convert, "model.onnx", 1e-5),
    "openvino": (openvino.convert, "model.xml", 1e-5),
}
ODD_NAMES = {"kind": 3, "a/b": 3, "a b": 3, "Größe, 大": 3, "image": 3, "x'\"\\": 2}


@pytest.fixture(params=CONVERTERS)
def convert(request, tmp_path):
    """Convert a model to each format in turn: `convert(model)` → path, what was said, tolerance."""

    def run(model, **more):
        function, name, atol = CONVERTERS[request.param]
        path = tmp_path / name
        made = function(rebuilt(model), job_of(model, **more), path)
        assert made.error is None
        return path, made, atol

    return run


def test_tasks_of_any_name_get_their_own_answers(convert):
    # All but one have three classes: whoever relied on an order would mix them up.
    model = network(ODD_NAMES)
    path, made, atol = convert(model)
    assert_same(answers_of(path, made, pictures()), model, pictures(), atol)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_are_taken(convert, channels):
    model = network(channels=channels)
    path, made, atol = convert(model)
    inputs = pictures(channels=channels)
    assert_same(answers_of(path, made, inputs), model, inputs, atol)


def test_numbers_beside_the_picture_are_taken(convert):
    model = network({"kind": 3, "other": 3}, features=2)
    inputs = {
        "image": pictures(),
        "features": np.linspace(-2, 2, 12, dtype=np.float32).reshape(6, 2),
    }
    path, made, atol = convert(model)
    assert set(made.inputs) == {"image", "features"}
    assert_same(answers_of(path, made, inputs), model, inputs, atol)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_becomes_float32(convert, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    path, made, atol = convert(model)
    assert_same(answers_of(path, made, pictures()), model, pictures(), 0.05)
    assert_same(answers_of(path, made, pictures()), rebuilt(model), pictures(), atol)


def test_statistics_of_normalization_are_inside(convert):
    adapted = keras.layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(0.3, 2, (50, 32, 32, 3)))
    given = keras.layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 4.0, 9.0])
    model = network(body=[adapted, given, keras.layers.Conv2D(8, 3)])
    path, made, atol = convert(model)
    assert set(made.inputs) == {"image"}
    assert_same(answers_of(path, made, pictures()), model, pictures(), atol)


def test_a_tensor_that_a_layer_keeps_is_inside(convert):
    @keras.saving.register_keras_serializable("tests")
    class Keeps(keras.layers.Layer):
        def build(self, shape):
            self.kept = keras.ops.convert_to_tensor(np.arange(shape[-1], dtype=np.float32))

        def call(self, x):
            return x + self.kept

    model = network(body=[keras.layers.Conv2D(8, 3), Keeps()])
    path, made, atol = convert(model)
    assert_same(answers_of(path, made, pictures()), model, pictures(), atol)


def test_an_onnx_file_takes_pixels_alone_and_says_what_it_is(tmp_path):
    import onnx as library

    model = network(
        {"kind": 3, "a/b": 3}, body=[keras.layers.Normalization(mean=0.1, variance=2.0)]
    )
    how = {"pixels": "uint8, RGB"}
    job = job_of(model)
    job = job_of(model, description={**job.description, "how_to_ask": how})
    onnx.convert(rebuilt(model), job, tmp_path / "model.onnx")
    made = library.load(tmp_path / "model.onnx")
    library.checker.check_model(made, full_check=True)
    assert [each.name for each in made.graph.input] == ["image"]
    assert [each.name for each in made.graph.output] == ["kind", "a/b"]
    for end in (*made.graph.input, *made.graph.output):
        assert end.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [(each.domain, each.version) for each in made.opset_import] == [("", onnx.OPSET)]
    properties = {each.key: each.value for each in made.metadata_props}
    assert properties["names"] == "{0: 'kind 0', 1: 'kind 1', 2: 'kind 2'}"
    assert properties["imgsz"] == "[32, 32]"
    assert json.loads(properties["hornbeam"])["how_to_ask"] == how


def test_openvino_is_made_from_the_onnx_file(tmp_path, monkeypatch):
    asked = []
    write = openvino.write_onnx
    monkeypatch.setattr(openvino, "write_onnx", lambda *a: (asked.append(a[2]), write(*a))[1])
    model = network()
    openvino.convert(rebuilt(model), job_of(model), tmp_path / "model.xml")
    assert asked
    assert asked[0].suffix == ".onnx"
    assert "Transpose" in (tmp_path / "model.xml").read_text()  # channels first, as ONNX has them
    assert 'element_type="f16"' not in (tmp_path / "model.xml").read_text()


def test_batch_normalisation_is_inside_the_convolutions(tmp_path):
    import onnx as library

    model = network()
    onnx.convert(rebuilt(model), job_of(model), tmp_path / "model.onnx")
    kinds = [node.op_type for node in library.load(tmp_path / "model.onnx").graph.node]
    assert "BatchNormalization" not in kinds
    assert kinds.count("Mul") <= 1  # of the pixels


def test_a_layer_without_operator_is_named(tmp_path):
    import tensorflow as tf

    @keras.saving.register_keras_serializable("tests")
    class Digamma(keras.layers.Layer):
        def call(self, x):
            return tf.math.digamma(x)  # TensorFlow's converter has a Flex operator for it

    model = network(body=[keras.layers.Conv2D(4, 3), Digamma(name="odd")])
    for function, file in (
        (litert.convert_float, "model.tflite"), (onnx.convert, "model.onnx"),
        (convert_dynamic, "model-dynamic.tflite"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=r"layer 'odd' \(Digamma\) needs Digamma"):
            function(rebuilt(model), job_of(model), tmp_path / file)
