"""`.tflite` files have LiteRT's operators alone, batches of any size, and say what they are."""

import dataclasses
import struct
import zipfile

import keras
import numpy as np
import pytest
from networks import assert_same, job_of, network, pictures

from hornbeam.deployment.conversion import litert
from hornbeam.deployment.conversion.litert_metadata import label_files
from hornbeam.deployment.conversion.rebuild import rebuilt


def converted(model, path, **more):
    return litert.convert_float(rebuilt(model), job_of(model, **more), path)


def interpreter(path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path))


def operators(path):
    return {each["op_name"] for each in interpreter(path)._get_ops_details()} - {"DELEGATE"}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_there_is_no_flex_operator_and_no_shape(tmp_path, policy):
    keras.config.set_dtype_policy(policy)
    try:
        body = [
            keras.layers.Conv2D(8, 3),
            keras.layers.Reshape((900, 8)),
            keras.layers.Reshape((30, 30, 8)),
        ]
        model = network(body=body)
    finally:
        keras.config.set_dtype_policy("float32")
    made = converted(model, tmp_path / "model.tflite")
    found = operators(tmp_path / "model.tflite")
    assert made.inputs["image"].shape == (1, 32, 32, 3)
    assert "CONV_2D" in found
    assert not {
        name for name in found if name.startswith("Flex") or name in ("SHAPE", "PACK", "CUSTOM")
    }


def test_the_batch_can_be_any(tmp_path):
    # Squeeze and excitation, whose Reshape would hold the batch of the signature.
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    found = keras.layers.Conv2D(8, 3)(keras.layers.Rescaling(1 / 255)(image))
    gate = keras.layers.Reshape((1, 1, 8))(keras.layers.GlobalAveragePooling2D()(found))
    gate = keras.layers.Conv2D(8, 1, activation="sigmoid")(gate)
    found = keras.layers.Flatten()(keras.layers.Multiply()([found, gate]))
    model = keras.Model(image, {"kind": keras.layers.Dense(3, "softmax")(found)})
    converted(model, tmp_path / "model.tflite")
    opened = interpreter(tmp_path / "model.tflite")
    (given,), (made,) = opened.get_input_details(), opened.get_output_details()
    for count in (1, 5, 2):
        opened.resize_tensor_input(given["index"], (count, 32, 32, 3), strict=False)
        opened.allocate_tensors()
        opened.set_tensor(given["index"], pictures(count))
        opened.invoke()
        assert_same({"kind": opened.get_tensor(made["index"])}, model, pictures(count))


def test_the_signature_calls_outputs_by_their_tasks(tmp_path):
    model = network({"z": 3, "a/b": 3, "Größe": 3})
    converted(model, tmp_path / "model.tflite")
    ask = interpreter(tmp_path / "model.tflite").get_signature_runner("serving_default")
    assert_same(ask(image=pictures(1)), model, pictures(1))


def test_weights_of_float16_are_half_as_large(tmp_path):
    model = network(body=[keras.layers.Conv2D(256, 5), keras.layers.Conv2D(64, 3)])
    converted(model, tmp_path / "a.tflite")
    litert.convert_float16(rebuilt(model), job_of(model), tmp_path / "b.tflite")
    sizes = [(tmp_path / name).stat().st_size for name in ("a.tflite", "b.tflite")]
    assert sizes[1] < 0.52 * sizes[0]


def test_the_file_opens_as_a_zip_of_classes(tmp_path):
    converted(network({"kind": 3}), tmp_path / "one.tflite")
    converted(network({"a b": 2, "a/b": 2, "大": 2}), tmp_path / "more.tflite")
    with zipfile.ZipFile(tmp_path / "one.tflite") as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode() == "kind 0\nkind 1\nkind 2\n"
    with zipfile.ZipFile(tmp_path / "more.tflite") as archive:
        assert archive.namelist() == ["labels_a_b.txt", "labels_1.txt", "labels_大.txt"]
        assert archive.read("labels_1.txt").decode() == "a/b 0\na/b 1\n"


class Table:
    """Reads a flatbuffer by the numbers of the fields, as its format is published (flatbuffers.dev)."""

    def __init__(self, data, at):
        self.data, self.at = data, at

    def slot(self, number):
        table = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        size = struct.unpack_from("<H", self.data, table)[0]
        entry = 4 + 2 * number
        offset = struct.unpack_from("<H", self.data, table + entry)[0] if entry < size else 0
        return self.at + offset if offset else None

    def target(self, number):
        at = self.slot(number)
        return at + struct.unpack_from("<I", self.data, at)[0]

    def table(self, number):
        return Table(self.data, self.target(number))

    def tables(self, number):
        start = self.target(number)
        (count,) = struct.unpack_from("<I", self.data, start)
        places = range(start + 4, start + 4 + 4 * count, 4)
        return [Table(self.data, p + struct.unpack_from("<I", self.data, p)[0]) for p in places]

    def text(self, number):
        start = self.target(number)
        (count,) = struct.unpack_from("<I", self.data, start)
        return self.data[start + 4 : start + 4 + count].decode()

    def number(self, slot, kind):
        at = self.slot(slot)
        return struct.unpack_from(kind, self.data, at)[0] if at else 0


def test_the_metadata_are_those_of_the_published_schema(tmp_path):
    model = network({"kind": 3, "other": 3}, features=2)
    job = job_of(model)
    job = dataclasses.replace(job, description={**job.description, "calibrated": ["other"]})
    litert.convert_float(rebuilt(model), job, tmp_path / "model.tflite")
    content = (tmp_path / "model.tflite").read_bytes()
    from ai_edge_litert import schema_py_generated as schema

    file = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    (entry,) = [each for each in file.metadata if each.name == b"TFLITE_METADATA"]
    data = bytes(file.buffers[entry.buffer].data)
    assert data[4:8] == b"M001"
    root = Table(data, struct.unpack_from("<I", data)[0])
    assert root.text(0) == "things"
    assert root.text(2) == "1.2"
    assert root.text(7) == "1.0.0"
    (subgraph,) = root.tables(3)
    names = [file.subgraphs[0].tensors[i].name.decode() for i in file.subgraphs[0].inputs]
    inputs = subgraph.tables(2)
    assert [each.text(0) for each in inputs] == names
    picture = inputs[names.index("image")]
    content = picture.table(3)
    assert content.number(0, "<B") == 2  # ImageProperties
    assert content.table(1).number(0, "<b") == 1  # RGB
    size = content.table(1).table(1)
    assert (size.number(0, "<I"), size.number(1, "<I")) == (32, 32)
    (unit,) = picture.tables(4)
    assert unit.number(0, "<B") == 1  # NormalizationOptions
    files = label_files(job)
    called = {f"answer_{i}": name for i, name in enumerate(job.outputs)}
    order = [called[file.subgraphs[0].tensors[i].name.decode()] for i in file.subgraphs[0].outputs]
    for name, output in zip(order, subgraph.tables(3), strict=True):
        assert output.text(0) == name
        told = {"kind": "Probabilities, not calibrated.", "other": "Probabilities, calibrated."}
        assert output.text(1) == told[name]
        (labels,) = output.tables(6)
        assert labels.text(0) == files[name]
        assert labels.number(2, "<b") == 2  # TENSOR_AXIS_LABELS


def test_a_float_file_is_mapped_and_answers_with_what_is_behind_its_end(tmp_path):
    model = network()
    converted(model, tmp_path / "model.tflite")
    opened = interpreter(tmp_path / "model.tflite")
    opened.allocate_tensors()
    opened.set_tensor(opened.get_input_details()[0]["index"], pictures(1))
    opened.invoke()
    found = opened.get_tensor(opened.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, model.predict_on_batch(pictures(1))["kind"], atol=1e-5)
