"""Checkpoints of TF-slim: the networks answer as slim's own did."""

import numpy as np
import pytest
import slim_networks
import tensorflow as tf

from hornbeam.data.tasks import Task
from hornbeam.models.classifier import BACKBONE, build_classifier
from hornbeam.models.restoring.restore import restore
from hornbeam.models.zoo import ZOO

TWO = (Task("label", ("a", "b")),)


def save(values, path, version="V2"):
    """Write a checkpoint by name, as TensorFlow 1 did, of the second kind or the first."""
    from tensorflow.core.protobuf.saver_pb2 import SaverDef

    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        made = {
            name: tf.compat.v1.get_variable(name, initializer=value, use_resource=True)
            for name, value in values.items()
        }
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(made, write_version=getattr(SaverDef, version))
        saver.save(session, str(path), write_meta_graph=False)
    return path


CASES = [
    ("mobilenet_025", slim_networks.mobilenet_v1, {"width": 0.25}, (64, 96), "V1"),
    ("mobilenet_v2_035", slim_networks.mobilenet_v2, {"width": 0.35}, (64, 96), "V2"),
    ("mobilenet_v2_035", slim_networks.mobilenet_v2, {"width": 0.35}, (75, 50), "V2"),
    ("resnet50_slim", slim_networks.resnet_v1_50, {}, (64, 75), "V1"),
    ("resnet50_slim", slim_networks.resnet_v1_50, {}, (97, 64), "V2"),
    ("inception_v3", slim_networks.inception_v3, {}, (80, 99), "V2"),
]


@pytest.mark.parametrize(
    ("name", "network", "arguments", "size", "version"), CASES,
    ids=[f"{case[0]}-{case[3][0]}x{case[3][1]}-{case[4]}" for case in CASES],
)  # fmt: skip
def test_a_network_with_slims_weights_computes_what_slims_does(
    name, network, arguments, size, version, variables, tmp_path
):
    pixels = np.random.default_rng(1).normal(0, 1, (2, *size, 3)).astype(np.float32)
    expected = network(pixels, variables, **arguments).numpy()
    variables("global_step", ())
    path = save(variables.values, tmp_path / "model.ckpt", version)
    model = build_classifier(ZOO[name], size, TWO)
    matched = restore(model, path, network=name)
    found = model.get_layer(BACKBONE).predict_on_batch(pixels)
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    assert matched.rules.startswith("slim_")
    assert set(matched.left_here) == {"head/label/kernel", "head/label/bias"}
    assert not matched.left_in_file


def test_mobilenet_v1_differs_at_sides_that_are_no_multiple_of_32_as_its_rules_note(
    variables, tmp_path
):
    from hornbeam.models.restoring.rules import load_rules

    pixels = np.random.default_rng(1).normal(0, 1, (1, 70, 64, 3)).astype(np.float32)
    expected = slim_networks.mobilenet_v1(pixels, variables, 0.25).numpy()
    path = save(variables.values, tmp_path / "model.ckpt")
    model = build_classifier(ZOO["mobilenet_025"], (70, 64), TWO)
    restore(model, path, network="mobilenet_025")
    found = model.get_layer(BACKBONE).predict_on_batch(pixels)
    assert found.shape != expected.shape or not np.allclose(found, expected, atol=1e-2)
    assert "multiples of 32" in load_rules("slim_mobilenet_v1").note


def test_a_head_of_as_many_classes_comes_along_and_another_is_left(variables, tmp_path):
    slim_networks.mobilenet_v2(np.zeros((1, 32, 32, 3), np.float32), variables, 0.35)
    kernel = variables("MobilenetV2/Logits/Conv2d_1c_1x1/weights", (1, 1, 1280, 2))
    bias = variables("MobilenetV2/Logits/Conv2d_1c_1x1/biases", (2,))
    path = save(variables.values, tmp_path / "model.ckpt")
    model = build_classifier(ZOO["mobilenet_v2_035"], (32, 32), TWO)
    restore(model, path)
    head = model.get_layer("label").get_weights()
    np.testing.assert_array_equal(head[0], kernel[0, 0])
    np.testing.assert_array_equal(head[1], bias)
    three = build_classifier(ZOO["mobilenet_v2_035"], (32, 32), (Task("label", ("a", "b", "c")),))
    before = three.get_layer("label").get_weights()
    matched = restore(three, path)
    assert set(matched.conflicts) == {"head/label/kernel", "head/label/bias"}
    np.testing.assert_array_equal(three.get_layer("label").get_weights()[0], before[0])


def test_what_optimizers_keep_beside_the_weights_is_skipped(variables, tmp_path):
    slim_networks.mobilenet_v1(np.zeros((1, 32, 32, 3), np.float32), variables, 0.25)
    for name in list(variables.values):
        for slot in ("RMSProp", "RMSProp_1", "ExponentialMovingAverage"):
            variables(f"{name}/{slot}", variables.values[name].shape)
    path = save(variables.values, tmp_path / "model.ckpt")
    model = build_classifier(ZOO["mobilenet_025"], (32, 32), TWO)
    matched = restore(model, path)
    np.testing.assert_array_equal(
        model.get_layer(BACKBONE).get_layer("conv1").get_weights()[0],
        variables.values["MobilenetV1/Conv2d_0/weights"],
    )
    assert len(matched.skipped) == 3 * len(matched.taken)
