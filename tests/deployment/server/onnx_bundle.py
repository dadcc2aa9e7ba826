"""Bundles made by hand in milliseconds, whose answers are known in closed form."""

import hashlib
import io
import shutil

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import Artifact, Golden, Manifest, Tensor

COLOURS = ("red", "green", "blue")
SHARPNESS = 8.0
SIDE = 16


def expected(red, green, blue, shift=0.0):
    """What the model says of a picture of one colour: softmax of 8 times its mean."""
    logits = SHARPNESS * np.array([red, green, blue], np.float64) / 255
    logits[0] += shift
    exponents = np.exp(logits - logits.max())
    return exponents / exponents.sum()


def picture(red, green, blue, size=(24, 24), format="PNG"):
    """The bytes of a picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, (red, green, blue)).save(file, format)
    return file.getvalue()


def make_bundle(
    directory, *, classes=COLOURS, features=(), shift=0.0, below=0.6, above=0.9, name="colours",
    golden=True, side=SIDE, odd=None, multi_label=False,
):  # fmt: skip
    """Write a bundle that tells which colour a picture has.

    Args:
        features: the first of these numbers is added to the logit of the first class.
        shift: the same, for all pictures.
        below: probability below which it is not sure.
        above: a picture is unknown if the share of its colours that is grey is above.
        odd: what it does with pictures that have no red at all: "fail", or answer "nan".
        golden: give it a picture whose answer is known; a number is added to that.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    onnx.save(_model(features, shift, side, odd), directory / "model.onnx")
    content = (directory / "model.onnx").read_bytes()
    inputs = {"image": Tensor("image", "uint8", (None, side, side, 3))}
    if features:
        inputs["features"] = Tensor("features", "float32", (None, len(features)))
    outputs = {
        "label": Tensor("label", "float32", (None, 3)),
        "unknown": Tensor("unknown", "float32", (None, 1)),
    }
    artifact = Artifact(
        "onnx", "model.onnx", len(content), hashlib.sha256(content).hexdigest(), inputs, outputs
    )
    goldens = ()
    if golden:
        (directory / "golden").mkdir()
        shot = picture(200, 30, 60)
        (directory / "golden" / "0.png").write_bytes(shot)
        said = expected(200, 30, 60, shift) + (golden if golden is not True else 0)
        told = {"label": tuple(said), "unknown": (1 - 170 / 255,)}
        goldens = (
            Golden("golden/0.png", hashlib.sha256(shot).hexdigest(), tuple(0.0 for _ in features),
                   told, {"onnx": told}),
        )  # fmt: skip
    Manifest(
        name=name, created="2026-11-21T12:00:00+00:00", image_size=(side, side, 3), resize_mode="crop",
        max_pixels=178_956_970, preprocess=None, features=tuple(features),
        tasks=(Task("label", tuple(classes), multi_label),), calibration={},
        abstain={"label": {"below": below, "meaning": "nine of ten are right"}},
        unknown={"above": above, "kind": "grey", "meaning": "one of twenty known ones"}, groups={},
        versions={"hornbeam": "0.1.0"}, fingerprints={}, artifacts={"onnx": artifact}, golden=goldens,
    ).save(directory)  # fmt: skip
    return directory


def _model(features, shift, side, odd):
    constants = {
        "scale": np.float32(SHARPNESS / 255), "shift": np.array([shift, 0, 0], np.float32),
        "axes": np.array([1, 2], np.int64), "last": np.array([1], np.int64),
        "byte": np.float32(255), "one": np.float32(1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["logits"]),
    ]
    logits = "logits"
    if features:
        weights = np.zeros((len(features), 3), np.float32)
        weights[0, 0] = 1
        constants["weights"] = weights
        nodes += [
            helper.make_node("MatMul", ["features", "weights"], ["beside"]),
            helper.make_node("Add", [logits, "beside"], ["logits and features"]),
        ]
        logits = "logits and features"
    if odd:
        constants |= {
            "first": np.array(0, np.int64), "little": np.float32(0.5), "one row": np.zeros((1, 3), np.float32),
        }  # fmt: skip
        nodes.append(helper.make_node("Gather", ["mean", "first"], ["red"], axis=1))
        if odd == "fail":  # a row that there is not
            nodes += [
                helper.make_node("Less", ["red", "little"], ["no red"]),
                helper.make_node("Cast", ["no red"], ["row"], to=TensorProto.INT64),
                helper.make_node("Gather", ["one row", "row"], ["odd"], axis=0),
            ]
        else:  # the root of a negative number
            nodes += [
                helper.make_node("Sub", ["red", "little"], ["less red"]),
                helper.make_node("Sqrt", ["less red"], ["root"]),
                helper.make_node("Unsqueeze", ["root", "last"], ["column"]),
                helper.make_node("Mul", ["column", "one row"], ["odd"]),
            ]
        nodes.append(helper.make_node("Add", [logits, "odd"], ["odd logits"]))
        logits = "odd logits"
    nodes += [
        helper.make_node("Softmax", [logits], ["label"], axis=1),
        helper.make_node("ReduceMax", ["mean", "last"], ["largest"], keepdims=1),
        helper.make_node("ReduceMin", ["mean", "last"], ["least"], keepdims=1),
        helper.make_node("Sub", ["largest", "least"], ["range"]),
        helper.make_node("Div", ["range", "byte"], ["share"]),
        helper.make_node("Sub", ["one", "share"], ["unknown"]),
    ]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", side, side, 3])]
    if features:
        inputs.append(
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(features)])
        )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("unknown", TensorProto.FLOAT, ["n", 1]),
    ]
    graph = helper.make_graph(
        nodes, "colours", inputs, outputs,
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
