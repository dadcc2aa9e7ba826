"""Shards are whole or not there, the same however they came about, and anyone can read them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from hornbeam.config import PrepareOptions, TableOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.pixels.images import decode
from hornbeam.data.shards.prepare import prepare
from hornbeam.data.shards.records import Source
from hornbeam.data.shards.tfrecord import open_prepared
from hornbeam.data.sources import open_dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError


def run(source, out, **options):
    chosen = PrepareOptions(data=str(source), out=out, **({"workers": 1} | options))
    return prepare(open_dataset(str(source), chosen), chosen)


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def only_whole_shards(out: Path) -> bool:
    """Whether every file that is called a shard, not what a kill left half written, is one to its last byte."""
    for path in out.glob("[!.]*.tfrecord"):
        for _ in Source(str(path)).records():
            pass
    return True


@pytest.fixture
def split_folders(folders):
    return folders({
        f"{split}/{name}/{i}.{kind}": shade
        for split, count in (("train", 5), ("val", 2), ("test", 2))
        for name, shade in (("cat", 40), ("dog", 200))
        for i, kind in zip(range(count), ("jpg", "png", "webp", "bmp", "jpg"), strict=False)
    })  # fmt: skip


def test_bytes_labels_and_splits_pass_through(split_folders, tmp_path):
    done = run(split_folders, tmp_path / "out", examples_per_shard=4)
    assert (done.examples, done.shards, done.written, done.skipped) == (18, 4, 4, {})
    before = open_dataset(str(split_folders), PrepareOptions(data="x", out="y"))
    after = open_prepared(tmp_path / "out")
    assert after.tasks == before.tasks
    assert after.splits == ("train", "validation", "test")

    def rows(dataset):
        labels = dataset.labels(dataset.tasks[0])
        return {
            path: (split, int(label), dataset.read(row))
            for row, (path, split, label) in enumerate(
                zip(dataset.paths, dataset.table["split"].to_pylist(), labels, strict=True)
            )
        }

    assert rows(after) == rows(before)
    description = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert description["splits"] == {"train": 10, "validation": 4, "test": 4}
    assert description["tasks"][0]["counts"]["test"] == {"cat": 2, "dog": 2}


def test_tensorflow_reads_the_shards(split_folders, tmp_path):
    out = tmp_path / "out"
    run(split_folders, out)
    files = sorted(map(str, out.glob("train-*")))
    assert [Path(file).name for file in files] == ["train-00000-of-00001.tfrecord"]
    keys = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/format": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
        "image/height": tf.io.FixedLenFeature([], tf.int64),
        "image/width": tf.io.FixedLenFeature([], tf.int64),
        "image/channels": tf.io.FixedLenFeature([], tf.int64),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
    }
    seen = 0
    for serialized in tf.data.TFRecordDataset(files):
        example = {k: v.numpy() for k, v in tf.io.parse_single_example(serialized, keys).items()}
        path = split_folders / example["image/filename"].decode()
        assert example["image/encoded"] == path.read_bytes()
        assert example["image/class/text"].decode() == path.parent.name
        assert example["image/class/label"] == ("cat", "dog").index(path.parent.name)
        assert (example["image/height"], example["image/width"]) == (24, 32)
        expected = {"jpg": b"JPEG", "png": b"PNG", "webp": b"WEBP", "bmp": b"BMP"}
        assert example["image/format"] == expected[path.suffix[1:]]
        if example["image/format"] != b"WEBP":
            pixels = tf.io.decode_image(example["image/encoded"], channels=3).numpy()
            assert pixels.shape == (24, 32, example["image/channels"])
        seen += 1
    assert seen == 10


def test_tasks_and_several_labels_have_keys_of_their_own(folders, tmp_path):
    root = folders({"1.png": 1, "2.png": 2})
    tasks = {
        Task("kind", ("cat", "dog")): [0, 1],
        Task("size", ("big", "small")): [1, 0],
        Task("tags", ("wet", "old", "red"), multi_label=True): [[2, 0], []],
    }
    dataset = Dataset.from_columns(root, ["1.png", "2.png"], ["train"] * 2, tasks)
    out = tmp_path / "out"
    prepare(dataset, PrepareOptions(data=str(root), out=out, workers=1))
    after = open_prepared(out)
    assert after.tasks == tuple(tasks)
    order = [after.paths.index(name) for name in ("1.png", "2.png")]
    assert after.labels(after.tasks[1])[order].tolist() == [1, 0]
    assert after.labels(after.tasks[2])[order].tolist() == [[True, False, True], [False] * 3]
    keys = {
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/kind/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/size/text": tf.io.FixedLenFeature([], tf.string),
        "image/class/tags/label": tf.io.VarLenFeature(tf.int64),
        "image/class/tags/text": tf.io.VarLenFeature(tf.string),
    }
    [shard] = out.glob("*.tfrecord")
    found = [tf.io.parse_single_example(s, keys) for s in tf.data.TFRecordDataset(str(shard))]
    first = found[order[0]]
    assert (first["image/class/label"], first["image/class/kind/label"]) == (0, 0)
    assert first["image/class/size/text"] == b"small"
    assert first["image/class/tags/label"].values.numpy().tolist() == [2, 0]
    assert first["image/class/tags/text"].values.numpy().tolist() == [b"red", b"wet"]
    assert found[order[1]]["image/class/tags/label"].values.numpy().tolist() == []


def test_larger_pictures_are_shrunk_upright_and_smaller_jpegs_left_alone(tmp_path):
    root = tmp_path / "pictures"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    ramp = np.linspace(0, 255, 400 * 300 * 3).reshape(300, 400, 3).astype(np.uint8)
    picture = Image.fromarray(ramp)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(root / "a" / "turned.jpg", exif=exif, quality=95)
    picture.resize((60, 40)).save(root / "a" / "small.jpg", exif=exif)
    picture.resize((60, 40)).save(root / "b" / "small.png")
    picture.save(root / "b" / "large.png")
    run(root, tmp_path / "out", shorter_side=64)
    after = open_prepared(tmp_path / "out")
    read = {path: after.read(row) for row, path in enumerate(after.paths)}
    assert read["a/small.jpg"] == (root / "a" / "small.jpg").read_bytes()
    assert all(data.startswith(b"\xff\xd8\xff") for data in read.values())
    shapes = {path: decode(data).shape[:2] for path, data in read.items()}
    assert shapes == {"a/turned.jpg": (85, 64), "a/small.jpg": (60, 40), "b/small.png": (40, 60),
                      "b/large.png": (64, 85)}  # fmt: skip
    sizes = zip(
        after.table["image/height"].to_pylist(), after.table["image/width"].to_pylist(), strict=True
    )
    assert dict(zip(after.paths, sizes, strict=True)) == shapes
    reference = np.asarray(picture.resize((85, 64), Image.Resampling.BOX), float)
    assert np.abs(decode(read["b/large.png"]) - reference).mean() < 2


def test_what_is_transparent_lies_on_white_in_a_smaller_picture_too(tmp_path):
    clear = np.zeros((40, 40, 4), np.uint8)
    clear[:20] = (200, 30, 30, 255)
    options = PrepareOptions(data=str(tmp_path), out=tmp_path / "out", workers=1, shorter_side=20)
    items = {"train": [(clear, "a"), (clear, "b")]}
    prepare(open_dataset(None, options, examples=items.get), options)
    found = decode(open_prepared(tmp_path / "out").read(0))
    assert found[18].min() > 235
    assert np.abs(found[2].astype(int) - (200, 30, 30)).max() < 40


def test_examples_are_shuffled_by_the_seed_and_spread_evenly(folders, tmp_path):
    root = folders({f"{name}/{i}.png": i for name in ("a", "b") for i in range(50)})
    run(root, tmp_path / "0", shards=4)
    run(root, tmp_path / "1", shards=4, seed=1)
    run(root, tmp_path / "0b", shards=4)
    assert content(tmp_path / "0") == content(tmp_path / "0b")
    after, other = open_prepared(tmp_path / "0"), open_prepared(tmp_path / "1")
    assert sorted(after.paths) == sorted(other.paths)
    assert after.paths != other.paths
    counts = after.table.group_by("shard").aggregate([("label", "sum"), ("label", "count")])
    assert counts["label_count"].to_pylist() == [25] * 4
    assert all(5 <= b <= 20 for b in counts["label_sum"].to_pylist())


@pytest.mark.parametrize("options", [{"workers": 3}, {"workers": 2, "threads": 4}])
def test_processes_and_threads_change_nothing(shapes, tmp_path, options):
    run(shapes, tmp_path / "one", examples_per_shard=8)
    run(shapes, tmp_path / "more", examples_per_shard=8, **options)
    assert content(tmp_path / "one") == content(tmp_path / "more")


def test_parts_equal_one(shapes, tmp_path):
    run(shapes, tmp_path / "one", examples_per_shard=8)
    for part, missing in (("3/3", 6), ("1/3", 3), ("2/3", 0)):
        done = run(shapes, tmp_path / "parts", examples_per_shard=8, part=part)
        assert done.missing == missing
        assert (tmp_path / "parts" / "dataset.json").exists() == (not missing)
    assert content(tmp_path / "one") == content(tmp_path / "parts")


def test_shards_can_be_prepared_again_from_shards(shapes, tmp_path):
    run(shapes, tmp_path / "first", examples_per_shard=8)
    run(tmp_path / "first", tmp_path / "second", shards=2)
    first, second = open_prepared(tmp_path / "first"), open_prepared(tmp_path / "second")
    order = [first.paths.index(path) for path in second.paths]
    assert [first.read(row) for row in order] == [second.read(r) for r in range(len(second))]


def test_all_is_reused_at_once(shapes, tmp_path, monkeypatch):
    run(shapes, tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    monkeypatch.setattr(
        "hornbeam.data.shards.prepare._write", lambda *_: pytest.fail("written again")
    )
    done = run(shapes, tmp_path / "out", workers=2, threads=3)
    assert (done.written, done.examples) == (0, 72)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_other_settings_or_pictures_are_refused_and_named(folders, tmp_path):
    root = folders({"a/1.png": 1, "b/2.png": 2})
    out = tmp_path / "out"
    run(root, out)
    for options, words in (
        ({"shorter_side": 16}, "--shorter-side was none and is 16. Give"),
        ({"seed": 3, "shards": 2}, "--shards was none and is 2; .*--seed was 0 and is 3"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(root, out, **options)
    Image.new("RGB", (9, 9)).save(root / "a" / "1.png")
    with pytest.raises(ConfigError, match="from other pictures, labels or splits"):
        run(root, out)


def test_a_directory_of_something_else_is_left_alone(folders, tmp_path):
    root = folders({"a/1.png": 1, "b/2.png": 2})
    with pytest.raises(ConfigError, match="is not empty, and not a directory"):
        run(root, root)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        run(root, tmp_path / "file")
    assert sorted(content(root)) == ["a/1.png", "b/2.png"]


def test_a_lost_or_shortened_shard_is_written_again(shapes, tmp_path):
    out = tmp_path / "out"
    run(shapes, out, examples_per_shard=8)
    whole = content(out)
    first, second, *_ = sorted(out.glob("*.tfrecord"))
    first.unlink()
    os.truncate(second, 100)
    assert run(shapes, out, examples_per_shard=8).written == 2
    assert content(out) == whole


def test_a_damaged_shard_and_a_bad_picture_can_both_be_mended(folders, tmp_path):
    root, out = folders({"a/1.png": 1, "b/2.png": 2}), tmp_path / "out"
    run(root, out)
    whole, picture = content(out), root / "a" / "1.png"
    good = picture.read_bytes()
    [shard] = out.glob("*.tfrecord")
    os.truncate(shard, 10)
    picture.write_bytes(bytes(len(good)))
    with pytest.raises(DataError, match=r"1\.png: .*--on-bad skip"):
        run(root, out)
    picture.write_bytes(good)
    assert run(root, out).written == 1
    assert content(out) == whole


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_no_picture_stops_or_is_left_out(folders, tmp_path, workers):
    files = {f"{name}/{i}.png": i for name in ("a", "b") for i in range(6)}
    root = folders(files | {"a/bad.jpg": b"<html>", "b/empty.jpg": b""})
    with pytest.raises(DataError, match=r"(bad|empty)\.jpg: .*--on-bad skip"):
        run(root, tmp_path / "out", shards=2, workers=workers)
    done = run(root, tmp_path / "out", shards=2, workers=workers, on_bad="skip")
    assert done.examples == 12
    assert sorted(done.skipped) == ["a/bad.jpg", "b/empty.jpg"]
    assert done.skipped["b/empty.jpg"] == "the file is empty."
    assert run(root, tmp_path / "out", shards=2).skipped == done.skipped
    assert len(open_prepared(tmp_path / "out")) == 12


def test_a_picture_of_too_many_pixels_is_refused_unread(folders, tmp_path):
    root = folders({"a/1.png": 1, "b/2.png": 2})
    with pytest.raises(DataError, match="24x32 pixels, more than --max-pixels 700"):
        run(root, tmp_path / "out", max_pixels=700)


# Real processes, as a user starts them, killed at any time.


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Pictures that take a second or more to prepare, whatever else the machine does."""
    root = tmp_path_factory.mktemp("pictures") / "many"
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (800, 800, 3), np.uint8)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for i in range(80):
            Image.fromarray(np.roll(noise, i, 0)).save(root / name / f"{i}.jpg", quality=85)
    return root


def start(source, out, *words):
    command = [sys.executable, "-m", "hornbeam", "prepare", source, out, "--examples-per-shard", 8,
               "--shorter-side", 700, "--workers", 2, *words]  # fmt: skip
    return subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(process):
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def wait_until(condition, process=None, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.communicate()}")
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def workers_of(process):
    """The processes that write: not multiprocessing's resource tracker."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [c for c in children if any("spawn_main" in word for word in c.cmdline())]
    except psutil.Error:
        return []


def caught(source, out, moment):
    """Start, and stop all of its processes in the midst of their work; one that was quicker is repeated."""
    for _ in range(20):
        process = start(source, out)
        wait_until(lambda process=process: process.poll() is not None or moment(process))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGSTOP)
            if len(workers_of(process)) == 2 and not (out / "dataset.json").exists():
                return process
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        shutil.rmtree(out, ignore_errors=True)
    return pytest.fail("it is too quick for this test")


def go_on(process):
    os.killpg(process.pid, signal.SIGCONT)


def shards_of(out):
    return list(out.glob("*.tfrecord"))


def all_gone(processes):
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_killed_at_any_time_the_parent_leaves_whole_shards_and_no_process(many, tmp_path):
    run(many, tmp_path / "one", examples_per_shard=8, shorter_side=700)
    out, kills, rng = tmp_path / "out", 0, random.Random(0)
    for _ in range(40):
        process = start(many, out)
        target = len(shards_of(out)) + 5
        wait_until(
            lambda target=target, process=process: (
                process.poll() is not None or len(shards_of(out)) >= target
            )
        )
        time.sleep(rng.uniform(0, 0.05))
        left = workers_of(process)
        process.kill()
        process.communicate()
        wait_until(lambda left=left: all_gone(left))
        assert only_whole_shards(out)
        if not (out / "dataset.json").exists():
            kills += 1
        elif kills < 3:  # it was quicker than we
            shutil.rmtree(out)
        else:
            break
    assert kills >= 3
    finish(start(many, out))
    assert content(out) == content(tmp_path / "one")


def test_a_killed_worker_is_a_sentence_and_what_is_finished_is_kept(many, tmp_path):
    out = tmp_path / "out"
    process = caught(many, out, lambda process: len(shards_of(out)) >= 3)
    workers = workers_of(process)
    workers[0].kill()
    go_on(process)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(err.strip().splitlines()) == 1, err
    assert "was killed (signal 9)" in err
    assert all_gone(workers)
    assert not list(out.rglob(".part-*"))
    assert only_whole_shards(out)
    kept = {p: p.stat().st_mtime_ns for p in out.glob("*.tfrecord") if
            (out / "index" / f"{p.stem}.parquet").exists()}  # fmt: skip
    assert kept
    finish(start(many, out))
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


@pytest.mark.parametrize("moment", ["start", "middle"])
def test_ctrl_c_leaves_neither_processes_nor_half_shards(many, tmp_path, moment):
    out = tmp_path / "out"
    if moment == "start":
        process = caught(many, out, lambda process: len(workers_of(process)) == 2)
    else:
        process = caught(many, out, lambda process: len(shards_of(out)) >= 2)
    workers = workers_of(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    go_on(process)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == "hornbeam: stopped by Ctrl-C."
    wait_until(lambda: all_gone(workers))
    assert not list(out.rglob(".part-*"))
    assert only_whole_shards(out)


def test_a_second_process_is_told_of_the_first(many, tmp_path):
    out = tmp_path / "out"
    first = caught(many, out, lambda process: any(shards_of(out)))
    second = start(many, out)
    _, err = second.communicate(timeout=120)
    assert second.returncode == 2
    assert "Another `hornbeam prepare` is writing" in err
    go_on(first)
    finish(first)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_a_sentence_and_costs_nothing(
    shapes, hornbeam, small_disk, tmp_path, workers
):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(900_000))
    words = ("prepare", shapes, small_disk / "out", "--examples-per-shard", 8, "--workers", workers)
    done = hornbeam(*words)
    assert done.code == 1
    assert "No space left on device" in done.sentence
    assert "the same command continues" in done.sentence
    kept = {p: p.stat().st_mtime_ns for p in (small_disk / "out").glob("*.tfrecord")}
    assert kept
    assert only_whole_shards(small_disk / "out")
    assert not list((small_disk / "out").rglob(".part-*"))
    filler.unlink()
    assert hornbeam(*words).code == 0
    finished = {p for p in kept if p.stat().st_mtime_ns == kept[p]}
    assert len(finished) >= len(kept) - 1  # the index of one may not have fitted
    run(shapes, tmp_path / "one", examples_per_shard=8)
    assert content(small_disk / "out") == content(tmp_path / "one")


def test_the_command_says_what_it_did(hornbeam, shapes, tmp_path):
    words = ("prepare", shapes, tmp_path / "out", "--part")
    assert "Part 1/2 of" in hornbeam(*words, "1/2", "--shards", 2).out
    assert "72 pictures are in 2 shards" in hornbeam(*words, "2/2", "--shards", 2).out
    assert "72 pictures were already in 2 shards" in hornbeam(*words, "1/2", "--shards", 2).out
    assert "--part should be i/n" in hornbeam(*words, "3/2").sentence


def test_a_damaged_index_is_made_again(shapes, tmp_path):
    run(shapes, tmp_path / "out")
    whole = content(tmp_path / "out")
    (tmp_path / "out" / "index.parquet").write_bytes(b"PAR1")
    (tmp_path / "out" / "dataset.json").write_text("{")
    run(shapes, tmp_path / "out")
    assert content(tmp_path / "out") == whole
    assert pq.read_table(tmp_path / "out" / "index.parquet").schema.field("label").type == (
        pa.dictionary(pa.int32(), pa.string())
    )


def test_workers_import_neither_keras_nor_grain():
    code = (
        "import sys, hornbeam.data.shards.shard_writers; "
        "assert not {'keras', 'tensorflow', 'jax', 'grain', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_pattern_of_our_shards_is_read_by_their_index(folders, tmp_path):
    pictures = folders({f"{c}/{i}.jpg": i for c in "ab" for i in range(4)})
    table = tmp_path / "m.csv"
    rows = [f"pictures/{c}/{i}.jpg,{c},{i % 2}" for c in "ab" for i in range(4)]
    table.write_text("path,letter,parity\n" + "\n".join(rows))
    options = PrepareOptions(
        data=str(table), out=tmp_path / "out", label_columns="letter,parity", workers=1, shards=2
    )
    prepare(open_dataset(str(table), options), options)
    some = open_dataset(str(tmp_path / "out" / "*-00000-of-*"), TableOptions())
    whole = open_dataset(str(tmp_path / "out"), TableOptions())
    assert [task.name for task in some.tasks] == ["letter", "parity"]
    assert 0 < len(some) < len(whole) == 8
    assert some.read(0) == (pictures.parent / some.paths[0]).read_bytes()
