"""Every example runs by the very command that its first lines hold."""

import ast
import contextlib
import csv
import json
import os
import re
import shlex
import sqlite3
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from hornbeam import cli
from hornbeam.config import COMMANDS
from hornbeam.data.sample import SHAPES, draw_picture
from hornbeam.recipe import Recipe

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
QUICK = ("--run", "run", "--epochs", "1", "-b", "8", "--image-size", "32", "--no-tensorboard")
KINDS = tuple(SHAPES)[:3]


def command_of(example):
    """Return the words of the command in an example's first lines, without `hornbeam`."""
    first = ast.get_docstring(ast.parse((EXAMPLES / f"{example}.py").read_text()))
    (command,) = re.findall(r"^ {4}hornbeam (.*)$", first, re.MULTILINE)
    return shlex.split(command)


@pytest.fixture
def train(hornbeam, tmp_path):
    """Run an example's command, and little of it, where its pictures were made; return what it reported."""
    (tmp_path / "examples").symlink_to(EXAMPLES)

    def run(example):
        done = hornbeam(*command_of(example), *QUICK, cwd=tmp_path)
        assert done.code == 0, done.err
        with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
            return done, list(csv.DictReader(file))[-1]

    return run


def draw(root, count=8, kinds=KINDS):
    """Draw pictures into `root/kind/`; return their paths."""
    paths = []
    for number, kind in enumerate(kinds):
        (root / kind).mkdir(parents=True)
        for index in range(count):
            shape = tuple(SHAPES)[number % len(SHAPES)]
            pixels = draw_picture(shape, 40, np.random.default_rng((number, index)))
            paths.append(root / kind / f"{index}.jpg")
            Image.fromarray(pixels).save(paths[-1])
    return paths


def write_table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def recipe_of(example):
    return Recipe.load(EXAMPLES / f"{example}.py")


def test_a_model_of_ones_own_is_trained_kept_and_asked(train, hornbeam, tmp_path):
    draw(tmp_path / "photos")
    train("custom_model")
    with pytest.raises(TypeError, match="Scale"):  # it is the recipe that knows the layer
        keras.saving.load_model(tmp_path / "run" / "model.keras")
    done = hornbeam("predict", "run", f"photos/{KINDS[0]}/0.jpg", cwd=tmp_path)
    assert done.code == 0, done.err
    assert re.search("|".join(KINDS), done.out + done.err)


def test_pictures_may_have_several_labels_or_none(train, tmp_path):
    paths = draw(tmp_path / "photos")
    labels = ("sea|boat", "sea", "", "dog|boat")
    rows = [{"path": path, "label": labels[i % 4]} for i, path in enumerate(paths)]
    write_table(tmp_path / "labels.csv", rows)
    _, reported = train("multi_label")
    assert 0 <= float(reported["val_pr_auc"]) <= 1
    tasks = json.loads((tmp_path / "run" / "dataset.json").read_text())["tasks"]
    assert tasks == [{"name": "label", "classes": ["boat", "dog", "sea"], "multi_label": True}]


def test_the_asymmetric_loss_is_that_of_its_formula():
    targets, logits = np.float32([[1, 0, 0]]), np.float32([[0.3, -4, 1.2]])
    yes = 1 / (1 + np.exp(-logits[0].astype(float)))
    shifted = np.maximum(yes - 0.05, 0)
    expected = -(1 - yes[0]) * np.log(yes[0]) - (shifted**4 * np.log(1 - shifted))[1:].sum()
    loss = recipe_of("multi_label").loss()
    assert float(loss(targets, keras.ops.convert_to_tensor(logits))[0]) == pytest.approx(expected)
    free = loss(np.zeros((1, 1), np.float32), keras.ops.convert_to_tensor([[-3.0]]))
    assert float(free[0]) == 0


def test_two_questions_have_a_branch_a_loss_and_a_metric_each(train, tmp_path):
    paths = draw(tmp_path / "photos")
    colours = ("red", "green", "blue", "")
    rows = [
        {"path": p, "kind": p.parent.name, "colour": colours[i % 4]} for i, p in enumerate(paths)
    ]
    write_table(tmp_path / "catalogue.csv", rows)
    _, reported = train("multi_task")
    assert float(reported["val_colour_top_2"]) >= float(reported["val_colour_accuracy"])
    assert "val_kind_accuracy" in reported


def test_numbers_beside_the_picture_choose_what_counts_in_it(train, tmp_path):
    paths = draw(tmp_path / "photos")
    rows = [
        {"path": p, "label": p.parent.name, "age": i, "millimetres": i % 7 / 2}
        for i, p in enumerate(paths)
    ]
    write_table(tmp_path / "moles.csv", rows)
    train("side_features")
    summary = json.loads((tmp_path / "run" / "dataset.json").read_text())
    assert summary["features"] == ["age", "millimetres"]


@pytest.fixture
def database(tmp_path):
    """Pictures in an SQLite file: 16 of training and 8 of validation."""
    paths = draw(tmp_path / "photos")
    with contextlib.closing(sqlite3.connect(tmp_path / "pictures.sqlite")) as connection:
        columns = "id INTEGER PRIMARY KEY, file BLOB, label TEXT, split TEXT"
        connection.execute(f"CREATE TABLE pictures ({columns})")
        rows = [
            (p.read_bytes(), p.parent.name, "validation" if i % 3 == 0 else "train")
            for i, p in enumerate(paths)
        ]
        connection.executemany("INSERT INTO pictures (file, label, split) VALUES (?, ?, ?)", rows)
        connection.commit()
    return tmp_path / "pictures.sqlite"


def test_a_reader_of_ones_own_gives_its_pictures_and_splits(train, database, tmp_path):
    train("own_reader")
    counts = json.loads((tmp_path / "run" / "dataset.json").read_text())["counts"]["label"]
    assert [sum(counts[split].values()) for split in ("train", "validation")] == [16, 8]


def test_the_reader_gives_the_same_pictures_to_another_process(database):
    import cloudpickle

    recipe = recipe_of("own_reader")
    assert recipe.examples("test", str(database)) is None
    pictures = recipe.examples("train", str(database))
    (sent,) = [cloudpickle.loads(cloudpickle.dumps(pictures))]
    assert [sent[i] for i in range(len(sent))] == [pictures[i] for i in range(len(pictures))]


def test_a_loss_and_a_metric_count_what_mistakes_cost(train, tmp_path):
    draw(tmp_path / "fruit", kinds=("1-unripe", "2-ripe", "3-rotten"))
    _, reported = train("loss_and_metric")
    assert 0 <= float(reported["val_cost"]) <= 1
    own = recipe_of("loss_and_metric")
    (cost,) = own.metrics()
    answers = keras.ops.convert_to_tensor(np.float32([[9, 0, 0], [0, 9, 0], [9, 0, 0]]))
    cost.update_state(np.array([2, 2, 0]), answers, sample_weight=np.float32([1, 1, 0]))
    assert float(cost.result()) == pytest.approx((1 + 0.25) / 2)  # by hand; the third is padding
    logits = keras.ops.convert_to_tensor(np.zeros((1, 3), np.float32))
    expected = np.log(3) + (0 + 0.25 + 1) / 3
    assert float(own.loss()(np.float32([[1, 0, 0]]), logits)[0]) == pytest.approx(expected)


def test_a_checkpoint_of_tensorflow_is_where_the_training_begins(train, tmp_path):
    import tensorflow as tf

    from hornbeam.data.tasks import Task

    draw(tmp_path / "photos")
    old = recipe_of("tensorflow_checkpoint").build_model(
        (48, 48, 3), (Task("x", tuple("abcdefg")),)
    )
    tf.train.Checkpoint(model=old).save(str(tmp_path / "old" / "model.ckpt"))
    done, _ = train("tensorflow_checkpoint")
    told = done.out + done.err
    assert re.search(r"classes", told), told
    kept = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    before, after = (model.get_layer("stem").get_weights()[0] for model in (old, kept))
    assert 0 < np.abs(before - after).max() < 0.05, "it did not begin there, or did not go on"


@pytest.fixture
def cluster(tmp_path):
    """Run `examples/cluster.sh` where programs only write down how they are called."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name in ("hornbeam", "mpirun", "kubectl"):
        (bin_ / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/calls\n')
        (bin_ / name).chmod(0o755)

    def run(*words):
        (tmp_path / "calls").write_text("")
        return subprocess.run(
            ["sh", EXAMPLES / "cluster.sh", *words], capture_output=True, text=True, check=False,
            env={"PATH": f"{bin_}:{os.environ['PATH']}"},
        ), [shlex.split(line) for line in (tmp_path / "calls").read_text().splitlines()]  # fmt: skip

    return run


@pytest.mark.parametrize("way", ["hosts", "slurm", "mpi", "kubernetes"])
def test_a_cluster_is_asked_by_commands_that_hornbeam_understands(cluster, way):
    done, calls = cluster(way, "--epochs", "3")
    assert done.returncode == 0, done.stderr
    (words,) = [c[c.index("hornbeam") + 1 :] for c in calls if "hornbeam" in c]
    assert words[-2:] == ["--epochs", "3"]
    command = words[0] if words[0] in COMMANDS else " ".join(words[:2])
    if command not in COMMANDS:
        pytest.skip(f"there is no `hornbeam {command}` yet")
    if "--hosts" in words and "hosts" not in COMMANDS["train"].model_fields:
        pytest.skip("there is no --hosts yet")
    options = cli.parse(command, words[len(command.split()) :])
    assert (options.data, options.epochs) == ("/data/photos-shards", 3)


def test_a_cluster_of_no_known_kind_is_refused(cluster):
    done, calls = cluster("cloud")
    assert (done.returncode, calls) == (2, [])
    assert done.stderr.startswith("usage:")


def test_the_list_has_each_example_and_each_is_short():
    files = sorted(p.name for p in EXAMPLES.iterdir() if p.suffix in (".py", ".sh"))
    listed = re.findall(
        r"^- \[(\S+)\]\((\S+)\): ", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(first for first, _ in listed) == files
    assert all(first == second for first, second in listed)
    assert all(len((EXAMPLES / name).read_text().splitlines()) <= 80 for name in files)
