"""What is wrong with a file is seen before it is asked: inputs, outputs, shapes, operators."""

import dataclasses

import pytest

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import Artifact, Manifest, Tensor
from hornbeam.deployment.contract.structure import faults

ABOUT = Manifest(
    "n", "t", (8, 8, 3), "crop", 1, None, (), (Task("kind", ("a", "b")),), {}, {}, None, {}, {}, {}
)
GOOD = Artifact(
    "keras", "model.keras", 1, "0" * 64, {"image": Tensor("image", "uint8", (None, 8, 8, 3))},
    {"kind": Tensor("kind", "float32", (None, 2))},
)  # fmt: skip


def image(dtype="uint8", shape=(None, 8, 8, 3)):
    return {"inputs": {"image": Tensor("image", dtype, shape)}}


def test_what_is_as_it_should_be_has_no_fault(tmp_path):
    assert faults(tmp_path, GOOD, ABOUT) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"inputs": {**GOOD.inputs, "mean": Tensor("mean", "float32", (3,))}},
         "its inputs are image, mean; expected image"),
        ({"outputs": {}}, "its outputs are none; expected kind"),
        ({"outputs": {"kind": Tensor("kind", "float32", (None, 3))}}, "kind has the shape [None, 3]"),
        (image(dtype="float32"), "its pixels are float32; expected uint8"),
        (image(shape=(None, 8, 9, 3)), "its pixels have the shape [None, 8, 9, 3]"),
        (image(shape=(1, 8, 8, 3)), "its pixels have the shape [1, 8, 8, 3]"),
    ],
)  # fmt: skip
def test_each_fault_is_a_sentence(changes, sentence, tmp_path):
    (said,) = faults(tmp_path, dataclasses.replace(GOOD, **changes), ABOUT)
    assert sentence in said


def test_a_tflite_file_of_any_batch_is_refused(tmp_path):
    artifact = dataclasses.replace(GOOD, format="litert", file="model.tflite")
    (tmp_path / "model.tflite").write_bytes(b"no model")
    said = faults(tmp_path, artifact, ABOUT)
    assert "its pixels have the shape [None, 8, 8, 3]" in said
    assert any("its file cannot be read" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("domain", "format", "faulty"),
    [("", "onnx", False), ("com.acme", "onnx", True), ("com.microsoft", "onnx-int8", False)],
)
def test_operators_that_onnx_lacks_are_named(domain, format, faulty, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    name = "Identity" if not domain else "Twist"
    graph = helper.make_graph(
        [helper.make_node(name, ["image"], ["kind"], domain=domain)], "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [None, 8, 8, 3])],
        [helper.make_tensor_value_info("kind", TensorProto.UINT8, [None, 8, 8, 3])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    onnx.save(helper.make_model(graph, opset_imports=imports), tmp_path / "model.onnx")
    artifact = dataclasses.replace(GOOD, format=format, file="model.onnx")
    said = faults(tmp_path, artifact, ABOUT)
    assert said == ([f"it has operators that ONNX lacks: {domain}.Twist"] if faulty else [])


def test_an_openvino_file_without_its_weights_is_refused(tmp_path):
    layers = '<layer type="Parameter"/><layer type="Result"/>'
    (tmp_path / "model.xml").write_text(f"<net><layers>{layers}</layers></net>")
    artifact = dataclasses.replace(GOOD, format="openvino", file="model.xml")
    assert faults(tmp_path, artifact, ABOUT) == ["its .bin file is missing"]
    (tmp_path / "model.bin").write_bytes(b"")
    assert faults(tmp_path, artifact, ABOUT) == []
