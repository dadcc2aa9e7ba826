"""ONNX files of integers: the form that ONNX Runtime is quick with, and the network's answers."""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from drawn_bars import drawn

from hornbeam.deployment.conversion.quantisation.onnx import convert_int8


@pytest.fixture(scope="module")
def made(learnt, job, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model-int8.onnx"
    return path, convert_int8(learnt, job, path)


def types_of(graph, kind):
    """Types of the zero points that nodes of a kind have, for activations and for constants."""
    stored = {each.name: each for each in graph.initializer}
    constant, activation = set(), set()
    for node in graph.node:
        if node.op_type == kind:
            of = constant if node.input[0] in stored else activation
            of.add(onnx.TensorProto.DataType.Name(stored[node.input[2]].data_type))
    return constant, activation


def test_activations_are_uint8_and_weights_int8_with_a_scale_for_each_channel(made):
    graph = onnx.load(made[0]).graph
    _, activations = types_of(graph, "DequantizeLinear")
    assert activations == {"UINT8"}
    stored = {each.name: each for each in graph.initializer}
    pairs = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    weights = [pairs[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert weights
    for weight in weights:
        assert stored[weight.input[0]].data_type == onnx.TensorProto.INT8
        assert list(stored[weight.input[1]].dims) == [stored[weight.input[0]].dims[0]]


def test_the_file_was_prepared_and_all_that_computes_takes_integers(made):
    model = onnx.load(made[0])
    graph = model.graph
    assert "onnx.quant.pre_process" in {each.key for each in model.metadata_props}
    assert "BatchNormalization" not in {node.op_type for node in graph.node}
    integers = {o for node in graph.node if node.op_type == "DequantizeLinear" for o in node.output}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul", "Mul", "Add"):
            assert set(node.input[:2]) <= integers, node.name


def test_the_answers_are_those_of_the_network_within_the_tolerance_for_any_batch(made, learnt):
    pictures, _ = drawn(300, 8)
    wanted = learnt.predict_on_batch(pictures)["kind"]
    session = onnxruntime.InferenceSession(str(made[0]), providers=["CPUExecutionProvider"])
    given = made[1].inputs["image"].name
    found = session.run(None, {given: pictures})[0]
    alone = np.concatenate([session.run(None, {given: p[None]})[0] for p in pictures[:20]])
    assert np.allclose(alone, found[:20], atol=1e-6)
    ordered = np.sort(wanted, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 0.1
    assert (found.argmax(axis=1) == wanted.argmax(axis=1))[clear].mean() >= 0.985
    assert np.abs(found - wanted).max(axis=1).mean() <= 0.06


def test_the_note_tells_several_ways_and_which_was_kept(made):
    assert made[1].notes[0].count("ONNX Runtime's QDQ") >= 4
    assert "Kept: " in made[1].notes[0]


def test_with_int16_activations_answers_are_nearer(made, learnt, job, tmp_path):
    pictures, _ = drawn(100, 9)
    wanted = learnt.predict_on_batch(pictures)["kind"]
    wide = convert_int8(
        learnt, dataclasses.replace(job, options={"int8_activations": 16}), tmp_path / "wide.onnx"
    )
    off = []
    for path in (made[0], tmp_path / "wide.onnx"):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        found = session.run(None, {wide.inputs["image"].name: pictures})[0]
        off.append(np.abs(found - wanted).mean())
    assert off[1] < off[0]
    _, activations = types_of(onnx.load(tmp_path / "wide.onnx").graph, "DequantizeLinear")
    assert activations == {"UINT16"}
