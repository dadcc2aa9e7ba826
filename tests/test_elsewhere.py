"""Who comes from another tool, or another shell's habits, is told the word that is used here."""

import os
from pathlib import Path

import pytest

from hornbeam import assembly
from hornbeam.cli import build_parser, parse
from hornbeam.config import COMMANDS, TrainOptions
from hornbeam.config.elsewhere import ELSEWHERE, called_here
from hornbeam.errors import ConfigError
from hornbeam.runs import Run


def names_of(command):
    return [name for action in build_parser(command)._actions for name in action.option_strings]


def test_names_of_other_tools_lead_to_options_that_there_are():
    known = [name for command in COMMANDS for name in names_of(command)]
    for there, here in ELSEWHERE.items():
        assert there not in names_of("train"), there
        words = [word.strip(",.") for word in here.split() if word.startswith("--")]
        assert all(word in known for word in words), here


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train d --output out", "no option --output. Here it is --run."),
        ("train d --val_split 0.1", "Here it is --validation-fraction."),
        (
            "train --data d",
            "Here it is DATA, without a name: hornbeam train photos/, hornbeam evaluate RUN photos/.",
        ),
        ("train d --device 0", "It needs no option: a GPU or TPU is taken where JAX sees one"),
        ("prepare d o --validation_shards 2", "Here it is --shards, of each split"),
        ("train d epochs=10", "'epochs=10' should be --epochs 10."),
        ("train d --debug True", "'True' is one argument too many; a switch has no value"),
        ("train d --patience 5", "to stop a training early: --early-stopping"),
    ],
)
def test_a_word_of_elsewhere_is_answered_with_ours(words, sentence):
    command, *rest = words.split()
    with pytest.raises(ConfigError) as error:
        parse(command, rest)
    assert sentence in str(error.value)


def test_an_option_that_a_command_lacks_is_not_recommended():
    assert called_here("--output", names_of("models")) == ""


def test_a_file_with_an_equals_sign_in_its_name_is_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run=1").mkdir()
    assert parse("train", ["run=1"]).data == "run=1"


def test_choices_are_understood_whatever_their_case():
    options = parse("train", ["d", "--optimizer", "AdamW", "--augment", "None"])
    assert (options.optimizer, options.augment) == ("adamw", "none")


def test_switches_of_elsewhere_stand_for_values():
    assert parse("train", ["d", "--jitter", "--amp"]).augment == "light"
    assert parse("train", ["d", "--no-jitter"]).augment == "none"
    assert parse("train", ["d", "--no-amp"]).precision == "float32"


def test_older_words_are_understood():
    options = parse("train", ["d", "--preprocess_operation", "resize", "--image_size", "[32,48,1]"])
    assert (options.resize_mode, options.image_size) == ("squash", (32, 48, 1))


def test_who_names_something_else_in_place_of_a_run_is_told_which_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"The run photos does not exist\.$"):
        Run.open(Path("photos"))
    for name in ("photos-1", "photos-2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
    os.utime(tmp_path / "runs/photos-1", (0, 0))
    (tmp_path / "photos").mkdir()
    for path in ("photos", "photos-1"):
        with pytest.raises(ConfigError, match="Runs here: 'runs/photos-2' and 'runs/photos-1'"):
            Run.open(Path(path))


def test_a_file_of_weights_that_is_not_there_is_told_before_keras_is_loaded(monkeypatch):
    monkeypatch.setattr(assembly.backend, "select_backend", lambda choice: pytest.fail("too late"))
    for name, sentence in (("gone.h5", "there is no such file"), ("ImageNet", "mean 'imagenet'")):
        with pytest.raises(ConfigError, match=f"--weights {name}: .*{sentence}"):
            assembly.begin(TrainOptions(data="d", weights=name))
