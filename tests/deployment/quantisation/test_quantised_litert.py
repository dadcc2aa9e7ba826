"""LiteRT files of integers answer nearly as the network does, and have no floats inside."""

import dataclasses

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from drawn_bars import drawn, network

from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.quantisation import litert, litert_routes
from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph, float_operators
from hornbeam.errors import ConfigError


def asked(path, pictures):
    """Ask a file with bytes, as whoever has nothing but the runtime would; returns probabilities."""
    running = Interpreter(model_path=str(path))
    running.allocate_tensors()
    given, made = running.get_input_details()[0], running.get_output_details()[0]
    scale, zero_point = made["quantization"]
    result = []
    for picture in pictures:
        running.set_tensor(given["index"], picture[None])
        running.invoke()
        stored = running.get_tensor(made["index"])[0].astype(np.float64)
        result.append((stored - zero_point) * scale if scale else stored)
    return np.array(result)


def test_the_answers_are_those_of_the_network_within_the_tolerance(int8, learnt):
    pictures, classes = drawn(300, 3)
    wanted = learnt.predict_on_batch(pictures)["kind"]
    found = asked(int8[0], pictures)
    assert (wanted.argmax(axis=1) == classes).mean() > 0.9  # it learnt something to lose
    ordered = np.sort(wanted, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 0.1
    assert (found.argmax(axis=1) == wanted.argmax(axis=1))[clear].mean() >= 0.985
    assert np.abs(found - wanted).max(axis=1).mean() <= 0.06


def test_bytes_go_in_and_out_and_no_operator_has_floats(int8):
    graph = Graph(int8[0].read_bytes())
    assert [t.dtype for t in (*graph.inputs, *graph.outputs)] == ["UINT8", "UINT8"]
    assert not float_operators(graph)
    assert not any("FLOAT" in t.dtype for t in graph.tensors)


def test_the_bytes_are_those_of_the_picture(int8):
    _, made = int8
    image = made.inputs["image"]
    assert (image.dtype, image.scale, image.zero_point) == ("uint8", 1.0, 0)
    assert made.outputs["kind"].scale == pytest.approx(1 / 256)


def test_dense_weights_have_one_scale_and_convolutions_one_for_each_channel(int8):
    graph = Graph(int8[0].read_bytes())
    dense = [o for o in graph.operators if o.type == "FULLY_CONNECTED"]
    convolutions = [o for o in graph.operators if o.type in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    assert dense
    assert convolutions
    assert not any(o.inputs[1].per_channel for o in dense)
    assert all(o.inputs[1].per_channel for o in convolutions)


@pytest.mark.parametrize("route", ["by_converter", "by_edge_quantizer"])
def test_each_way_alone_keeps_dense_weights_at_one_scale_and_the_answers(
    route, learnt, job, tmp_path
):
    begun = litert.begin(learnt, job)
    content = getattr(litert_routes, route)(begun.content, begun.ranges(0.0))
    graph = Graph(content)
    assert not any(o.inputs[1].per_channel for o in graph.operators if o.type == "FULLY_CONNECTED")
    (tmp_path / "one.tflite").write_bytes(content)
    pictures, _ = drawn(200, 4)
    wanted = learnt.predict_on_batch(pictures)["kind"]
    assert np.abs(asked(tmp_path / "one.tflite", pictures) - wanted).max(axis=1).mean() <= 0.06


def test_a_channel_whose_weights_are_zero_keeps_its_bias_by_each_way(job, tmp_path):
    import keras
    from keras import layers

    image = keras.Input((24, 24, 3), dtype="uint8", name="image")
    x = layers.Conv2D(4, 3, name="conv")(layers.Rescaling(1 / 255)(image))
    x = layers.Dense(4)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, {"kind": layers.Activation("softmax")(x)})
    kernel, bias = model.get_layer("conv").get_weights()
    kernel[..., 2], bias[2] = 0, 1.5
    model.get_layer("conv").set_weights([kernel, bias])
    pictures, _ = drawn(50, 5)
    wanted = model.predict_on_batch(pictures)["kind"]
    begun = litert.begin(model, job)
    for route in (litert_routes.by_converter, litert_routes.by_edge_quantizer):
        path = tmp_path / "zero.tflite"
        path.write_bytes(route(begun.content, begun.ranges(0.0)))
        assert np.abs(asked(path, pictures) - wanted).max() < 0.03


def test_the_note_tells_the_ways_with_their_figures_and_which_was_kept(int8):
    note = int8[1].notes[0]
    assert note.count("TensorFlow's converter") >= 3
    assert "ai-edge-quantizer" in note
    assert "on 128 training pictures" in note
    assert "Kept: " in note


def test_dynamic_weights_are_int8_and_answers_are_nearly_the_same(learnt, job, tmp_path):
    made = litert.convert_dynamic(learnt, job, tmp_path / "dynamic.tflite")
    pictures, _ = drawn(200, 6)
    wanted = learnt.predict_on_batch(pictures)["kind"]
    found = asked(tmp_path / "dynamic.tflite", pictures)
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.97
    assert np.abs(found - wanted).max(axis=1).mean() <= 0.03
    assert (made.inputs["image"].dtype, made.outputs["kind"].dtype) == ("uint8", "float32")


def test_with_int16_activations_answers_are_nearer(int8, learnt, job, tmp_path):
    pictures, _ = drawn(200, 7)
    wanted = learnt.predict_on_batch(pictures)["kind"]
    narrow = np.abs(asked(int8[0], pictures) - wanted).mean()
    wide = dataclasses.replace(job, options={"int8_activations": 16})
    made = litert.convert_int8(learnt, wide, tmp_path / "wide.tflite")
    graph = Graph((tmp_path / "wide.tflite").read_bytes())
    assert made.inputs["image"].dtype == "uint8"
    assert any(t.dtype == "INT16" for t in graph.tensors)
    assert {o.type for o in float_operators(graph)} == {"CAST"}
    assert "CAST" in made.notes[-1]
    assert np.abs(asked(tmp_path / "wide.tflite", pictures) - wanted).mean() < narrow / 2


def test_layers_that_are_named_stay_in_float(learnt, job, tmp_path):
    some = dataclasses.replace(job, options={"float_layers": "depthwise_act_1"})
    made = litert.convert_int8(learnt, some, tmp_path / "mixed.tflite")
    graph = Graph((tmp_path / "mixed.tflite").read_bytes())
    (left,) = float_operators(graph)  # the activation is fused into its convolution
    assert left.type == "DEPTHWISE_CONV_2D"
    assert "depthwise_act_1" in left.outputs[0].name
    assert left.inputs[1].shape[-1] == 16  # that of the second block
    integers = [o for o in graph.operators if o.type == "DEPTHWISE_CONV_2D" and o is not left]
    assert [o.inputs[1].dtype for o in integers] == ["INT8"]
    assert "DEPTHWISE_CONV_2D" in made.notes[-1]


def test_layers_that_do_not_exist_are_a_sentence(learnt, job, tmp_path):
    some = dataclasses.replace(job, options={"float_layers": "no_such_layer"})
    with pytest.raises(ConfigError, match="'no_such_layer' matches no layer"):
        litert.convert_int8(learnt, some, tmp_path / "mixed.tflite")


def test_without_calibration_pictures_there_is_a_sentence(tmp_path):
    none = Job("", None, (), str(tmp_path), ("kind",))
    with pytest.raises(ConfigError, match="calibration pictures"):
        litert.convert_int8(network(), none, tmp_path / "none.tflite")


def test_a_network_that_computes_with_bytes_is_refused_by_name():
    import tensorflow as tf

    from hornbeam.deployment.conversion.quantisation.pixels import take_out_casts
    from hornbeam.errors import ModelError

    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.uint8)])
    def halves(pixels):
        return tf.cast(pixels // 2, tf.float32)

    with pytest.raises(ModelError, match="first cast them to float32"):
        take_out_casts(halves.get_concrete_function().graph.as_graph_def())
