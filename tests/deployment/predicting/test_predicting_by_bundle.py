"""`hornbeam predict BUNDLE`: answers in order, as they come, in bounded memory, bad pictures by name."""

import contextlib
import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_bundles import CLASSES, changed, coloured, encoded

import hornbeam
from hornbeam.data.dataset import Dataset
from hornbeam.data.tables.folders import read_folder
from hornbeam.data.walking import natural_key, walk_pictures
from hornbeam.deployment import Predictor
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.evaluation.answers import write_answers
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.workflow import asking

COLUMNS = [
    "path", "label_1", "label_1_probability", "label_2", "label_2_probability", "label_sure",
    "unknown", "unknown_score", "error",
]  # fmt: skip


def rows_of(path):
    if path.suffix == ".csv":
        return pyarrow.csv.read_csv(path).to_pylist()
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return json.loads(path.read_text())


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_answers_go_to_a_file_in_order_and_bad_pictures_are_named(
    hornbeam_here, trees, pictures, tmp_path, suffix
):
    out = tmp_path / f"answers.{suffix}"
    done = hornbeam_here("predict", trees, pictures[0].parent, "--out", out, "--top", 2)
    assert done.code == 0
    assert done.out == f"22 answers are in {out}.\n"
    assert done.sentence == (f"warning: 1 of 23 pictures could not be read; {out} names them all.")
    rows = rows_of(out)
    assert list(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == list(map(str, pictures))
    assert "07.jpg: the picture is truncated" in rows[7]["error"]
    with Predictor(trees) as predictor:
        for row, answer in zip(rows, predictor.predict(pictures), strict=True):
            if answer.error:
                assert row["label_1"] in (None, "")
                continue
            (first, one), (second, two) = answer.best(n=2)
            assert (row["label_1"], row["label_2"]) == (first, second)
            assert row["label_1_probability"] == pytest.approx(one, abs=1e-5)
            assert row["label_2_probability"] == pytest.approx(two, abs=1e-5)
            assert row["label_sure"] == answer.sure["label"]
            assert row["unknown"] == answer.unknown
            assert row["unknown_score"] == pytest.approx(answer.unknown_score, abs=1e-5)
            assert not row["error"]
    assert not out.with_name(f"answers.unfinished.{suffix}").exists()


@pytest.mark.parametrize("suffix", ["csv", "json", "jsonl", "parquet"])
def test_columns_and_values_are_those_of_a_run(hornbeam_here, trees, tmp_path, suffix):
    artifacts = {
        name: dataclasses.replace(each, outputs={"label": each.outputs["label"]})
        for name, each in Manifest.load(trees).artifacts.items()
    }
    changes = {"abstain": {}, "unknown": None, "artifacts": artifacts, "golden": ()}
    bundle = changed(trees, tmp_path / "plain", **changes)
    (tmp_path / "pictures").mkdir()
    for number, pixels in enumerate(coloured(5)):
        (tmp_path / "pictures" / f'{number} "a", b.png').write_bytes(encoded(pixels))
    out, twin = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    done = hornbeam_here("predict", bundle, tmp_path / "pictures", "--out", out, "--top", 9)
    assert done.code == 0, done.err
    (task,) = Manifest.load(bundle).tasks
    with Predictor(bundle) as predictor:
        answers = predictor.predict([row["path"] for row in rows_of(out)])
    logits = np.log(np.stack([answer.probabilities["label"] for answer in answers]))
    dataset = Dataset.from_columns("", [a.picture for a in answers], [""] * 5)
    write_answers(Predictions(dataset, (task,), {"label": logits}), 9, {}, twin, Safeguards())
    left, right = rows_of(out), rows_of(twin)
    assert list(left[0]) == list(right[0])
    for one, other in zip(left, right, strict=True):
        for name, value in one.items():
            wanted = other[name]
            assert value == (pytest.approx(wanted, abs=1e-5) if "probab" in name else wanted)
    if suffix == "csv":
        assert out.read_text().splitlines()[0] == twin.read_text().splitlines()[0]


def test_answers_are_lines_without_a_file(hornbeam_here, trees, pictures):
    done = hornbeam_here("predict", trees, *pictures[6:9], "--top", 1, "--format", "onnx")
    lines = done.out.splitlines()
    assert done.code == 0
    assert lines[0].startswith(f"{pictures[6]}: ")
    assert any(name in lines[0] for name in CLASSES)
    assert lines[1].startswith(f"{pictures[7]}: the picture is truncated")
    assert len(lines) == 3


def test_on_bad_error_stops_at_the_first_and_keeps_what_was_written(
    hornbeam_here, trees, pictures, tmp_path
):
    out = tmp_path / "a.csv"
    done = hornbeam_here(
        "predict", trees, pictures[0].parent, "--out", out, "--on-bad", "error", "-b", 2
    )
    assert done.code == 1
    assert "07.jpg" in done.sentence
    assert not out.exists()
    assert len(rows_of(tmp_path / "a.unfinished.csv")) == 7


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["nowhere.jpg"], 2, "nowhere.jpg does not exist"),
        (["{empty}"], 1, "There are no pictures in"),
        (["{bad}"], 1, "1 of 1 pictures could not be read"),
        (
            ["{good}", "--tta", "4"],
            2,
            "--tta asks about several views of a picture, which only a run",
        ),
        (["{good}", "--backend", "jax"], 2, "--backend chooses Keras' engine, which only a run"),
        (["{good}", "--format", "onyx"], 1, "Did you mean 'onnx'?"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    hornbeam_here, trees, pictures, tmp_path, words, code, reason
):
    (tmp_path / "empty").mkdir()
    places = {"{empty}": tmp_path / "empty", "{bad}": pictures[7], "{good}": pictures[0]}
    done = hornbeam_here("predict", trees, *[places.get(word, word) for word in words])
    assert done.code == code
    assert reason in done.sentence


def test_options_of_a_bundle_are_refused_for_a_run(hornbeam_here, tmp_path, pictures):
    done = hornbeam_here("predict", tmp_path, pictures[0], "--format", "litert")
    assert done.code == 2
    assert "--format is for a bundle" in done.sentence


def test_a_manifest_gives_the_numbers_beside_pictures(
    hornbeam_here, sized_trees, pictures, tmp_path
):
    numbers = np.random.default_rng(0).normal(0, 1, (6, 2)).round(3)
    table = tmp_path / "table.csv"
    lines = [
        f"pictures/{path.name},{age},{height}"
        for path, (height, age) in zip(pictures[:6], numbers, strict=True)
    ]
    table.write_text("\n".join(["path,age,height", *lines]) + "\n")
    out = tmp_path / "a.json"
    done = hornbeam_here("predict", sized_trees, table, "--out", out, "--top", 1)
    assert done.code == 0, done.err
    rows = rows_of(out)
    assert [row["path"] for row in rows] == [f"pictures/{path.name}" for path in pictures[:6]]
    with Predictor(sized_trees) as predictor:
        expected = [a.best()[0] for a in predictor.predict(pictures[:6], numbers)]
    assert [row["label_1"] for row in rows] == [name for name, _ in expected]
    done = hornbeam_here("predict", sized_trees, pictures[0])
    assert done.code == 2
    assert "give a manifest with the columns path, height, age" in done.sentence


def test_the_python_function_takes_paths_and_pictures_in_memory(trees, pictures):
    answers = hornbeam.predict(trees, images=[pictures[0].parent])
    assert [answer.picture for answer in answers] == list(map(str, pictures))
    (alone,) = hornbeam.predict(trees, images=str(pictures[0]))
    assert alone.best() == answers[0].best()
    (pixels,) = hornbeam.predict(trees, images=[pictures[0].read_bytes()], format="onnx")
    assert pixels.best()[0][1] == pytest.approx(alone.best()[0][1], abs=1e-5)
    (row,) = hornbeam.predict(trees, images=coloured(1))
    assert row.picture is None
    one = coloured(1)[0]
    for given in (one, Image.fromarray(one), bytearray(encoded(one))):
        (found,) = hornbeam.predict(trees, images=given)
        assert found.best() == row.best()


def many_links(directory, count):
    """`count` names of one small picture, in folders of 1,000."""
    file = directory / "original.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(encoded(coloured(1)[0]))
    for number in range(count):
        folder = directory / "all" / f"{number // 1000}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(file, folder / f"{number}.png")
    return directory / "all"


def test_memory_does_not_grow_with_the_number_of_pictures(trees, tmp_path):
    peaks = []
    for count in (4_000, 24_000):
        root = many_links(tmp_path / str(count), count)
        out = tmp_path / f"{count}.jsonl"
        code = (
            "import re; from pathlib import Path; from hornbeam.cli import main;"
            f"code = main(['predict', {str(trees)!r}, {str(root)!r}, '--out', {str(out)!r}]);"
            # Of this process since its start; getrusage counts the one that it was forked from, too.
            "peak = re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1];"
            "print(code, peak)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=900, check=True
        )
        code, peak = map(int, done.stdout.splitlines()[-1].split())
        assert code == 0
        peaks.append(peak)
        with out.open() as file:
            paths = [json.loads(line)["path"] for line in file]
        assert len(paths) == count
        assert paths == sorted(paths, key=lambda path: natural_order(os.path.relpath(path, root)))
    assert peaks[1] - peaks[0] < 8 * 1024  # KiB; answers of 20,000 more would take 30 MiB


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_an_interruption_leaves_what_was_written(trees, tmp_path, number, code, suffix):
    root = many_links(tmp_path / "links", 30_000)
    out = tmp_path / f"answers.{suffix}"
    left = tmp_path / f"answers.unfinished.{suffix}"

    def written():
        with contextlib.suppress(FileNotFoundError):  # it may get its name just now
            return left.stat().st_size >= 20_000
        return False

    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-m", "hornbeam", "predict", trees, root, "--out", out],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 600
        while process.poll() is None and not written():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
        if process.returncode:
            break
        out.unlink()  # it was quicker than we
    assert process.returncode == code
    assert err.startswith(f"hornbeam: {'Ctrl-C' if code == 130 else 'SIGTERM'} after ")
    assert f"their answers are in {left}." in err
    assert len(err.splitlines()) == 1
    assert not out.exists()
    told = int(err.split(" after ")[1].split()[0].replace(",", ""))
    rows = rows_of(left)
    assert 0 < told - 2 <= len(rows) <= told + 1
    assert all(row["label_1"] for row in rows)


def test_a_signal_ends_the_work_between_two_answers_and_a_second_one_at_once():
    for number in (signal.SIGINT, signal.SIGTERM):
        with asking._heard() as stop:
            os.kill(os.getpid(), number)  # an exception here might leave a lock of the threads held
            with pytest.raises(KeyboardInterrupt):
                stop.check()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    with asking._heard() as stop:
        stop.check()


def natural_order(name):
    """Text and numbers by turns: what `natural_key` writes into one string."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], name


def test_folders_are_walked_in_the_order_that_training_has(tmp_path):
    rng = np.random.default_rng(0)
    letters = list("aAbB0129.-_ é")
    names = {"".join(rng.choice(letters, rng.integers(1, 7))).strip(". ") for _ in range(3000)}
    names = sorted(filter(None, names))
    assert sorted(names, key=natural_key) == sorted(names, key=natural_order)
    for name in ("10/b.png", "9/a.png", "9/10.png", "9/2.png", ".hidden/a.png", "9/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = list(walk_pictures(str(tmp_path)))
    assert found == ["9/2.png", "9/10.png", "9/a.png", "10/b.png"]
    assert read_folder(tmp_path).columns["path"].to_pylist() == found


def test_a_csv_of_odd_names_is_read_back(hornbeam_here, trees, tmp_path):
    path = tmp_path / 'a "b", c\n.png'
    path.write_bytes(encoded(coloured(1)[0]))
    done = hornbeam_here("predict", trees, path, "--out", tmp_path / "a.csv")
    assert done.code == 0, done.err
    with (tmp_path / "a.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["path"] == str(path)


@pytest.mark.parametrize("kind", ["bundle", "run"])
def test_answers_are_never_written_over_what_is_asked_about(
    hornbeam_here, trees, trained, pictures, tmp_path, kind
):
    table = tmp_path / "t.csv"
    table.write_text(f"path\npictures/{pictures[0].name}\n")
    link = tmp_path / "link.csv"
    link.symlink_to(table)
    growing = tmp_path / "u.unfinished.csv"
    growing.write_text(table.read_text())
    model = trees if kind == "bundle" else trained
    for given, out in ((table, table), (table, link), (growing, tmp_path / "u.csv")):
        before = given.read_text()
        done = hornbeam_here("predict", model, given, "--out", out)
        assert done.code == 2
        assert f"would be written over {given}" in done.sentence
        assert given.read_text() == before


def test_a_name_that_is_not_utf8_is_an_error_in_its_place(hornbeam_here, trees, tmp_path):
    root = tmp_path / "pictures"
    (root / "b").mkdir(parents=True)
    content = encoded(coloured(1)[0])
    for name in (b"a.png", b"b/\xff.png", b"c.png"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_bytes(content)
    for suffix in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"a.{suffix}"
        done = hornbeam_here("predict", trees, root, "--out", out)
        assert done.code == 0, done.err
        first, bad, last = rows_of(out)
        assert bad["path"] == f"{root}/b/\\udcff.png"
        assert "not valid UTF-8" in bad["error"]
        assert first["label_1"] == last["label_1"] != ""
    done = hornbeam_here("predict", trees, root)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 3


def test_what_ends_the_walk_says_where_the_answers_are(
    hornbeam_here, trees, pictures, tmp_path, monkeypatch
):
    def ending(root, **_):
        yield from (path.name for path in pictures[:5])
        raise PermissionError(13, "Permission denied", f"{root}/secret")

    monkeypatch.setattr("hornbeam.workflow.asking.walk_pictures", ending)
    out = tmp_path / "a.jsonl"
    done = hornbeam_here("predict", trees, pictures[0].parent, "--out", out, "-b", 2)
    assert done.code == 1
    assert "secret: Permission denied. The answers to the 5 pictures before are in" in done.sentence
    assert str(tmp_path / "a.unfinished.jsonl") in done.sentence
    assert len(rows_of(tmp_path / "a.unfinished.jsonl")) == 5
