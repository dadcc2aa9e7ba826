"""What docs/python.md shows of the Python API works, and names all of it."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

import hornbeam
from hornbeam.data.sample import draw_sample
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, ModelError
from hornbeam.models.classifying import Classifier

GUIDE = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
TASKS = (Task("kind", ("a", "b", "c")), Task("marks", ("x", "y"), multi_label=True))


def test_the_blocks_are_one_program_that_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_sample(tmp_path / "photos", per_class=10, size=48, seed=0)
    for kind in ("star", "cross"):  # the name in the guide, whatever format was drawn
        (picture,) = (tmp_path / "photos" / kind).glob(f"{kind}-0001.*")
        picture.rename(picture.with_suffix(".jpg"))
    names = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert names["probabilities"].shape == (20, 6)
    np.testing.assert_allclose(names["probabilities"].sum(axis=1), 1, rtol=1e-5)
    by_path, by_pixels = names["answers"]
    assert by_path.error is by_pixels.error is None
    assert "not-there.jpg" in names["answer"].error
    printed = capsys.readouterr().out
    assert printed.endswith("there is no option 'optimiser'. Did you mean 'optimizer'?\n")


def test_the_guide_has_all_functions_and_nouns():
    functions = [name for name in hornbeam.__all__ if inspect.isfunction(getattr(hornbeam, name))]
    assert functions
    for name in functions:
        assert f"| `{name}(" in GUIDE
    for noun in ("Run", "Dataset", "Loader", "Classifier", "Predictor"):
        assert f"## {noun}: " in GUIDE
    assert set(hornbeam.__all__) <= set(dir(hornbeam))


def test_what_there_is_not_is_no_attribute():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        hornbeam.trian  # noqa: B018


def test_a_folder_is_listed_as_a_training_would(shapes):
    dataset = hornbeam.open_dataset(shapes, validation_fraction=0.5, seed=3, subset=20)
    assert dataset.splits == ("train", "validation")
    assert len(dataset.only("train")) == 20
    with pytest.raises(ConfigError, match="'validation_fractions'"):
        hornbeam.open_dataset(shapes, validation_fractions=0.5)


def test_a_classifier_is_a_keras_model_with_names():
    classifier = Classifier.build("compact", TASKS, (32, 40, 1))
    assert classifier.image_size == (32, 40, 1)
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 40, 1), np.uint8)
    logits = classifier.model.predict_on_batch(images)
    found = classifier.probabilities(images, batch_size=2)
    np.testing.assert_allclose(found["kind"].sum(axis=1), np.ones(5), rtol=1e-6)
    np.testing.assert_allclose(found["marks"], 1 / (1 + np.exp(-logits["marks"])), rtol=1e-4)
    np.testing.assert_allclose(classifier.logits(images)["kind"], logits["kind"], atol=1e-5)
    bias = classifier.model.get_layer("marks").bias
    bias.assign(np.full(bias.shape, -1000.0))  # and no warning of an overflow
    assert not classifier.probabilities(images)["marks"].any()
    assert Classifier.build("compact", TASKS).image_size[2] == 3


def test_a_classifier_says_what_it_takes():
    classifier = Classifier.build("compact", TASKS, (32, 32))
    with pytest.raises(ModelError, match=r"takes uint8 .*32, 32, 3.*float32 \[1, 32, 32, 3\]"):
        classifier.logits(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(ModelError, match="takes no numbers beside pictures"):
        classifier.logits(np.zeros((1, 32, 32, 3), np.uint8), features=np.zeros((1, 2)))
