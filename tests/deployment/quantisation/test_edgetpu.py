"""What is known of a file before the Edge TPU's compiler sees it, and how that program is called."""

import dataclasses
import json
import os
import stat

import numpy as np
import pytest
from drawn_bars import network

from hornbeam.deployment.conversion.quantisation import edgetpu
from hornbeam.deployment.conversion.quantisation.edgetpu_rules import inspect
from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph, float_operators
from hornbeam.deployment.conversion.quantisation.litert_routes import quiet
from hornbeam.errors import ModelError

# Stands in for the compiler, which no machine of ours has: it takes the arguments that the real one
# documents, and writes and prints what the documentation shows (coral.ai/docs/edgetpu/compiler).
STAND_IN = """#!/bin/sh
[ "$1" = "-s" ] && [ "$2" = "-o" ] || { echo "unexpected arguments: $*" >&2; exit 2; }
name=$(basename "$4" .tflite)
cp "$4" "$3/${name}_edgetpu.tflite"
echo "Operator  Count  Status" > "$3/${name}_edgetpu.log"
cat <<END
Edge TPU Compiler version 16.0.384591198
Model compiled successfully in 1045 ms.
Input model: $4
On-chip memory used for caching model parameters: 3.81MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Number of operations that will run on Edge TPU: 8
Number of operations that will run on CPU: 0
END
"""
REFUSES = "#!/bin/sh\necho 'Internal compiler error. Aborting!'\nexit 1\n"


def on_the_path(folder, script, monkeypatch):
    program = folder / "edgetpu_compiler"
    program.write_text(script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def of_layers(*layers, batch=1, integers=True):
    """A file of a few Keras layers on `[batch, 8, 8, 4]`, quantised by TensorFlow's converter."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    image = keras.Input((8, 8, 4), batch_size=batch)
    model = keras.Sequential([image, *layers])
    specs = tf.TensorSpec((batch, 8, 8, 4), tf.float32)
    call = tf.function(lambda x: model(x, training=False)).get_concrete_function(specs)
    frozen = convert_variables_to_constants_v2(call)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if integers:
        rng = np.random.default_rng(0)
        shape = (batch or 1, 8, 8, 4)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            [rng.normal(size=shape).astype(np.float32)] for _ in range(4)
        )
        converter.inference_input_type = converter.inference_output_type = tf.int8
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    with quiet():
        return converter.convert()


def conv():
    import keras

    return keras.layers.Conv2D(4, 3)


def test_a_file_of_convolutions_is_mapped_whole(int8):
    report = inspect(int8[0].read_bytes())
    assert not report.problems
    assert not report.on_cpu
    assert report.operators > 5
    assert report.fits
    assert 0 < report.parameter_bytes < int8[0].stat().st_size


def test_floats_are_refused():
    (said,) = inspect(of_layers(conv(), integers=False)).problems
    assert said.startswith("Not all tensors are integers: CONV_2D")


def test_a_batch_that_is_not_fixed_or_not_one_is_refused():
    assert any("Shapes must be fixed" in s for s in inspect(of_layers(conv(), batch=None)).problems)
    assert any(
        "batch must be 1; it is 2" in s for s in inspect(of_layers(conv(), batch=2)).problems
    )


def test_what_comes_after_an_operator_that_it_lacks_runs_on_the_cpu():
    from keras import layers

    report = inspect(of_layers(conv(), layers.Activation("hard_swish"), conv()))
    kinds = [kind for kind, _, _ in report.on_cpu]
    assert "HARD_SWISH" in kinds
    at = kinds.index("HARD_SWISH")
    assert report.on_cpu[at][2] == "the Edge TPU does not have it"
    assert "CONV_2D" in kinds[at:]
    assert "which is not mapped" in report.on_cpu[-1][2]
    assert not report.problems  # it compiles, and is slow


def test_swish_is_a_product_with_a_sigmoid_which_it_has():
    from keras import layers

    report = inspect(of_layers(conv(), layers.Activation("swish")))
    assert not report.on_cpu
    assert report.runtime >= 12


def test_dilated_depthwise_convolutions_run_on_the_cpu():
    from keras import layers

    report = inspect(of_layers(layers.DepthwiseConv2D(3, dilation_rate=2)))
    assert report.on_cpu


def test_dense_weights_with_a_scale_for_each_channel_are_told(learnt, job):
    from ai_edge_quantizer import quantizer, recipe

    from hornbeam.deployment.conversion.quantisation import litert, litert_routes

    begun = litert.begin(learnt, job)
    ranges = begun.ranges(0.0)
    statistics = {
        name: {"min": np.full(1, low, "f4"), "max": np.full(1, high, "f4")}
        for name, (low, high) in ranges.items()
    } | litert_routes._weight_ranges(litert.Graph(begun.content), ranges)
    with quiet():
        made = quantizer.Quantizer(begun.content, recipe.static_wi8_ai8()).quantize(
            statistics, enable_progress_bar=False, enable_progress_report=False
        )
    told = inspect(bytes(made.quantized_model)).on_cpu
    assert any(kind == "FULLY_CONNECTED" and "each channel" in why for kind, _, why in told)


def test_too_many_parameters_are_told():
    from keras import layers

    big = inspect(of_layers(layers.Flatten(), layers.Dense(40_000)))
    assert not big.fits
    assert "do not fit" in " ".join(edgetpu.in_sentences(big))


def test_without_the_compiler_nothing_is_pretended(learnt, job, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    made = edgetpu.convert(learnt, job, tmp_path / "model-edgetpu.tflite")
    assert made.file == ""
    assert set(made.inputs) == {"image"}  # so that the contract can ask what is to be compiled
    assert "edgetpu_compiler -s -o . to-compile.tflite" in made.left_to_do
    assert not (tmp_path / "model-edgetpu.tflite").exists()
    assert (tmp_path / "to-compile.tflite").is_file()
    report = json.loads((tmp_path / "edgetpu.json").read_text())
    assert report["problems"] == []
    assert report["command"] in (tmp_path / "edgetpu.txt").read_text()


def test_with_the_compiler_its_file_and_words_are_kept(learnt, job, tmp_path, monkeypatch):
    on_the_path(tmp_path, STAND_IN, monkeypatch)
    made = edgetpu.convert(learnt, job, tmp_path / "model-edgetpu.tflite")
    assert made.file == "model-edgetpu.tflite"
    assert made.left_to_do is None
    assert (tmp_path / made.file).read_bytes() == (tmp_path / "to-compile.tflite").read_bytes()
    assert "Number of operations that will run on Edge TPU: 8." in made.notes
    log = (tmp_path / "edgetpu.log").read_text()
    assert "compiled successfully" in log
    assert "Operator  Count  Status" in log


def test_a_compiler_that_fails_is_a_sentence_with_its_last_words(
    learnt, job, tmp_path, monkeypatch
):
    on_the_path(tmp_path, REFUSES, monkeypatch)
    with pytest.raises(ModelError, match=r"ended with code 1: Internal compiler error\. Aborting!"):
        edgetpu.convert(learnt, job, tmp_path / "model-edgetpu.tflite")
    assert not (tmp_path / "model-edgetpu.tflite").exists()


def test_swish_networks_are_quantised_too(job, tmp_path):
    edgetpu.convert(network("swish"), dataclasses.replace(job), tmp_path / "swish.tflite")
    graph = Graph((tmp_path / "to-compile.tflite").read_bytes())
    assert "LOGISTIC" in {operator.type for operator in graph.operators}
    assert not float_operators(graph)
    assert json.loads((tmp_path / "edgetpu.json").read_text())["problems"] == []
