"""Numbers beside pictures, and several tasks, from the command line: train, evaluate, predict, export."""

import csv
import json

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

COUNT = 96
SIZE = 32
TRAINING = ("--epochs", 30, "--batch-size", 16, "--image-size", SIZE, "--lr", 0.02, "--augment", "none")  # fmt: skip


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Noise that tells nothing: `age` tells `kind`, `weight` tells `colour`, which every 7th lacks."""
    root = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i:03}.png")
        kind, colour = rng.integers(2, size=2)
        rows.append({
            "path": f"{i:03}.png", "kind": ("old", "young")[kind],
            "colour": ("red", "blue")[colour] if i % 7 else "",
            "age": 70 - 40 * int(kind) + round(float(rng.normal()), 3),
            "weight": 2000 + 100 * int(colour) + round(float(rng.normal()), 3),
            "split": ("train", "validation")[i % 4 == 0],
        })  # fmt: skip
    write(root / "m.csv", rows)
    return root


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def accuracy(run, task="kind"):
    return np.mean([x for x in pq.read_table(run / "predictions.parquet")[f"{task}_correct"].to_pylist() if x is not None])  # fmt: skip


@pytest.fixture(scope="module")
def both(hornbeam_here, noise, tmp_path_factory):
    """A run of the zoo's network with two tasks and two columns."""
    run = tmp_path_factory.mktemp("runs") / "both"
    done = hornbeam_here(
        "train", noise / "m.csv", "--run", run, *TRAINING, "--label-columns", "kind,colour",
        "--feature-columns", "weight,age", "--loss-weights", "kind=1,colour=0.5",
    )  # fmt: skip
    assert done.code == 0, done.err
    return run


def test_columns_decide_what_pixels_cannot(both):
    assert accuracy(both) >= 0.9
    assert accuracy(both, "colour") >= 0.9


@pytest.mark.slow
def test_without_the_column_it_is_a_coin(hornbeam_here, noise, tmp_path):
    done = hornbeam_here("train", noise / "m.csv", "--run", tmp_path / "run", *TRAINING, "--label-columns", "kind")  # fmt: skip
    assert done.code == 0, done.err
    assert 0.2 < accuracy(tmp_path / "run") < 0.85  # 24 pictures: 0.5 but for chance and choice


def test_pictures_without_a_label_of_a_task_do_not_count_for_it(both, noise):
    rows = [row for row in read(noise / "m.csv") if row["split"] == "validation"]
    known = sum(bool(row["colour"]) for row in rows)
    assert 0 < known < len(rows)
    table = pq.read_table(both / "predictions.parquet")
    assert table.num_rows == len(rows)
    assert table["colour"].null_count == table["colour_correct"].null_count == len(rows) - known
    summary = json.loads((both / "dataset.json").read_text())
    assert sum(summary["counts"]["colour"]["validation"].values()) == known
    assert summary["features"] == ["weight", "age"]
    assert f"of {known} validation pictures were named right (colour)" in (both / "report.html").read_text()  # fmt: skip
    # What was noted in the training is what the kept answers say.
    curves = read(both / "metrics.csv")
    name = next(n for n in curves[0] if n.startswith("val_colour") and n.endswith("accuracy"))
    best = max(float(row[name]) for row in curves)
    assert best == pytest.approx(accuracy(both, "colour"), abs=1e-6)


def test_evaluate_finds_the_columns_of_the_run(hornbeam_here, both, noise, tmp_path):
    rows = read(noise / "m.csv")
    # Other columns between them, in another order.
    moved = [{"age": r["age"], "note": "x", "weight": r["weight"], **r} for r in rows]
    for row in moved:
        row["path"] = str(noise / row["path"])
        del row["split"]
    other = write(tmp_path / "other.csv", moved)
    done = hornbeam_here("evaluate", both, other, "--allow-outside", "--tta", 3)
    assert done.code == 0, done.err
    assert accuracy(both / "evaluations" / "other") >= 0.9
    assert pq.read_table(both / "evaluations/other/predictions.parquet").num_rows == COUNT
    done = hornbeam_here("evaluate", both)
    assert done.code == 0, done.err
    assert accuracy(both) >= 0.9


def test_predict_takes_a_manifest_with_the_columns(hornbeam_here, both, noise, tmp_path):
    rows = read(noise / "m.csv")[:6]
    # One picture with the numbers of old and young: the answer follows the numbers, rows their order.
    asked = [
        {"age": age, "path": r["path"], "weight": r["weight"]} for r in rows for age in (70, 30)
    ]
    manifest = write(noise / "ask.csv", asked)
    done = hornbeam_here("predict", both, manifest, "--out", tmp_path / "answers.csv")
    assert done.code == 0, done.err
    answers = read(tmp_path / "answers.csv")
    assert [row["path"] for row in answers] == [row["path"] for row in asked]
    expected = ["old", "young"] * 6
    assert (
        np.mean([row["kind_1"] == kind for row, kind in zip(answers, expected, strict=True)]) > 0.8
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("predict", "{run}", "{noise}/000.png"), "The model takes 'weight' and 'age' beside the picture; give a manifest"),
        (("predict", "{run}", "{noise}/short.csv"), "has no column 'weight', which the model takes"),
        (("evaluate", "{run}", "{noise}/short.csv"), "has no column 'weight', which the model takes"),
        (("evaluate", "{run}", "{noise}/m.csv", "--feature-columns", "kind"), "the model takes weight, age"),
    ],
)  # fmt: skip
def test_a_model_that_lacks_its_columns_says_so(hornbeam_here, both, noise, words, sentence):
    write(noise / "short.csv", [{"path": "000.png", "kind": "old", "colour": "red", "age": 70}])
    done = hornbeam_here(*(str(word).format(run=both, noise=noise) for word in words))
    assert done.code == 2
    assert sentence in done.sentence


def test_exports_take_the_raw_columns_too(hornbeam_here, both, noise, tmp_path):
    done = hornbeam_here("export", both, "--format", "keras,h5", "--out", tmp_path)
    assert done.code == 0, done.err
    bundle = json.loads((tmp_path / "bundle.json").read_text())
    assert bundle["features"] == ["weight", "age"]
    assert bundle["artifacts"]["keras"]["inputs"]["features"]["shape"] == [None, 2]
    pixels = np.zeros((2, SIZE, SIZE, 3), np.uint8) + 128
    raw = np.float32([[2000, 70], [2100, 30]])
    for name in ("model.keras", "model.h5"):
        model = keras.saving.load_model(tmp_path / name, compile=False)
        found = model.predict_on_batch({"image": pixels, "features": raw})
        assert found["kind"].argmax(axis=1).tolist() == [0, 1]  # old, young
        assert found["colour"].argmax(axis=1).tolist() == [1, 0]  # blue comes first


RECIPE = """
import keras
from keras import layers

def build_model(input_shape, targets, features):
    image = keras.Input(input_shape)
    numbers = keras.Input((len(features),), name="features")
    pooled = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(image))
    joined = layers.Dense(8, activation="relu")(layers.Concatenate()([pooled, numbers]))
    outputs = {t.name: layers.Dense(len(t.classes), activation="softmax")(joined) for t in targets}
    return keras.Model([image, numbers], outputs)
"""


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_a_recipe_takes_columns_on_each_backend(hornbeam_here, noise, tmp_path, backend):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE)
    run = tmp_path / "run"
    done = hornbeam_here(
        "train", noise / "m.csv", "--run", run, *TRAINING, "--label-columns", "kind",
        "--feature-columns", "age", "--recipe", recipe, "--processes", 1, backend=backend,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert accuracy(run) >= 0.9
    done = hornbeam_here("evaluate", run, "--tta", 2, backend=backend)
    assert done.code == 0, done.err
    assert accuracy(run) >= 0.9


@pytest.mark.slow
def test_columns_are_mixed_with_their_pictures(hornbeam_here, noise, tmp_path):
    run = tmp_path / "run"
    done = hornbeam_here(
        "train", noise / "m.csv", "--run", run, *TRAINING, "--label-columns", "kind,colour",
        "--feature-columns", "age,weight", "--mixup", 0.2, "--subset", 60,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((run / "dataset.json").read_text())["examples"] == 60 + COUNT // 4
    assert accuracy(run) >= 0.9
    assert accuracy(run, "colour") >= 0.9


def test_shards_and_splits_carry_the_columns(hornbeam_here, noise, tmp_path):
    columns = ("--label-columns", "kind,colour", "--feature-columns", "age,weight")
    manifest = noise / "divided.csv"
    done = hornbeam_here("split", noise / "m.csv", "--out", manifest, *columns, "--near", -1)
    assert done.code == 0, done.err
    assert "--feature-columns age,weight" in done.out.replace("\n", " ")
    ages = {row["path"]: float(row["age"]) for row in read(noise / "m.csv")}
    for row in read(manifest):
        assert float(row["age"]) == pytest.approx(ages[row["path"]], rel=1e-6)
    done = hornbeam_here("prepare", noise / "m.csv", tmp_path / "shards", *columns, "--shards", 2)
    assert done.code == 0, done.err
    run = tmp_path / "run"
    done = hornbeam_here(
        "train", tmp_path / "shards", "--run", run, *TRAINING, "--feature-columns", "weight,age"
    )
    assert done.code == 0, done.err
    assert accuracy(run) >= 0.9
    assert json.loads((run / "dataset.json").read_text())["features"] == ["weight", "age"]
    done = hornbeam_here("evaluate", run, noise / "m.csv")
    assert done.code == 0, done.err
    assert accuracy(run) >= 0.9


def test_records_hold_the_numbers_as_floats(hornbeam_here, noise, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="its reader is the reference")
    done = hornbeam_here(
        "prepare", noise / "m.csv", tmp_path / "s", "--label-columns", "kind,colour",
        "--feature-columns", "age,weight", "--shards", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = {row["path"]: row for row in read(noise / "m.csv")}
    seen = 0
    for record in tf.data.TFRecordDataset(sorted(map(str, (tmp_path / "s").glob("*.tfrecord")))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        row = rows[features["image/filename"].bytes_list.value[0].decode()]
        assert features["image/feature/age"].float_list.value[0] == np.float32(row["age"])
        texts = [v.decode() for v in features["image/class/colour/text"].bytes_list.value]
        assert texts == [row["colour"]] * bool(row["colour"])
        seen += 1
    assert seen == COUNT


def test_the_run_repeats_with_its_own_options(both):
    config = yaml.safe_load((both / "config.yaml").read_text())
    assert config["feature_columns"] == ["weight", "age"]
    assert config["label_columns"] == ["kind", "colour"]
