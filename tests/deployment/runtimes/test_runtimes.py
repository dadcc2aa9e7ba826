"""Whatever the runtime: the model's answers, a batch as one by one, and no noise."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from small_bundles import SIDE, asked, coloured

from hornbeam.deployment import Predictor
from hornbeam.deployment.bundle.manifest import Manifest, Tensor
from hornbeam.deployment.runtimes import edgetpu, litert
from hornbeam.deployment.runtimes.runtime import dequantised, open_runtime, quantised
from hornbeam.errors import BundleError

FORMATS = ("keras", "h5", "savedmodel", "litert", "litert-f16", "onnx", "openvino")


def opened(directory, name):
    return open_runtime(directory, Manifest.load(directory).artifacts[name], 2, trust=True)


@pytest.mark.parametrize("name", FORMATS)
def test_each_runtime_answers_as_the_model_a_batch_as_one_by_one(made_trees, name):
    directory, model = made_trees
    runtime, image = opened(directory, name), coloured(21)
    expected, found = asked(model, image), runtime.run(image)
    tolerance = 1e-2 if name == "litert-f16" else 1e-5
    assert np.ptp(expected["label"][:, 0]) > 0.2  # else any answer would do
    for output, values in expected.items():
        assert found[output].dtype == np.float32
        np.testing.assert_allclose(found[output], values, atol=tolerance)
        alone = np.concatenate([runtime.run(image[row : row + 1])[output] for row in range(21)])
        np.testing.assert_allclose(found[output], alone, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_beside_the_picture_reach_every_runtime(made_sized_trees, name):
    directory, model = made_sized_trees
    image = coloured(11)
    numbers = np.random.default_rng(3).normal(0, 1, (11, 2)).astype(np.float32)
    found = opened(directory, name).run(image, numbers)["label"]
    tolerance = 1e-2 if name == "litert-f16" else 1e-5
    np.testing.assert_allclose(found, asked(model, image, numbers)["label"], atol=tolerance)
    assert np.abs(found - asked(model, image, 0 * numbers)["label"]).max() > 0.05


@pytest.mark.parametrize("name", FORMATS)
def test_answers_stay_when_the_next_batch_is_asked_about(made_trees, name):
    runtime = opened(made_trees[0], name)
    first, second = coloured(2, seed=1), coloured(2, seed=2)
    found = runtime.run(first)
    kept = {output: values.copy() for output, values in found.items()}
    runtime.run(second)
    for output, values in kept.items():
        np.testing.assert_array_equal(found[output], values)


def test_litert_takes_several_at_once_where_the_graph_lets_it(made_trees):
    runtime = opened(made_trees[0], "litert")
    assert runtime._many is None
    runtime.run(coloured(litert.AT_ONCE))
    assert runtime._many is not None


def test_a_graph_that_answers_otherwise_when_resized_is_asked_one_by_one(made_trees, monkeypatch):
    directory, model = made_trees
    runtime, image = opened(directory, "litert"), coloured(21)
    run = litert._Asked.run

    def mixed_up(self, inputs):
        found = run(self, inputs)
        return {name: values[::-1].copy() for name, values in found.items()}

    monkeypatch.setattr(litert._Asked, "run", mixed_up)
    np.testing.assert_allclose(runtime.run(image)["label"], asked(model, image)["label"], atol=1e-5)
    assert runtime._many is None


@pytest.mark.parametrize("sized", [False, True])
def test_pictures_that_are_alike_do_not_hide_a_graph_that_mixes_them_up(
    made_trees, made_sized_trees, monkeypatch, sized
):
    directory, model = made_sized_trees if sized else made_trees
    run = litert._Asked.run

    def mixed_up(self, inputs):
        found = run(self, inputs)
        return {  # the middle ones only
            n: v[[0, 2, 1, *range(3, 8)]] if len(v) == 8 else v for n, v in found.items()
        }

    monkeypatch.setattr(litert._Asked, "run", mixed_up)
    image = coloured(21)
    numbers = np.random.default_rng(0).normal(0, 1, (21, 2)).astype(np.float32) if sized else None
    with Predictor(directory, format="litert") as predictor:
        predictor.warm_up()
        answers = predictor.ask(image, numbers)
    expected = asked(model, image, numbers)["label"]
    found = np.stack([answer.probabilities["label"] for answer in answers])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_one_sentence(made_trees, tmp_path, name):
    artifact = Manifest.load(made_trees[0]).artifacts[name]
    path = tmp_path / artifact.file
    if name == "savedmodel":
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"\xff" * 1000)
    else:
        path.write_bytes((made_trees[0] / artifact.file).read_bytes()[:500])
    with pytest.raises(BundleError) as error:
        open_runtime(tmp_path, artifact, 1, trust=True)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_savedmodel_is_code_and_needs_trust(made_trees):
    with pytest.raises(BundleError, match="can hold code"):
        open_runtime(made_trees[0], Manifest.load(made_trees[0]).artifacts["savedmodel"], 1)


def test_an_edge_tpu_that_is_not_there_is_said_so(made_trees):
    artifact = Manifest.load(made_trees[0]).artifacts["litert"]
    artifact = dataclasses.replace(artifact, format="edgetpu")
    with pytest.raises(BundleError, match=r"needs an Edge TPU and its runtime libedgetpu"):
        open_runtime(made_trees[0], artifact, 1)


def test_the_edge_tpu_whose_shapes_are_fixed_is_opened_once_and_asked_one_by_one(
    made_trees, monkeypatch
):
    directory, model = made_trees
    opened_by = []
    monkeypatch.setattr(edgetpu.EdgeTpuRuntime, "_options", lambda self: opened_by.append(1) or {})
    artifact = Manifest.load(directory).artifacts["litert"]
    runtime = edgetpu.EdgeTpuRuntime(directory / artifact.file, artifact, 1, False)
    image = coloured(litert.AT_ONCE + 1)
    np.testing.assert_allclose(runtime.run(image)["label"], asked(model, image)["label"], atol=1e-5)
    assert len(opened_by) == 1


@pytest.mark.parametrize("name", ["litert", "onnx", "openvino"])
def test_nothing_is_printed(made_trees, name):
    code = (
        "import numpy as np, sys; from pathlib import Path;"
        "from hornbeam.deployment.bundle.manifest import Manifest;"
        "from hornbeam.deployment.runtimes.runtime import open_runtime;"
        f"d = Path({str(made_trees[0])!r}); r = open_runtime(d, Manifest.load(d).artifacts[{name!r}], 2);"
        f"r.run(np.zeros((9, {SIDE}, {SIDE}, 3), np.uint8)); print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True
    )
    assert (done.stdout, done.stderr) == ("done\n", "")


@pytest.mark.parametrize(
    ("tensor", "given", "stored"),
    [
        (Tensor("x", "uint8", (1,), 1.0, 0), [0, 7, 255], [0, 7, 255]),
        (Tensor("x", "int8", (1,), 1.0, -128), [0, 128, 255], [-128, 0, 127]),
        (Tensor("x", "uint8", (1,), 2.0, 3), [0, 7, 255], [3, 7, 131]),
        (Tensor("x", "int8", (1,), 0.5, 0), [0, 10, 255], [0, 20, 127]),
        (Tensor("x", "float32", (1,)), [0, 7, 255], [0.0, 7.0, 255.0]),
    ],
)
def test_pixels_are_stored_as_the_artifact_has_them(tensor, given, stored):
    found = quantised(np.array(given, np.uint8), tensor)
    assert found.dtype == tensor.dtype
    np.testing.assert_array_equal(found, stored)


def test_stored_numbers_mean_what_scale_and_zero_point_say():
    found = dequantised(np.array([0, 128, 255], np.uint8), Tensor("x", "uint8", (1,), 1 / 256, 0))
    np.testing.assert_allclose(found, [0, 0.5, 255 / 256])
    found = dequantised(np.array([-128, 127], np.int8), Tensor("x", "int8", (1,), 1 / 256, -128))
    np.testing.assert_allclose(found, [0, 255 / 256])
