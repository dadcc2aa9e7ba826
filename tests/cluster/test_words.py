"""The words that are made of options mean these options."""

import shlex

import pytest

from hornbeam import cli
from hornbeam.cluster.words import words_of

SAMPLES = [
    "photos",
    "photos -b 64 --epochs 3 --no-verify --tensorboard --image-size 64x48x1",
    "photos --lr-mult 'backbone/.*=0.1,head/.*=1' --no-decay 'a{1,2},[b,c]' --trainable head/.*",
    "photos --learning-rate-phases 0.1:1000,0.01:500 --validate-every 500steps --time 30min",
    "photos --recipe my.py --build-model width=32,depth=3,name=wide,norm=true,bias=null,rate=1e-05",
    'photos --recipe my.py --build-model \'name="1",other="true"\'',
    "photos --metrics top_3,precision:cat --label-columns a,b --subset 0.1 --examples 1e5",
    "photos --weights 'a b.keras' --early-stopping 3 --loss-weights a=0.5,b=2 --no-finetune",
    "--recipe my.py --epochs 1",
    "photos --hue 0.1 --monitor=-strange",
]


@pytest.mark.parametrize("words", SAMPLES)
def test_words_of_options_give_the_options_again(words):
    options = cli.parse("train", shlex.split(words))
    again = cli.parse("train", words_of(options, {}, (), absolute=False))
    assert again == options
    assert again.model_fields_set == options.model_fields_set


def test_groups_go_as_words_though_they_came_as_a_file(tmp_path):
    file = tmp_path / "groups.yaml"
    file.write_text("animal: [cat, dog]\nthing: [car, 'lamp, red']\n")
    options = cli.parse("train", ["photos", "--groups", str(file)])
    assert cli.parse("train", words_of(options, {}, ())).groups == options.groups


def test_a_configuration_file_goes_as_words(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("batch_size: 8\nlr_mult: {head/.*: 2}\nimage_size: [32, 32]\n")
    options = cli.parse("train", ["photos", "--config", str(file), "--seed", "4"])
    again = cli.parse("train", words_of(options, {}, {"config"}, absolute=False))
    assert again.config is None
    assert again == options.model_copy(update={"config": None})


def test_words_of_a_search_give_the_search_again():
    words = "photos --grid 'model=compact,resnet50 width=8,16' --workers 2 --trials 8 --no-latency"
    options = cli.parse("search", shlex.split(words))
    assert cli.parse("search", words_of(options, {}, (), absolute=False)) == options


def test_changes_are_said_whatever_is_left_out():
    options = cli.parse("train", ["photos", "--run", "a", "--seed", "3"])
    assert words_of(options, {"run": "b"}, {"run", "data", "seed"}, absolute=False) == ["--run=b"]
