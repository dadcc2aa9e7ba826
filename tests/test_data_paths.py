"""From every kind of source to a trained, evaluated, asked and exported model, by the command line.

Most commands run in this process, by the same `main` as the real one, because each start of
TensorFlow costs seconds; what depends on the backend or on worker processes is a process of its own.
"""

import contextlib
import csv
import http.server
import json
import socket
import struct
import threading
import zlib
from functools import partial

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import run_here as here
from PIL import Image

from hornbeam.data.loader import Loader
from hornbeam.runs import Run

QUICK = ("--epochs", 1, "--batch-size", 8, "--image-size", 32)
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 40), "blue": (40, 40, 200)}


def well(*words) -> str:
    """Run a command that must succeed; return what it said."""
    done = here(*words)
    assert done.code == 0, done.err
    return done.out


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def answers(run):
    """Return the rows of predictions, of a run or of other pictures, by the name of the picture's file."""
    table = pq.read_table(run / "predictions.parquet").to_pylist()
    return {row["path"].rsplit("/", 1)[-1]: row for row in table}


def last_metrics(run):
    return {k: float(v) for k, v in read_csv(run / "metrics.csv")[-1].items()}


def repeats(run, again):
    """Train once more by the configuration of a run; return whether all numbers are the same."""
    well("train", "--config", run / "config.yaml", "--run", again)
    timed = ("seconds", "pictures_per_second")
    return all(
        {k: v for k, v in left.items() if k not in timed}
        == {k: v for k, v in right.items() if k not in timed}
        for left, right in zip(
            read_csv(run / "metrics.csv"), read_csv(again / "metrics.csv"), strict=True
        )
    )


@pytest.fixture(scope="session")
def marked(tmp_path_factory):
    """A manifest of 36 pictures with columns `colour`, `shape` and `tags`, of one or two labels."""
    root = tmp_path_factory.mktemp("marked")
    rng = np.random.default_rng(0)
    (root / "p").mkdir()
    rows = []
    y, x = np.mgrid[:40, :48]
    for i in range(36):
        colour, shape = list(COLOURS)[i % 3], ["square", "disc"][i // 3 % 2]
        pixels = rng.normal(120, 30, (40, 48, 3)).clip(0, 255).astype(np.uint8)
        across, down = np.abs(x - rng.integers(14, 34)), np.abs(y - rng.integers(14, 26))
        inside = np.maximum(across, down) < 9 if shape == "square" else np.hypot(across, down) < 10
        pixels[inside] = COLOURS[colour]
        Image.fromarray(pixels).save(root / f"p/{i:02}.png")
        rows.append((f"p/{i:02}.png", colour, shape, f"{colour};{shape}" if i % 5 else colour))
    write_csv(root / "m.csv", ["path", "colour", "shape", "tags"], rows)
    return root


@pytest.fixture(scope="session")
def listed(shapes):
    """The pictures of `shapes` as (path relative to its parent, class)."""
    files = sorted(path for path in shapes.rglob("*") if path.is_file())
    return [(str(path.relative_to(shapes.parent)), path.parent.name) for path in files]


@pytest.fixture(scope="module")
def two_tasks(marked, tmp_path_factory):
    """A run of a multi-label and a single-label task, with mixup."""
    run = tmp_path_factory.mktemp("two") / "run"
    out = well(
        "train", marked / "m.csv", "--label-columns", "tags,shape", "--label-separator", ";",
        *QUICK, "--mixup", 0.4, "--run", run,
    )  # fmt: skip
    return run, out


def test_two_tasks_are_told_apart_on_the_terminal_and_in_the_report(two_tasks):
    run, out = two_tasks
    assert "5 + 2 classes" in out
    # A separator makes no column multi-label that does not use it.
    assert [task.multi_label for task in Run.open(run).tasks()] == [True, False]
    assert {"val_tags_binary_accuracy", "val_shape_accuracy"} <= set(last_metrics(run))
    assert "tags: all labels right in" in out
    assert "shape: accuracy" in out
    heads = [line.split()[0] for line in out.splitlines() if "recall (95 %)" in line]
    assert heads == ["tags", "shape"]
    report = (run / "report.html").read_text()
    assert "named right in every label (tags)" in report
    assert "<h2>Confusion (shape)</h2>" in report
    assert "<h2>Confusion (tags)</h2>" not in report


def test_validation_beside_mixed_training_says_what_evaluate_says(two_tasks):
    run, _ = two_tasks
    out = well("evaluate", run)
    table = pq.read_table(run / "predictions.parquet")
    metrics = last_metrics(run)
    right = np.mean(table["shape_correct"].to_pylist())
    np.testing.assert_allclose(right, metrics["val_shape_accuracy"], atol=1e-6)
    assert f"shape: accuracy {right:.1%}" in out
    classes = Run.open(run).tasks()[0].classes
    truth = np.array([[c in row for c in classes] for row in table["tags"].to_pylist()])
    logits = np.array(table["tags_logits"].to_pylist())
    marks = np.mean((logits > 0) == truth)
    np.testing.assert_allclose(marks, metrics["val_tags_binary_accuracy"], atol=1e-6)
    losses = np.logaddexp(0, np.where(truth, -logits, logits)).mean()
    np.testing.assert_allclose(losses, metrics["val_tags_cross_entropy"], rtol=1e-4)


def test_multi_label_answers_are_probabilities_of_their_own_the_most_probable_first(
    two_tasks, marked, tmp_path
):
    run, _ = two_tasks
    out = well("predict", run, marked / "p" / "00.png", "--top", 5)
    assert [line.split(": ")[0].split()[-1] for line in out.splitlines()] == ["tags", "shape"]
    well("predict", run, marked / "p", "--top", 5, "--out", tmp_path / "a.json")
    rows = json.loads((tmp_path / "a.json").read_text())
    tags = np.array([[row[f"tags_{i}_probability"] for i in range(1, 6)] for row in rows])
    assert (np.diff(tags) <= 0).all()
    assert np.ptp(tags.sum(axis=1)) > 0.01  # no softmax
    shape = np.array([[row[f"shape_{i}_probability"] for i in (1, 2)] for row in rows])
    np.testing.assert_allclose(shape.sum(axis=1), 1, atol=1e-5)
    well("predict", run, marked / "p", "--out", tmp_path / "b.json", "--tta", 4)
    assert json.loads((tmp_path / "b.json").read_text()) != rows


def test_evaluate_finds_the_label_columns_and_the_separator_by_itself(two_tasks, marked, tmp_path):
    run, _ = two_tasks
    well("evaluate", run, marked / "m.csv", "--tta", 2)
    assert len(answers(run / "evaluations" / "m")) == 36
    write_csv(tmp_path / "m.csv", ["path", "tags"], [("a.png", "red")])
    done = here("evaluate", run, tmp_path / "m.csv")
    assert done.code == 2
    assert "m.csv has no column 'shape', which the model tells" in done.sentence


def test_each_task_is_exported_with_its_own_kind_of_probability(two_tasks, tmp_path):
    run, _ = two_tasks
    well("evaluate", run)
    well("export", run, "--format", "keras,h5", "--out", tmp_path / "out")
    opened = Run.open(run)
    loader = Loader(
        opened.dataset().only("validation"), batch_size=4, image_size=opened.image_size()
    )
    pictures = loader.batch(0).images
    expected = pq.read_table(run / "predictions.parquet")
    for file in ("model.keras", "model.h5"):
        model = keras.saving.load_model(tmp_path / "out" / file, compile=False)
        found = model.predict_on_batch(pictures)
        if not isinstance(found, dict):
            found = dict(zip(("tags", "shape"), found, strict=True))
        for task in ("tags", "shape"):
            wanted = expected[f"{task}_probabilities"].to_pylist()[: len(pictures)]
            np.testing.assert_allclose(found[task], wanted, atol=1e-4)
    bundle = json.loads((tmp_path / "out" / "bundle.json").read_text())
    assert {t["name"]: t["multi_label"] for t in bundle["tasks"]} == {"tags": True, "shape": False}


def test_json_with_a_labels_file_background_grey_pictures_and_bars(shapes, listed, tmp_path):
    """What the training did to pictures is done by all later commands as well."""
    manifest, labels, run = shapes.parent / "m.json", tmp_path / "labels.txt", tmp_path / "run"
    manifest.write_text(json.dumps(dict(listed)))
    names = sorted({label for _, label in listed}, reverse=True)
    labels.write_text("\n".join(names))
    well(
        "train", manifest, "--run", run, *QUICK, "--image-size", "32x40x1", "--labels-file", labels,
        "--background-class", "--resize-mode", "pad", "--in-memory", 1, "--no-shuffle",
        "--subset", 30, "--max-pixels", 100_000,
    )  # fmt: skip
    opened = Run.open(run)
    assert opened.tasks()[0].classes == ("background", *names)
    assert len(opened.dataset().only("train")) == 30
    assert opened.dataset().max_pixels == 100_000
    noted = answers(run)
    assert "nan" not in well("evaluate", run)
    well("evaluate", run, shapes)
    again = answers(run)
    for name, row in noted.items():
        np.testing.assert_allclose(row["label_logits"], again[name]["label_logits"], atol=1e-5)
    well("predict", run, shapes / "star", "--out", tmp_path / "a.parquet")
    asked = pq.read_table(tmp_path / "a.parquet").to_pylist()[0]
    kept = again[asked["path"].rsplit("/", 1)[-1]]["label_probabilities"]
    np.testing.assert_allclose(asked["label_1_probability"], max(kept), atol=1e-5)
    well("export", run, "--out", tmp_path / "out")
    bundle = json.loads((tmp_path / "out" / "bundle.json").read_text())
    told = bundle["how_to_ask"]
    assert (bundle["image_size"], told["pixels"]) == ([32, 40, 1], "uint8 [batch, 32, 40, 1], grey")
    assert "bars" in told["resize"]


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_strong_augmentation_and_two_manifests_on_both_backends(
    hornbeam, backend, shapes, listed, tmp_path
):
    """Validation runs through the mixing model, and still says what the bare model is worth."""
    held_out = listed[::5]
    training = [row for row in listed if row not in held_out]
    folder = shapes.parent
    (folder / "train.txt").write_text("".join(f"{path}\t{label}\n" for path, label in training))
    pq.write_table(
        pa.table({
            "image": [path for path, _ in held_out], "number": list(range(len(held_out))),
            "category": [label for _, label in held_out],
        }), folder / "held.parquet",
    )  # fmt: skip
    run = tmp_path / "run"
    words = (
        "train", "--train-directory", folder / "train.txt", "--validation-directory",
        folder / "held.parquet", *QUICK, "--image-size", "32x32x4", "--resize-mode", "squash",
        "--augment", "strong", "--run", run,
    )  # fmt: skip
    done = hornbeam(*words, backend=backend) if backend == "jax" else here(*words)
    assert done.code == 0, done.err
    noted = answers(run)
    assert set(noted) == {path.rsplit("/", 1)[-1] for path, _ in held_out}
    right = np.mean([row["label_correct"] for row in noted.values()])
    np.testing.assert_allclose(right, last_metrics(run)["val_accuracy"], atol=1e-6)
    if backend == "tensorflow":
        well("evaluate", run, folder / "held.parquet", "--label-columns", "category")
        for name, row in answers(run).items():
            np.testing.assert_allclose(row["label_logits"], noted[name]["label_logits"], atol=1e-5)


RECIPE = """
import io
import numpy as np
from PIL import Image

class Made:
    def __init__(self, start, count):
        self.start, self.count = start, count
    def __len__(self):
        return self.count
    def __getitem__(self, index):
        number = self.start + index
        pixels = np.random.default_rng(number).normal(100, 20, (40, 44, 3)).clip(0, 255)
        pixels = pixels.astype(np.uint8)
        pixels[10:30, 10:30] = [(250, 20, 20), (20, 20, 250)][number % 2]
        if number % 3:
            return {"image": pixels, "side": number % 2}
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return {"image": file.getvalue(), "side": number % 2}

def examples(split):
    return {"train": Made(0, 24), "validation": Made(100, 9)}.get(split)

def preprocess(image, training, rng):
    return 255 - image[:, ::2]

def augment(image, rng):
    return image[:, ::-1] if rng.random() < 0.5 else image
"""


def test_a_recipe_with_its_own_examples_goes_the_whole_way_in_processes(hornbeam, tmp_path):
    (tmp_path / "mine.py").write_text(RECIPE)
    run = tmp_path / "run"
    done = hornbeam("train", "--recipe", "mine.py", *QUICK, "--processes", 2, "--run", run,
                    cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.err
    assert "leaked" not in done.err
    (tmp_path / "mine.py").unlink()  # the run has its own copy
    noted = pq.read_table(run / "predictions.parquet").to_pylist()
    assert [row["side"] for row in noted] == [str(i % 2) for i in range(100, 109)]
    well("evaluate", run)
    again = pq.read_table(run / "predictions.parquet").to_pylist()
    np.testing.assert_allclose(
        [row["side_logits"] for row in again], [row["side_logits"] for row in noted], atol=1e-5
    )
    # preprocess is part of the model's eyes: without it the answers are others.
    (run / "recipe.py").write_text(RECIPE.replace("255 - image[:, ::2]", "image"))
    well("evaluate", run)
    other = pq.read_table(run / "predictions.parquet")["side_logits"].to_pylist()
    assert not np.allclose(other, [row["side_logits"] for row in noted], atol=1e-3)
    well("export", run, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "bundle.json").read_text())["preprocess"] == "recipe.py"


@pytest.mark.slow
def test_a_recipe_names_files_below_data_and_its_faults_are_sentences(shapes, tmp_path):
    recipe, run = tmp_path / "mine.py", tmp_path / "run"
    source = (
        "from pathlib import Path\n"
        "def examples(split, data):\n"
        "    files = sorted(p for p in Path(data).rglob('*') if p.is_file())\n"
        "    if split == 'train':\n"
        "        return [(p.relative_to(data), p.parent.name) for p in files]\n"
    )
    recipe.write_text(source + "def augment(image, rng):\n    return image.astype(float)\n")
    words = ("train", shapes, "--recipe", recipe, *QUICK)
    done = here(*words, "--run", tmp_path / "failed")
    assert done.code == 2
    assert "augment" in done.sentence
    assert "float64" in done.sentence
    recipe.write_text(source)
    well(*words, "--run", run)
    table = pq.read_table(run / "dataset.parquet").to_pydict()
    assert len(table["path"]) == 72
    assert {path.split("/")[0] for path in table["path"]} == set(table["label"])
    well("evaluate", run, shapes)
    assert len(answers(run / "evaluations" / shapes.name)) == 72


def test_shards_answer_as_the_folder_did_and_repeat_their_run(shapes, tmp_path, monkeypatch):
    """Order differs between folder and shards, so weights do; rows, split and answers may not."""
    monkeypatch.chdir(tmp_path)
    well("prepare", shapes, "shards", "--shards", 2)
    run = tmp_path / "run"
    well("train", "shards", *QUICK, "--run", run)
    noted = answers(run)
    well("train", shapes, "--steps", 1, "--batch-size", 8, "--image-size", 32, "--run", "folder")
    assert {n: row["label"] for n, row in noted.items()} == {
        n: row["label"] for n, row in answers(tmp_path / "folder").items()
    }
    well("evaluate", run, shapes)
    again = answers(run / "evaluations" / shapes.name)
    assert set(noted) < set(again)
    for name, row in again.items():
        if name in noted:
            np.testing.assert_allclose(row["label_logits"], noted[name]["label_logits"], atol=1e-5)
    well("predict", run, shapes / "star")
    assert repeats(run, tmp_path / "again")


def test_the_records_of_others_are_trained_on_by_a_pattern(shapes, tmp_path, monkeypatch):
    """Records as Model Garden's script writes them, with TensorFlow, and no index."""
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    names = sorted(path.name for path in shapes.iterdir())
    for split, part in (("train", slice(0, 8)), ("validation", slice(8, None))):
        with tf.io.TFRecordWriter(str(tmp_path / f"{split}-00000-of-00001")) as writer:
            for label, name in enumerate(names):
                for file in sorted((shapes / name).iterdir())[part]:
                    features = {
                        "image/encoded": tf.train.Feature(
                            bytes_list=tf.train.BytesList(value=[file.read_bytes()])
                        ),
                        "image/class/label": tf.train.Feature(
                            int64_list=tf.train.Int64List(value=[label + 1])
                        ),
                        "image/class/text": tf.train.Feature(
                            bytes_list=tf.train.BytesList(value=[name.encode()])
                        ),
                        "image/filename": tf.train.Feature(
                            bytes_list=tf.train.BytesList(value=[file.name.encode()])
                        ),
                    }
                    example = tf.train.Example(features=tf.train.Features(feature=features))
                    writer.write(example.SerializeToString())
    run = tmp_path / "run"
    out = well("train", "*-of-00001", *QUICK, "--run", run)
    assert "48 train, 24 validation pictures" in out
    noted = answers(run)
    well("evaluate", run, shapes)
    again = answers(run / "evaluations" / shapes.name)
    for name, row in noted.items():
        assert row["label"] == again[name]["label"]
        np.testing.assert_allclose(row["label_logits"], again[name]["label_logits"], atol=1e-5)
    assert yaml.safe_load((run / "config.yaml").read_text())["data"] == str(tmp_path / "*-of-00001")


@contextlib.contextmanager
def serving(root):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_manifest_at_an_address_is_trained_on_and_repeats_its_run(marked, tmp_path):
    run = tmp_path / "run"
    with serving(marked) as address:
        well("train", f"{address}/m.csv", "--label-columns", "colour", *QUICK, "--run", run)
        assert repeats(run, tmp_path / "again")
        out = well("predict", run, f"{address}/p/00.png")
    assert out.startswith(f"{address}/p/00.png: ")


def test_a_split_stays_when_pictures_are_added_and_keeps_near_duplicates_together(tmp_path):
    from hornbeam.data.sample import draw_sample

    root, manifest = tmp_path / "pictures", tmp_path / "m.csv"
    draw_sample(root, per_class=20, size=96, seed=3)
    for file in sorted((root / "star").iterdir())[:8]:
        picture = Image.open(file).convert("RGB")
        smaller = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
        smaller.save(root / "star" / f"near-{file.stem}.jpg", quality=80)
    well("split", root, "--out", manifest)
    before = {row["path"]: row["split"] for row in read_csv(manifest)}
    by_name = {path.rsplit("/", 1)[-1].rsplit(".")[0]: side for path, side in before.items()}
    near = [name for name in by_name if name.startswith("near-")]
    assert len(near) == 8
    assert all(by_name[name] == by_name[name.removeprefix("near-")] for name in near)
    draw_sample(tmp_path / "more", per_class=9, size=96, seed=8)
    for file in (tmp_path / "more").rglob("*.*"):
        file.rename(root / file.parent.name / f"a-{file.name}")
    out = well("split", root, "--out", manifest)
    assert "128 pictures stay where" in out
    after = {row["path"]: row["split"] for row in read_csv(manifest)}
    assert len(after) == 128 + 54
    assert {path: after[path] for path in before} == before
    # In a folder that does not hold the pictures, they are named whole, and that must be allowed.
    (tmp_path / "elsewhere").mkdir()
    out = well("split", root, "--out", tmp_path / "elsewhere" / "m.csv", "--previous", manifest)
    assert "m.csv --allow-outside" in out
    moved = read_csv(tmp_path / "elsewhere" / "m.csv")
    assert [row["split"] for row in moved] == [row["split"] for row in read_csv(manifest)]
    words = ("prepare", tmp_path / "elsewhere" / "m.csv", tmp_path / "out")
    assert "--allow-outside" in here(*words).sentence
    well(*words, "--allow-outside")


def test_a_split_of_folders_is_made_anew_unless_it_is_to_be_kept(folders, tmp_path):
    rng = np.random.default_rng(0)
    root = folders({})
    for part, count in (("train", 12), ("test", 12)):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    out = well("split", root, "--out", tmp_path / "new.csv", "--exact")
    assert "is given up; --keep would keep it" in out
    sides = [row["split"] for row in read_csv(tmp_path / "new.csv")]
    assert 37 <= sides.count("train") <= 40  # of 48, where 24 were in train/
    assert min(sides.count("validation"), sides.count("test")) >= 4
    well("split", root, "--out", tmp_path / "kept.csv", "--keep")
    for row in read_csv(tmp_path / "kept.csv"):
        assert f"/{row['split']}/" in row["path"]


def test_a_group_is_on_one_side_and_the_manifest_says_so(marked, tmp_path):
    rows = [
        (marked / row["path"], row["colour"], f"patient-{number // 4}")
        for number, row in enumerate(read_csv(marked / "m.csv"))
    ]
    write_csv(tmp_path / "m.csv", ["path", "colour", "patient"], rows)
    well(
        "split", tmp_path / "m.csv", "--allow-outside", "--label-columns", "colour",
        "--group-column", "patient", "--ratios", "0.6,0.2,0.2", "--near", -1,
        "--out", tmp_path / "out.json",
    )  # fmt: skip
    sides = {}
    for row in json.loads((tmp_path / "out.json").read_text()):
        sides.setdefault(row["group"], set()).add(row["split"])
    assert len(sides) == 9
    assert all(len(of_group) == 1 for of_group in sides.values())
    assert set().union(*sides.values()) == {"train", "validation", "test"}


@pytest.fixture(scope="module")
def faulty(marked, tmp_path_factory):
    """A folder of manifests that are wrong in one way each."""
    import shutil

    root = tmp_path_factory.mktemp("faulty") / "in"
    shutil.copytree(marked, root)
    rows = [tuple(row.values()) for row in read_csv(root / "m.csv")]
    header = ["path", "colour", "shape", "tags"]
    path, colour, shape, tags = rows[4]
    write_csv(root / "empty.csv", header, [*rows[:4], (path, "", shape, tags), *rows[5:]])
    write_csv(root / "outside.csv", header, [*rows, ("../x.png", colour, shape, tags)])
    write_csv(root / "gone.csv", header, [*rows, ("p/none.png", colour, shape, tags)])
    write_csv(root / "single.csv", header, [(p, c, "disc", t) for p, c, _, t in rows])
    (root / "labels.txt").write_text("red\ngreen\n")
    return root


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["m.csv", "--label-columns", "colou"], 2, "m.csv has no such column; it has 'path'"),
        (["m.csv", "--image-column", "file"], 2, "--image-column file: "),
        (["m.csv", "--split-column", "side"], 2, "--split-column side: "),
        (["m.csv", "--label-columns", "colour,colour"], 2, "names 'colour' twice"),
        (["m.csv", "--label-columns", "colour", "--labels-file", "labels.txt"], 1,
         "m.csv, line 4, column 'colour': 'blue' is not in --labels-file labels.txt"),
        (["m.csv", "--label-columns", "colour", "--labels-file", "none.txt"], 2,
         "none.txt: it cannot be read (No such file or directory)"),
        (["m.csv", "--label-columns", "colour", "--num-classes", 4], 2,
         "--num-classes is 4, but . has 3 classes: 'blue', 'green' and 'red'"),
        (["empty.csv", "--label-columns", "colour"], 1,
         "empty.csv, line 6, column 'colour': the label is empty"),
        (["outside.csv", "--label-columns", "colour"], 1, "pass --allow-outside if you trust"),
        (["gone.csv", "--label-columns", "colour"], 1, "p/none.png: the file cannot be read"),
        (["single.csv", "--label-columns", "colour,shape"], 1,
         "column 'shape', has one class, 'disc'"),
        (["m.csv", "--label-columns", "colour", "--max-pixels", 1000], 1,
         "p/00.png: the picture has 40x48 pixels, more than --max-pixels 1000 allows"),
        (["none.csv"], 2, "The manifest none.csv does not exist"),
        (["none-*"], 2, "There is no file none-*"),
        (["none"], 2, "The folder none does not exist"),
        ([], 2, "DATA is missing"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(
    faulty, tmp_path, monkeypatch, words, code, sentence
):
    monkeypatch.chdir(faulty)
    there = sorted(faulty.rglob("*"))
    done = here("train", *words, "--run", tmp_path / "run", "--image-size", 32, "--steps", 1)
    assert (done.code, sentence in done.sentence) == (code, True), done.err
    assert not (tmp_path / "run").exists()
    assert sorted(faulty.rglob("*")) == there


def test_a_run_is_no_source_for_any_command(two_tasks, tmp_path):
    run, _ = two_tasks
    for words in (
        ["train", run], ["check", run], ["split", run, "--out", tmp_path / "m.csv"],
        ["prepare", run, tmp_path / "out"], ["evaluate", run, run],
        ["augment-preview", run, "--html", tmp_path / "a.html"],
    ):  # fmt: skip
        done = here(*words)
        assert done.code == 2
        assert "is a run; expected pictures" in done.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_vanishes_before_training_is_named(faulty, tmp_path):
    """Also where TensorFlow asked for it, in a thread of its own."""
    done = here(
        "train", faulty / "gone.csv", "--label-columns", "colour", "--no-verify", *QUICK,
        "--run", tmp_path / "run",
    )  # fmt: skip
    assert done.code == 1
    assert "none.png: the file cannot be read" in done.sentence


def test_a_small_file_of_many_pixels_is_refused_undecoded(folders, tmp_path):
    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    root = folders({"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.png": 4, "b/bomb.png": bomb})
    for words in (
        ["train", root, "--run", tmp_path / "run", "--steps", 1, "--image-size", 32],
        ["split", root, "--out", tmp_path / "m.csv"], ["prepare", root, tmp_path / "out"],
    ):  # fmt: skip
        done = here(*words)
        assert done.code == 1
        assert "bomb.png: the picture has 30000x30000 pixels, more than --max-pixels" in (
            done.sentence
        )
    done = here("check", root, "--smallest-class", 1)
    assert done.code == 3
    assert "too many pixels" in done.out
    # What failed does not stand in the way of what is mended.
    (root / "b" / "bomb.png").unlink()
    assert "4 pictures are in 1 shards" in well("prepare", root, tmp_path / "out")


def test_a_server_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_TIMEOUT", "0.3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/m.csv"
        done = here("train", address, "--run", tmp_path / "run")
    assert done.code == 1
    assert "did not answer within 0.3 s" in done.sentence
    assert not (tmp_path / "run").exists()
