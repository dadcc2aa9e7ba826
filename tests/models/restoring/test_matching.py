"""Which variable goes where, and how kernels are turned."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from hornbeam.errors import ModelError
from hornbeam.models.restoring.matching import (
    Place,
    fit_layout,
    match,
    renumbered,
    require_backbone,
)
from hornbeam.models.restoring.readers import read_weight_file
from hornbeam.models.restoring.rules import load_rules


def file_of(shapes, tmp_path):
    values = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(values, tmp_path / "file.safetensors")
    return read_weight_file(tmp_path / "file.safetensors")


def test_kernels_of_pytorch_are_turned_by_the_kind_of_their_layer():
    generator = np.random.default_rng(0)
    conv = generator.normal(size=(5, 4, 3, 2))  # out, in, height, width
    assert fit_layout(conv, Place((3, 2, 4, 5)), torch=True)[2, 1, 3, 4] == conv[4, 3, 2, 1]
    depthwise = generator.normal(size=(5, 1, 3, 2))
    found = fit_layout(depthwise, Place((3, 2, 5, 1), depthwise=True), torch=True)
    assert found.shape == (3, 2, 5, 1)
    assert found[2, 1, 4, 0] == depthwise[4, 0, 2, 1]
    dense = generator.normal(size=(5, 4))
    assert fit_layout(dense, Place((4, 5)), torch=True)[3, 2] == dense[2, 3]
    point = generator.normal(size=(5, 4, 1, 1))
    np.testing.assert_array_equal(fit_layout(point, Place((4, 5)), torch=True), point[..., 0, 0].T)
    np.testing.assert_array_equal(
        fit_layout(point.transpose(2, 3, 1, 0), Place((4, 5)), torch=False), point[..., 0, 0].T
    )


def test_names_are_taken_with_and_without_the_first_part_and_slots_are_not(tmp_path):
    places = {"backbone/conv/kernel": Place((2,)), "backbone/dw/kernel": Place((2,), True),
              "head/label/bias": Place((3,))}  # fmt: skip
    shapes = {
        "Adam/conv/kernel": 2,
        "conv/kernel": 2,
        "net/dw/depthwise_kernel": 2,
        "label/bias": 3,
    }
    matched = match(file_of(shapes, tmp_path), places)
    assert matched.taken == {
        "backbone/conv/kernel": "conv/kernel",
        "backbone/dw/kernel": "net/dw/depthwise_kernel",
        "head/label/bias": "label/bias",
    }
    assert matched.left_in_file == ("Adam/conv/kernel",)


def test_a_wrong_layout_is_found_by_the_shapes_and_the_line_that_mends_it_is_told(tmp_path):
    places = {"backbone/conv/kernel": Place((3, 3, 4, 5))}
    file = file_of({"conv.weight": (5, 4, 3, 3)}, tmp_path)
    (tmp_path / "r").write_text(r"(\w+)\.weight = backbone/\1/kernel")
    with pytest.raises(
        ModelError, match=r"5x4x3x3.*3x3x4x5.*'@layout torch' among the rules would fit"
    ):
        require_backbone(match(file, places, load_rules(str(tmp_path / "r"))), file, places)
    (tmp_path / "r").write_text("@layout torch\n" + r"(\w+)\.weight = backbone/\1/kernel")
    require_backbone(match(file, places, load_rules(str(tmp_path / "r"))), file, places)


def test_a_rule_that_leads_to_no_variable_is_named_rather_than_the_architecture(tmp_path):
    places = {"backbone/conv1/kernel": Place((2,))}
    file = file_of({"stem/weight": 2}, tmp_path)
    (tmp_path / "r").write_text("stem/weight = backbone/conv9/kernel")
    with pytest.raises(ModelError, match=r"by the rules .*'stem/weight' in the file lead to no"):
        require_backbone(match(file, places, load_rules(str(tmp_path / "r"))), file, places)
    with pytest.raises(ModelError, match="is it of this architecture"):
        require_backbone(match(file, places), file, places)


def test_what_a_user_excludes_needs_no_weights(tmp_path):
    places = {"backbone/a/kernel": Place((2,)), "backbone/b/kernel": Place((2,))}
    file = file_of({"a/kernel": 2, "b/kernel": 3}, tmp_path)
    with pytest.raises(ModelError, match="'b/kernel' is 3 and 'backbone/b/kernel' is 2"):
        require_backbone(match(file, places), file, places)
    matched = match(file, places, exclude=("b/.*",))
    require_backbone(matched, file, places)
    assert matched.excluded == ("backbone/b/kernel",)
    assert matched.left_in_file == ()


def test_automatic_numbers_are_counted_anew_within_their_kind_and_model():
    names = ["conv2d_12/kernel", "conv2d_9/kernel", "conv2d_9/bias", "batch_normalization_9/beta",
             "net/conv2d_3/kernel", "conv_2/kernel", "block_1_conv2d_3/kernel"]  # fmt: skip
    assert list(renumbered(names).values()) == [
        "conv2d_1/kernel", "conv2d/kernel", "conv2d/bias", "batch_normalization/beta",
        "net/conv2d/kernel", "conv_2/kernel", "block_1_conv2d_3/kernel",
    ]  # fmt: skip
