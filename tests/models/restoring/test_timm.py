"""Safetensors of timm: the networks answer as timm's own do."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import timm_networks
from safetensors.numpy import save_file

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, ModelError
from hornbeam.models.classifier import BACKBONE, build_classifier
from hornbeam.models.restoring.restore import restore
from hornbeam.models.zoo import ZOO

TASKS = (Task("label", ("a", "b", "c")),)
NETWORKS = {"resnet50_timm": "resnet50", "mobilenet_v2_timm": "mobilenetv2_100"}
HEADS = {"resnet50_timm": "fc", "mobilenet_v2_timm": "classifier"}


def complete(variables, name, classes):
    """Add what a file of timm holds besides: the head, and counts of batches."""
    width = 2048 if name == "resnet50_timm" else 1280
    variables(f"{HEADS[name]}.weight", (classes, width))
    variables(f"{HEADS[name]}.bias", (classes,))
    counts = {
        key.replace("running_mean", "num_batches_tracked"): np.array(7, np.int64)
        for key in variables.values if key.endswith("running_mean")
    }  # fmt: skip
    return {**variables.values, **counts}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(64, 96), (75, 50)], ids=["even", "odd"])
def test_a_twin_with_timms_weights_computes_what_timm_does(name, size, variables, tmp_path):
    pixels = np.random.default_rng(1).normal(0, 1, (2, *size, 3)).astype(np.float32)
    expected = getattr(timm_networks, NETWORKS[name])(pixels, variables).numpy()
    save_file(complete(variables, name, 1000), tmp_path / "model.safetensors")
    model = build_classifier(ZOO[name], size, TASKS)
    matched = restore(model, tmp_path / "model.safetensors", network=name)
    found = model.get_layer(BACKBONE).predict_on_batch(pixels)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    assert not matched.left_in_file
    assert set(matched.conflicts) == {"head/label/kernel", "head/label/bias"}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_whole_classifier_answers_as_pytorchs_from_pixels_to_logits(name, tmp_path):
    torch = pytest.importorskip(
        "torch", reason="PyTorch, the reference, is not installed: pip install torch"
    )
    import torch_networks
    from safetensors.torch import save_file as save_torch

    torch.manual_seed(0)
    network = torch_networks.make(NETWORKS[name], classes=3).eval()
    save_torch(network.state_dict(), str(tmp_path / "model.safetensors"))
    pixels = np.random.default_rng(1).integers(0, 256, (2, 70, 97, 3), np.uint8)
    with torch.no_grad():
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        seen = (torch.from_numpy(pixels).float() / 255 - mean) / deviation
        expected = network(seen.permute(0, 3, 1, 2)).numpy()
    model = build_classifier(ZOO[name], (70, 97), TASKS)
    matched = restore(model, tmp_path / "model.safetensors", network=name)
    found = model.predict_on_batch(pixels)["label"]
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())
    assert not matched.left_in_file + matched.left_here


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_other_types_of_floats_become_float32(dtype, variables, tmp_path):
    timm_networks.mobilenetv2_100(tf.zeros((1, 32, 32, 3)), variables)
    values = {name: value.astype(dtype) for name, value in variables.values.items()}
    save_file(values, tmp_path / "model.safetensors")
    model = build_classifier(ZOO["mobilenet_v2_timm"], (32, 32), TASKS)
    restore(model, tmp_path / "model.safetensors")
    found = model.get_layer(BACKBONE).get_layer("stem_conv").get_weights()[0]
    expected = values["conv_stem.weight"].astype(np.float32).transpose(2, 3, 1, 0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("network", "into", "advice"),
    [("resnet50", "resnet50", "resnet50_timm"), ("resnet50", "resnet50_slim", "resnet50_timm"),
     ("mobilenetv2_100", "mobilenet_v2", "mobilenet_v2_timm")],
)  # fmt: skip
@pytest.mark.parametrize("rules", ["named", "found"])
def test_a_network_that_computes_something_else_is_refused_with_the_right_name(
    network, into, advice, rules, variables, tmp_path
):
    getattr(timm_networks, network)(tf.zeros((1, 32, 32, 3)), variables)
    save_file(variables.values, tmp_path / "model.safetensors")
    model = build_classifier(ZOO[into], (32, 32), TASKS)
    with pytest.raises(ModelError, match=rf"{into} does not compute .* take --model {advice}\."):
        restore(
            model, tmp_path / "model.safetensors", network=into,
            rules=f"timm_{network}" if rules == "named" else None,
        )  # fmt: skip


def test_a_deeper_network_of_the_same_names_is_not_cut_down_unsaid(variables, tmp_path):
    timm_networks.resnet50(tf.zeros((1, 32, 32, 3)), variables)
    for block in range(6, 23):  # as in resnet101
        variables(f"layer3.{block}.conv1.weight", (256, 1024, 1, 1))
    save_file(variables.values, tmp_path / "model.safetensors")
    model = build_classifier(ZOO["resnet50_timm"], (32, 32), TASKS)
    with pytest.raises(
        ModelError, match=r"timm_resnet50, but for .*layer3\.\d+\.conv1\.weight.*size"
    ):
        restore(model, tmp_path / "model.safetensors", network="resnet50_timm")


def test_a_truncated_file_and_values_that_are_not_finite_are_refused(variables, tmp_path):
    timm_networks.mobilenetv2_100(tf.zeros((1, 32, 32, 3)), variables)
    path = tmp_path / "model.safetensors"
    save_file(variables.values, path)
    whole = path.read_bytes()
    model = build_classifier(ZOO["mobilenet_v2_timm"], (32, 32), TASKS)
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"cannot be read as safetensors: .*Is it whole\?"):
            restore(model, path)
    variables.values["conv_stem.weight"][0, 0, 0, 0] = np.nan
    save_file(variables.values, path)
    before = model.get_weights()
    with pytest.raises(ModelError, match=r"'conv_stem\.weight' holds values that are not finite"):
        restore(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_files_of_pytorch_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"PK")
    model = build_classifier(ZOO["compact"], (32, 32), TASKS)
    with pytest.raises(ConfigError, match=r"may hold code.*safetensors\.torch\.save_file"):
        restore(model, tmp_path / "model.pth")
