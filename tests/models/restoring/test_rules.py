"""Files of rules: what they say, and what is said of wrong ones."""

import re

import pytest

from hornbeam.errors import ConfigError
from hornbeam.models.restoring.rules import find_fitting, load_rules, shipped_names
from hornbeam.models.zoo import ZOO


def rules(text, tmp_path):
    path = tmp_path / "my.rules"
    path.write_text(text)
    return load_rules(str(path))


def test_the_first_rule_that_matches_a_whole_name_decides(tmp_path):
    made = rules(
        "# comment\n\nnet/a/.* = skip\nnet/(\\w+)/weights = backbone/\\1/kernel\n"
        "block(\\d+)\\.w = backbone/block_{1+1}/kernel\nown/x = same\n"
        "logits = head/{task}/kernel\n",
        tmp_path,
    )
    names = ["net/a/weights", "net/b/weights", "block9.w", "own/x", "logits", "net/b/weights/Adam"]
    assert made.apply(names, "colour") == {
        "net/a/weights": None,
        "net/b/weights": "backbone/b/kernel",
        "block9.w": "backbone/block_10/kernel",
        "own/x": "own/x",
        "logits": "head/colour/kernel",
    }
    assert made.apply(names, None)["logits"] is None


def test_a_rule_that_matches_nothing_is_an_error_unless_it_may(tmp_path):
    made = rules("a = x\nconv_1 ?= skip\nconv_2 = y\n", tmp_path)
    with pytest.raises(
        ConfigError, match=r"line 3: 'conv_2' matches no name.*Did you mean 'conv_3'"
    ):
        made.apply(["a", "conv_3"], None)
    made.apply(["a", "conv_2"], None)


def test_a_rule_that_comes_too_late_is_told_so(tmp_path):
    made = rules(".* = skip\na = x\n", tmp_path)
    with pytest.raises(
        ConfigError, match=r"line 2: all that 'a' matches was decided by lines before"
    ):
        made.apply(["a"], None)


def test_two_names_for_one_variable_are_an_error(tmp_path):
    made = rules("(a|b) = x\n", tmp_path)
    with pytest.raises(ConfigError, match="both 'a' and 'b' become 'x'"):
        made.apply(["a", "b"], None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a -> b", r"line 1: expected 'PATTERN = PATH'.*not 'a -> b'"),
        ("\n\na = ", r"line 3: expected"),
        ("a = b c", r"line 1: expected"),
        ("(a = b", r"line 1: '\(a' is no regular expression"),
        ("a = \\1", r"line 1: '\\1' uses group 1, and 'a' has 0"),
        ("(a) = x{2+1}", r"uses group 2, and '\(a\)' has 1"),
        ("(a) = \\x", r"may hold \\1, \{1\+1\} and \{task\}"),
        ("a = {name}", r"may hold"),
        ("@layout caffe\na = b", r"line 1: expected '@network PATTERN'"),
        ("@network (\na = b", r"line 1: '\(' is no regular expression"),
        ("# nothing", r"has no rules"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(text, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        rules(text, tmp_path)


def test_an_unknown_file_gets_the_nearest_shipped_name(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file\. Did you mean 'timm_resnet50'\?"):
        load_rules("timm_resnet_50")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no text file"):
        load_rules(str(tmp_path / "binary"))


@pytest.mark.parametrize("name", shipped_names())
def test_shipped_rules_are_for_networks_that_there_are_and_lead_to_their_variables(name):
    shipped = load_rules(name)
    networks = [a for a in ZOO if shipped.network.fullmatch(a)]
    assert networks
    assert shipped.note
    for rule in shipped.rules:
        assert re.match(r"(backbone|head/\{task\})/|skip$", rule.target), rule


def test_each_file_is_told_by_its_names_and_no_other_fits():
    assert find_fitting(["Conv1/kernel", "head/label/bias"]) is None
    assert find_fitting([]) is None
    fitting, rest = find_fitting(REAL_MOBILENET_V1)
    assert (fitting.name, rest) == ("slim_mobilenet_v1", [])


# A few names as the distributed checkpoint mobilenet_v1_1.0_224 has them.
REAL_MOBILENET_V1 = [
    "MobilenetV1/Conv2d_0/BatchNorm/beta",
    "MobilenetV1/Conv2d_0/BatchNorm/moving_variance",
    "MobilenetV1/Conv2d_0/weights",
    "MobilenetV1/Conv2d_0/weights/ExponentialMovingAverage",
    "MobilenetV1/Conv2d_0/weights/RMSProp",
    "MobilenetV1/Conv2d_0/weights/RMSProp_1",
    "MobilenetV1/Conv2d_10_depthwise/BatchNorm/gamma",
    "MobilenetV1/Conv2d_10_depthwise/depthwise_weights",
    "MobilenetV1/Conv2d_10_pointwise/BatchNorm/moving_mean",
    "MobilenetV1/Conv2d_10_pointwise/weights",
    "MobilenetV1/Logits/Conv2d_1c_1x1/biases",
    "MobilenetV1/Logits/Conv2d_1c_1x1/weights",
    "global_step",
]
