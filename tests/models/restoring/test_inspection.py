"""`hornbeam inspect`, and restoring from the command line."""

import re

import numpy as np
import pytest
import tensorflow as tf
import timm_networks
from safetensors.numpy import save_file


@pytest.fixture
def timm_file(variables, tmp_path):
    timm_networks.mobilenetv2_100(tf.zeros((1, 32, 32, 3)), variables)
    variables("classifier.weight", (1000, 1280))
    variables("classifier.bias", (1000,))
    save_file(variables.values, tmp_path / "timm.safetensors")
    return tmp_path / "timm.safetensors"


def lines_with(text, part):
    return [" ".join(line.split()) for line in text.splitlines() if part in line]


def test_a_run_is_listed_by_our_paths_with_what_is_trained(hornbeam_here, trained):
    done = hornbeam_here("inspect", trained)
    assert done.code == 0, done.err
    assert lines_with(done.out, "head/label/kernel") == ["head/label/kernel 128x6 float32 768 yes"]
    moving = lines_with(done.out, "backbone/stage1_down_norm/moving_mean")
    assert moving == ["backbone/stage1_down_norm/moving_mean 16 float32 16 no"]
    told = re.search(r"([\d,]+) of ([\d,]+) parameters are trained", done.out)
    trained_count, count = (int(number.replace(",", "")) for number in told.groups())
    assert count == 487_024 + 128 * 6 + 6
    assert 0 < trained_count < count


def test_a_file_is_listed_with_the_rules_that_fit_and_the_networks_they_are_for(
    hornbeam_here, timm_file
):
    done = hornbeam_here("inspect", timm_file, "--match", r"^conv_(stem|head)")
    assert lines_with(done.out, "conv_") == [
        "conv_head.weight 1280x320x1x1 float32 409,600", "conv_stem.weight 32x3x3x3 float32 864",
    ]  # fmt: skip
    assert "The rules timm_mobilenetv2_100 fit" in done.out
    assert "timm_mobilenetv2_100 mobilenet_v2_timm" in " ".join(
        hornbeam_here("inspect").out.split()
    )


def test_where_each_variable_would_go_is_shown_before_a_training(hornbeam_here, timm_file):
    done = hornbeam_here(
        "inspect", timm_file, "--model", "mobilenet_v2_timm", "--match", "stem_conv"
    )
    assert lines_with(done.out, "stem_conv") == [
        "conv_stem.weight backbone/stem_conv/kernel restored 32x3x3x3 3x3x3x32"
    ]
    assert "260 variables would be restored, by the rules timm_mobilenetv2_100" in done.out
    wrong = hornbeam_here("inspect", timm_file, "--model", "mobilenet_v2", "--match", "conv_stem")
    assert wrong.code == 1
    assert "take --model mobilenet_v2_timm." in wrong.sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gone"], "inspect gone: there is no such file"),
        (["--match", "x"], "FILE_OR_RUN is missing"),
        (["x", "--restore-map", "y"], "--restore-map needs --model"),
    ],
)
def test_what_is_wrong_with_the_options_is_one_sentence(hornbeam_here, words, sentence):
    done = hornbeam_here("inspect", *words)
    assert done.code == 2
    assert sentence in done.sentence


def test_a_pattern_in_no_name_and_a_wrong_one_are_told(hornbeam_here, timm_file):
    assert (
        "'nowhere' is in none of the"
        in hornbeam_here("inspect", timm_file, "--match", "nowhere").sentence
    )
    assert "no regular expression" in hornbeam_here("inspect", timm_file, "--match", "(").sentence


@pytest.mark.slow
def test_a_training_begins_with_restored_weights_and_says_which(
    hornbeam_here, timm_file, shapes, tmp_path
):
    done = hornbeam_here(
        "train", shapes, "--model", "mobilenet_v2_timm", "--restore", timm_file, "--steps", 1,
        "--image-size", 32, "--batch-size", 8, "--run", tmp_path / "run", "--precision", "float32",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "260 variables are restored, by the rules timm_mobilenetv2_100." in done.out
    assert "head/label has another number of classes in the file, and starts anew." in done.out
    import keras

    kept = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    kernel = kept.get_layer("backbone").get_layer("stem_conv").get_weights()[0]
    from safetensors.numpy import load_file

    expected = load_file(timm_file)["conv_stem.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
    listed = hornbeam_here("inspect", tmp_path / "run", "--match", "stem_conv|head/")
    assert lines_with(listed.out, "stem_conv") == [
        "backbone/stem_conv/kernel 3x3x3x32 float32 864 no"
    ]
    assert "7,686 of 2,265,670 parameters are trained." in listed.out


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--restore-map", "timm_resnet50"], 2, "--weights FILE"),
        (["--restore", "FILE", "--model", "mobilenet_v2"], 1, "take --model mobilenet_v2_timm."),
        (["--restore", "FILE", "--model", "mobilenet_v2_timm", "--restore-exclude", "nowhere"], 2,
         "--restore-exclude: 'nowhere' matches none"),
        (["--restore", "FILE", "--model", "mobilenet_v2_timm", "--restore-map", "timm_resnet50"], 1,
         "take --model resnet50_timm"),
    ],
)  # fmt: skip
def test_a_restore_that_cannot_be_is_one_sentence_and_leaves_no_run(
    hornbeam_here, timm_file, shapes, tmp_path, words, code, sentence
):
    words = [timm_file if word == "FILE" else word for word in words]
    done = hornbeam_here(
        "train", shapes, *words, "--run", tmp_path / "run", "--image-size", 32, "--steps", 1,
        "--precision", "float32",
    )  # fmt: skip
    assert done.code == code
    assert sentence in done.sentence
    assert not (tmp_path / "run").exists()
