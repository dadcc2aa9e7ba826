"""`litert-f16`: half the size, and as near to the network as that can be."""

import keras
import numpy as np
import pytest
from networks import answers_of, job_of, network, pictures

from hornbeam.deployment.conversion import litert
from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph
from hornbeam.deployment.conversion.rebuild import rebuilt

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def stored_weights(content):
    """Return by type of operator the types that its weights, and its biases, have in the file."""
    graph = Graph(content)
    maker = {o.outputs[0].index: o for o in graph.operators if o.type == "DEQUANTIZE"}
    found = {kind: (set(), set()) for kind in WEIGHTED}
    for operator in graph.operators:
        if operator.type in WEIGHTED:
            for tensor, types in zip(operator.inputs[1:3], found[operator.type], strict=False):
                before = maker.get(tensor.index)
                stored = before.inputs[0] if before else tensor
                assert stored.constant
                types.add(stored.dtype)
    return found


def test_weights_are_float16_but_for_depthwise_ones_and_biases(tmp_path):
    body = [
        keras.layers.Conv2D(16, 3, strides=2, bias_initializer="random_normal"),
        keras.layers.DepthwiseConv2D(3, bias_initializer="random_normal"),
        keras.layers.Conv2D(24, 1, bias_initializer="random_normal"),
        keras.layers.BatchNormalization(),
    ]
    model = network({"kind": 5}, body=body)
    path = tmp_path / "model-f16.tflite"
    made = litert.convert_float16(rebuilt(model), job_of(model), path)
    found = stored_weights(path.read_bytes())
    assert found["CONV_2D"] == ({"FLOAT16"}, {"FLOAT32"})
    assert found["DEPTHWISE_CONV_2D"] == ({"FLOAT32"}, {"FLOAT32"})
    assert found["FULLY_CONNECTED"][0] == {"FLOAT16"}
    assert found["FULLY_CONNECTED"][1] <= {"FLOAT32"}
    wanted = model.predict_on_batch(pictures(20))["kind"]
    answers = answers_of(path, made, pictures(20))["kind"]
    assert 0 < np.abs(answers - wanted).max() < 0.01


@pytest.mark.parametrize("layers", [[], [keras.layers.DepthwiseConv2D(3)]])
def test_a_network_without_such_weights_is_made_all_the_same(layers, tmp_path):
    image = keras.Input((32, 32, 3), dtype="uint8", name="image")
    found = keras.layers.Rescaling(1 / 255)(image)
    for layer in layers:
        found = layer(found)
    found = keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(found))
    model = keras.Model(image, {"kind": found})
    path = tmp_path / "model-f16.tflite"
    made = litert.convert_float16(rebuilt(model), job_of(model), path)
    assert not any(t.dtype == "FLOAT16" for t in Graph(path.read_bytes()).tensors)
    answers = answers_of(path, made, pictures(4))["kind"]
    np.testing.assert_allclose(answers, model.predict_on_batch(pictures(4))["kind"], atol=1e-6)
