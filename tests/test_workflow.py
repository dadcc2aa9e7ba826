"""The commands end to end, on TensorFlow and on JAX, as a user runs them."""

import csv
import json

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from hornbeam.data.loader import Loader
from hornbeam.data.tasks import Task
from hornbeam.runs import Run

HELD_OUT = 13
"""Validation pictures of `shapes` by the hash of their names, of 72."""


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_holds_everything_about_the_training(trained, shapes):
    names = {p.name for p in trained.iterdir()}
    assert names == {
        "calibration.json", "checkpoints", "classes.txt", "config.yaml", "dataset.json",
        "dataset.parquet", "environment.json", "explanations.npz", "log.jsonl", "metrics.csv",
        "model.keras", "predictions.parquet", "report.html", "scores.json", "tensorboard",
        "unknown.npz",
    }  # fmt: skip
    assert (trained / "classes.txt").read_text().split() == sorted(p.name for p in shapes.iterdir())
    summary = json.loads((trained / "dataset.json").read_text())
    assert summary["examples"] == 72
    validation = summary["counts"]["label"]["validation"]
    assert sum(validation.values()) == HELD_OUT
    assert min(validation.values()) >= 1
    environment = json.loads((trained / "environment.json").read_text())
    assert (environment["backend"], environment["device"]) == ("tensorflow", "cpu")
    events = [
        json.loads(line)["event"] for line in (trained / "log.jsonl").read_text().splitlines()
    ]
    # A thread tells of checkpoints, when they are on the disk.
    assert [event for event in events if event != "checkpoint"] == [
        "start", "validation", "validation", "evaluation", "end",
    ]  # fmt: skip
    assert events.count("checkpoint") == 2


def test_metrics_and_tensorboard_tell_the_same(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = read_csv(trained / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [8, 16]
    curves = EventAccumulator(str(trained / "tensorboard")).Reload()
    for tag, column in (("loss/train", "loss"), ("loss/validation", "val_loss"),
                        ("accuracy/validation", "val_accuracy"), ("learning_rate", "learning_rate")):  # fmt: skip
        points = curves.Scalars(tag)
        assert [point.step for point in points] == [8, 16]
        np.testing.assert_allclose(
            [p.value for p in points], [float(r[column]) for r in rows], atol=1e-5
        )


def test_the_noted_validation_is_what_the_predictions_say(trained):
    """Batches of 8 leave some validation pictures for a padded one: padding must not count."""
    assert HELD_OUT % 8
    table = pq.read_table(trained / "predictions.parquet")
    assert table.num_rows == HELD_OUT
    rows = read_csv(trained / "metrics.csv")
    best = max(rows, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    correct = np.mean(table["label_correct"].to_pylist())
    np.testing.assert_allclose(correct, float(best["val_accuracy"]), atol=1e-6)
    probabilities = np.array(table["label_probabilities"].to_pylist())
    classes = (trained / "classes.txt").read_text().split()
    labels = [classes.index(name) for name in table["label"].to_pylist()]
    loss = -np.log(probabilities[np.arange(HELD_OUT), labels]).mean()
    np.testing.assert_allclose(loss, float(best["val_loss"]), rtol=1e-4)


def test_the_model_is_plain_keras_from_bytes_to_logits(trained):
    model = keras.saving.load_model(trained / "model.keras")
    run = Run.open(trained)
    loader = Loader(
        run.dataset().only("validation"), batch_size=HELD_OUT, image_size=run.image_size()
    )
    logits = model.predict_on_batch(loader.batch(0).images)["label"]
    expected = pq.read_table(trained / "predictions.parquet")["label_logits"].to_pylist()
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_checkpoints_load_with_plain_keras(trained):
    model = keras.saving.load_model(trained / "model.keras")
    kept = model.get_weights()
    model.load_weights(trained / "checkpoints" / "best" / "model.weights.h5")
    for old, new in zip(kept, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    steps = {p.resolve().name for p in (trained / "checkpoints").iterdir()}
    assert steps <= {"step-00000008", "step-00000016"}


def test_the_saved_configuration_repeats_the_run(hornbeam_here, trained, tmp_path):
    done = hornbeam_here("train", "--config", trained / "config.yaml", "--run", tmp_path / "again")
    assert done.code == 0, done.err
    first, second = ([{k: v for k, v in row.items() if k not in ("seconds", "pictures_per_second")}
                      for row in read_csv(run / "metrics.csv")]
                     for run in (trained, tmp_path / "again"))  # fmt: skip
    assert first == second


def test_an_existing_run_is_refused_and_replaced_only_on_request(
    hornbeam_here, trained, shapes, tmp_path
):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    before = (run / "metrics.csv").read_text()
    words = ("train", shapes, "--run", run, "--image-size", 32, "--steps", 1)
    done = hornbeam_here(*words)
    assert done.code == 2
    assert "--overwrite" in done.sentence
    assert (run / "metrics.csv").read_text() == before
    assert hornbeam_here(*words, "--overwrite").code == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["steps"] == 1


def test_runs_without_a_name_are_numbered(hornbeam_here, shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        done = hornbeam_here("train", shapes, "--steps", 1, "--image-size", 32)
        assert done.code == 0, done.err
        assert f"runs/shapes-{number}/report.html" in done.out


def test_names_with_blanks_accents_and_quotes_go_all_the_way(
    hornbeam_here, folders, tmp_path, monkeypatch
):
    """And the commands that are told can be pasted."""
    monkeypatch.chdir(tmp_path)
    places = [f"{kind}/photo {i} é.png" for kind in ("chat", "chien") for i in range(4)]
    root = folders({place: 20 * i for i, place in enumerate(places)}, tmp_path / "l'été")
    lines = ["photo,espèce", *(f"{place},{place.split('/')[0]}" for place in places)]
    (root / "ma liste.csv").write_text("\n".join(lines), encoding="utf-8")
    of_table = ("--image-column", "photo", "--label-columns", "espèce")
    done = hornbeam_here("prepare", root / "ma liste.csv", "mes shards", *of_table, "--shards", 1)
    assert "now: hornbeam train 'mes shards'" in " ".join(done.out.split())
    done = hornbeam_here("split", "l'été", "--out", "mes listes.csv")
    assert "now: hornbeam train 'mes listes.csv'" in " ".join(done.out.split())
    words = ("--steps", 1, "--image-size", 32, "--batch-size", 4, "--validation-fraction", 0.25)
    done = hornbeam_here("train", "mes shards", *words, "--no-validate")
    assert done.code == 0, done.err
    assert (tmp_path / "runs" / "mes shards-1" / "model.keras").is_file()


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_both_backends_learn(hornbeam, backend, tmp_path):
    """Two classes that differ in brightness: an easy task, in a few steps."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, level in (("dark", 70), ("light", 180)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(16):
            pixels = np.clip(rng.normal(level, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    done = hornbeam(
        "train", tmp_path / "pictures", "--run", tmp_path / "run", "--backend", backend,
        "--image-size", 32, "--batch-size", 8, "--steps", 40, "--validation-fraction", 0.25,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert f"on {backend}" in done.out
    rows = read_csv(tmp_path / "run" / "metrics.csv")
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    assert max(float(row["val_accuracy"]) for row in rows) == 1


def test_a_run_of_one_backend_answers_alike_on_the_other(hornbeam, trained, shapes, tmp_path):
    answers = []
    for backend in ("tensorflow", "jax"):
        out = tmp_path / f"{backend}.json"
        done = hornbeam(
            "predict", trained, shapes / "star", "--backend", backend, "--out", out, "--top", 6
        )
        assert done.code == 0, done.err
        answers.append(json.loads(out.read_text()))
    for left, right in zip(*answers, strict=True):
        assert left["path"] == right["path"]
        np.testing.assert_allclose(
            left["label_1_probability"], right["label_1_probability"], atol=1e-4
        )


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_leaves_a_float32_model(
    hornbeam_here, shapes, tmp_path, precision
):
    done = hornbeam_here("train", shapes, "--run", tmp_path / "run", "--image-size", 32, "--steps", 3,
                    "--precision", precision)  # fmt: skip
    assert done.code == 0, done.err
    assert f"; {precision} on" in done.out
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    assert {layer.compute_dtype for layer in model._flatten_layers()} <= {"float32", "uint8"}


def test_a_recipes_model_goes_the_whole_way(hornbeam, shapes, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import keras\n"
        "@keras.saving.register_keras_serializable('mine')\n"
        "class Halve(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return x / 2\n"
        "def define_model(input_shape, num_classes=6):\n"
        "    i = keras.Input(input_shape)\n"
        "    x = Halve()(i)\n"
        "    x = keras.layers.Conv2D(4, 3, strides=4, activation='relu')(x)\n"
        "    x = keras.layers.GlobalMaxPooling2D()(x)\n"
        "    return keras.Model(i, keras.layers.Dense(num_classes, activation='softmax')(x))\n"
    )
    run = tmp_path / "run"
    done = hornbeam("train", shapes, "--recipe", "mine.py", "--run", run, "--image-size", "32x40",
                    "--steps", 2, cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    (tmp_path / "mine.py").unlink()  # the run has its own copy
    assert hornbeam("evaluate", run).code == 0
    done = hornbeam("export", run, "--out", tmp_path / "out")
    assert done.code == 0, done.err


def test_bad_pictures_are_an_error_or_counted(hornbeam_here, shapes, tmp_path):
    import shutil

    root = tmp_path / "pictures"
    shutil.copytree(shapes, root)
    victim = next((root / "star").glob("*.png"))
    victim.write_bytes(victim.read_bytes()[:200])
    words = ("train", root, "--run", tmp_path / "run", "--steps", 1, "--image-size", 32)
    done = hornbeam_here(*words)
    assert done.code == 1
    assert str(victim) in done.sentence
    assert not (tmp_path / "run").exists()
    done = hornbeam_here(*words, "--on-bad", "skip")
    assert done.code == 0, done.err
    assert "1 bad picture was skipped" in done.err
    assert list(json.loads((tmp_path / "run" / "dataset.json").read_text())["skipped"]) == [
        f"star/{victim.name}"
    ]


def test_evaluate_reads_the_held_out_or_another_folder(hornbeam_here, trained, shapes, folders):
    done = hornbeam_here("evaluate", trained)
    assert done.code == 0, done.err
    assert f"With {HELD_OUT} pictures, the true accuracy lies between" in done.out
    own = {name: (trained / name).read_bytes() for name in ("predictions.parquet", "scores.json")}
    done = hornbeam_here("evaluate", trained, shapes)
    assert "With 72 pictures" in done.out
    assert {name: (trained / name).read_bytes() for name in own} == own
    assert pq.read_table(trained / "evaluations/shapes/predictions.parquet").num_rows == 72
    assert (trained / "evaluations/shapes/report.html").is_file()
    done = hornbeam_here("evaluate", trained, folders({"starr/1.jpg": 1}))
    assert done.code == 1
    assert "class 'starr' that the model does not know" in done.sentence
    assert "Did you mean 'star'?" in done.sentence


def test_evaluate_prefers_the_test_pictures(hornbeam_here, shapes, tmp_path):
    import shutil

    for part in ("train", "val", "test"):
        shutil.copytree(shapes, tmp_path / "pictures" / part)
    run = tmp_path / "run"
    assert (
        hornbeam_here(
            "train", tmp_path / "pictures", "--run", run, "--steps", 1, "--image-size", 32
        ).code
        == 0
    )
    judged = pq.read_table(run / "predictions.parquet")["split"].to_pylist()
    assert set(judged) == {"validation"}
    hornbeam_here("evaluate", run)
    assert json.loads((run / "scores.json").read_text())["splits"] == ["test"]
    both = pq.read_table(run / "predictions.parquet")["split"].to_pylist()
    assert both == judged + ["test"] * 72  # what was judged before is kept
    done = hornbeam_here("evaluate", run, "--split", "validation", "--out", tmp_path / "else")
    assert done.code == 0
    there = pq.read_table(tmp_path / "else" / "predictions.parquet")["split"].to_pylist()
    assert there == judged
    assert json.loads((run / "scores.json").read_text())["splits"] == ["test"]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_predictions_go_to_a_file(hornbeam_here, trained, shapes, folders, tmp_path, suffix):
    root = folders({"good.png": 9, "bad.jpg": b"x"})
    out = tmp_path / f"answers.{suffix}"
    done = hornbeam_here("predict", trained, root, shapes / "star", "--out", out, "--top", 2)
    assert done.code == 1
    assert "bad.jpg" in done.sentence
    assert not out.exists()
    done = hornbeam_here(
        "predict", trained, root, shapes / "star", "--out", out, "--top", 2, "--on-bad", "skip"
    )
    assert done.code == 0, done.err
    if suffix == "csv":
        rows = read_csv(out)
    else:
        rows = json.loads(out.read_text()) if suffix == "json" else pq.read_table(out).to_pylist()
    assert len(rows) == 14
    assert list(rows[0]) == [
        "path",
        "label_1",
        "label_1_probability",
        "label_2",
        "label_2_probability",
        "unknown",
        "unknown_score",
        "error",
    ]
    assert "not a picture" in rows[-1]["error"]
    assert float(rows[0]["label_1_probability"]) >= float(rows[0]["label_2_probability"])


def test_predict_prints_the_answers(hornbeam_here, trained, shapes):
    picture = next((shapes / "star").iterdir())
    done = hornbeam_here("predict", trained, picture, "--top", 3)
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if picture.name in line)
    assert line.count("%") == 3


def test_exports_answer_as_the_model_did_and_are_not_replaced_unasked(
    hornbeam_here, trained, tmp_path
):
    out = tmp_path / "out"
    done = hornbeam_here("export", trained, "--format", "keras,h5", "--out", out)
    assert done.code == 0, done.err
    bundle = json.loads((out / "bundle.json").read_text())
    run = Run.open(trained)
    assert bundle["tasks"][0]["classes"] == list(run.tasks()[0].classes)
    loader = Loader(
        run.dataset().only("validation"), batch_size=HELD_OUT, image_size=run.image_size()
    )
    expected = np.array(
        pq.read_table(trained / "predictions.parquet")["label_probabilities"].to_pylist()
    )
    for name in ("model.keras", "model.h5"):
        model = keras.saving.load_model(out / name, compile=False)
        answers = model.predict_on_batch(loader.batch(0).images)
        found = answers["label"] if isinstance(answers, dict) else answers
        np.testing.assert_allclose(np.asarray(found).reshape(HELD_OUT, 6), expected, atol=1e-4)
    done = hornbeam_here("export", trained, "--format", "keras", "--out", out)
    assert done.code == 2
    assert "--overwrite" in done.sentence


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "model.keras").unlink(), "its training did not finish"),
        (lambda run: (run / "model.keras").write_bytes(b"x"), "cannot be loaded"),
        (lambda run: (run / "dataset.json").write_text("{"), "dataset.json cannot be read"),
        (lambda run: (run / "config.yaml").write_text("["), "config.yaml cannot be read"),
    ],
)
def test_a_damaged_run_is_named(hornbeam_here, trained, shapes, tmp_path, damage, words):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(trained, run, symlinks=True)
    damage(run)
    done = hornbeam_here("predict", run, shapes / "star")
    assert done.code == 1
    assert words in done.sentence


@pytest.mark.slow
def test_ctrl_c_leaves_with_130(shapes, tmp_path):
    import os
    import signal
    import subprocess
    import sys
    import time

    process = subprocess.Popen(
        [sys.executable, "-m", "hornbeam", "train", str(shapes), "--run", str(tmp_path / "run"),
         "--image-size", "32", "--epochs", "500"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
    )  # fmt: skip
    for line in process.stdout:
        if line.startswith("epoch 2"):
            break
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert time.monotonic() - start < 100  # and not after 500 epochs
    assert "Traceback" not in err
    assert (tmp_path / "run" / "checkpoints" / "best" / "model.weights.h5").is_file()


def test_the_python_api_does_what_the_commands_do(trained, shapes):
    import hornbeam

    assert hornbeam.Run.open(trained).tasks() == (
        Task("label", tuple(sorted(p.name for p in shapes.iterdir()))),
    )
    predictions = hornbeam.predict(trained, images=[shapes / "star"])
    assert len(predictions) == 12
    with pytest.raises(hornbeam.HornbeamError, match="no option 'imags'"):
        hornbeam.predict(trained, images=[shapes], imags=1)
