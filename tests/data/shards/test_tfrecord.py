"""Records are read as TensorFlow writes them; a damaged file is a sentence, whatever the damage."""

import contextlib
import gzip
import os
import pickle
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hornbeam.config import TableOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.shards import tfexample
from hornbeam.data.shards.foreign import infer_split
from hornbeam.data.shards.records import OVERHEAD, Damaged, Source, write_record
from hornbeam.data.shards.tfrecord import Shards, scan_shards
from hornbeam.errors import ConfigError, DataError

OPTIONS = TableOptions()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))


def write(path, payloads):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for payload in payloads:
            write_record(file, payload)
    return str(path)


def by_tensorflow(path, examples):
    """Write examples with TensorFlow's own writer: `{key: value}` each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for example in examples:
            feature = {}
            for key, value in example.items():
                values = value if isinstance(value, list) else [value]
                if isinstance(values[0], bytes):
                    feature[key] = tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
                else:
                    feature[key] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
            )
    return str(path)


def slim(picture, label):
    return {"image/encoded": picture, "image/format": b"jpg", "image/class/label": label,
            "image/height": 24, "image/width": 32}  # fmt: skip


def model_garden(picture, label, text, name):
    return slim(picture, label) | {"image/class/text": text, "image/filename": name}


def opened(table):
    return Dataset("", table, (), Shards())


def read_all(path):
    return [bytes(record.payload) for record in Source(str(path)).records()]


def test_our_records_are_those_of_tensorflow(tmp_path):
    payloads = [b"", b"a", b"picture" * 1000, bytes(range(256))]
    ours = write(tmp_path / "ours", payloads)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in payloads:
            writer.write(payload)
    assert Path(ours).read_bytes() == (tmp_path / "theirs").read_bytes()
    assert read_all(tmp_path / "theirs") == payloads
    assert list(tf.data.TFRecordDataset(ours).as_numpy_iterator()) == payloads


def test_our_examples_are_those_of_tensorflow_in_the_same_process():
    data = tfexample.encode({"b": b"x", "i": [3, -1], "none": []})
    example = tf.train.Example.FromString(data)
    assert example.features.feature["b"].bytes_list.value[0] == b"x"
    assert list(example.features.feature["i"].int64_list.value) == [3, -1]
    theirs = tfexample.parse(example.SerializeToString())
    assert tfexample.numbers(theirs, "i") == [3, -1]
    assert tfexample.numbers(theirs, "none") == tfexample.numbers(theirs, "missing") == []


def test_shards_with_the_keys_of_model_garden_are_read(tmp_path):
    files = [
        by_tensorflow(
            tmp_path / f"flowers_{split}_0000{i}-of-00002.tfrecord",
            [model_garden(b"%d" % i, i + 5, text, b"%d.jpg" % i)],
        )
        for i, (split, text) in enumerate((("train", b"rose"), ("validation", b"daisy")))
    ]
    table, classes = scan_shards(files, OPTIONS)
    assert classes == ("rose", "daisy")  # in the order of their numbers
    assert table["label"].to_pylist() == ["rose", "daisy"]
    assert table["split"].to_pylist() == ["train", "validation"]
    assert table["path"].to_pylist() == ["0.jpg", "1.jpg"]
    assert [opened(table).read(row) for row in range(2)] == [b"0", b"1"]


def test_shards_with_the_keys_of_slim_are_read_by_the_labels_beside_them(tmp_path):
    file = by_tensorflow(tmp_path / "x.tfrecord", [slim(b"a", 2), slim(b"b", 1)])
    (tmp_path / "labels.txt").write_text("0:daisy\n1:rose\n2:tulip\n")
    table, classes = scan_shards([file], OPTIONS)
    assert classes == ("daisy", "rose", "tulip")
    assert table["label"].to_pylist() == ["tulip", "rose"]
    assert table["path"].to_pylist() == ["x.tfrecord#0", "x.tfrecord#1"]


def test_numbers_without_a_0_count_from_1(tmp_path):
    file = by_tensorflow(tmp_path / "t", [slim(b"a", 1), slim(b"b", 2)])
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    options = TableOptions(labels_file=tmp_path / "names.txt")
    assert scan_shards([file], options)[0]["label"].to_pylist() == ["cat", "dog"]
    from_0 = by_tensorflow(tmp_path / "u", [slim(b"a", 0), slim(b"b", 1)])
    assert scan_shards([from_0], options)[0]["label"].to_pylist() == ["cat", "dog"]
    background = TableOptions(labels_file=tmp_path / "names.txt", background_class=True)
    table, classes = scan_shards([from_0], background)
    assert table["label"].to_pylist() == ["background", "cat"]
    assert classes == ("cat", "dog")


def test_numbers_that_may_count_from_0_or_1_are_warned_of(tmp_path, capsys):
    file = by_tensorflow(tmp_path / "t", [slim(b"a", 1), slim(b"b", 2)])
    (tmp_path / "names.txt").write_text("cat\ndog\nfox\n")
    scan_shards([file], TableOptions(labels_file=tmp_path / "names.txt"))
    assert "1 is 'cat'" in capsys.readouterr().err


def test_numbers_without_names_are_names(tmp_path):
    file = by_tensorflow(tmp_path / "t", [slim(b"a", 10), slim(b"b", 9)])
    table, classes = scan_shards([file], OPTIONS)
    assert classes == ("9", "10")
    assert table["label"].to_pylist() == ["10", "9"]


def test_a_number_beyond_the_labels_file_is_refused(tmp_path):
    file = by_tensorflow(tmp_path / "t", [slim(b"a", 0), slim(b"b", 7)])
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"t, record at byte \d+: the label is 7, .* has 2 classes"):
        scan_shards([file], TableOptions(labels_file=tmp_path / "names.txt"))
    with pytest.raises(ConfigError, match=r"missing\.txt"):
        scan_shards([file], TableOptions(labels_file=tmp_path / "missing.txt"))


def test_texts_in_some_records_and_numbers_in_the_others_are_refused(tmp_path):
    named = {"image/encoded": b"x", "image/class/text": b"cat"}
    file = by_tensorflow(tmp_path / "t", [slim(b"a", 1), named])
    with pytest.raises(DataError, match=r"t, record at byte [1-9]\d*: .* no 'image/class/label'"):
        scan_shards([file], OPTIONS)


def test_several_labels_in_a_record_make_lists(tmp_path):
    both = {"image/encoded": b"x", "image/class/label": [1, 0], "image/class/text": [b"b", b"a"]}
    file = by_tensorflow(tmp_path / "t", [both, model_garden(b"y", 0, b"a", b"y")])
    table, classes = scan_shards([file], OPTIONS)
    assert table["label"].type == pa.list_(pa.string())
    assert table["label"].to_pylist() == [["b", "a"], ["a"]]
    assert classes == ("a", "b")


def test_two_classes_of_one_name_stay_two(tmp_path):
    # ImageNet: crane the bird, 134, and crane the machine, 517.
    examples = [model_garden(b"x", n, b"crane", b"%d" % n) for n in (517, 134)]
    table, classes = scan_shards([by_tensorflow(tmp_path / "t", examples)], OPTIONS)
    assert classes == ("crane (134)", "crane (517)")
    assert table["label"].to_pylist() == ["crane (517)", "crane (134)"]


def test_a_number_with_two_names_is_refused(tmp_path):
    examples = [model_garden(b"x", 1, b"cat", b"1"), model_garden(b"x", 1, b"dog", b"2")]
    with pytest.raises(DataError, match="label 1 is 'dog', and 'cat' in a record before"):
        scan_shards([by_tensorflow(tmp_path / "t", examples)], OPTIONS)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ({"image/class/label": 1}, "record 1 at byte .* has no 'image/encoded'"),
        ({"image/encoded": [b"a", b"b"], "image/class/label": 1}, "record 1 .* 2 values"),
        ({"image/encoded": b"a"}, "neither 'image/class/label' nor"),
        ({"image/encoded": b"a", "image/class/text": b"\xff"}, "record 1 .* not UTF-8"),
    ],
)
def test_an_example_without_what_is_needed_is_named(tmp_path, example, words):
    file = by_tensorflow(tmp_path / "t", [slim(b"x", 1), example])
    with pytest.raises(DataError, match=words):
        scan_shards([file], OPTIONS)


def test_a_scan_is_kept_until_the_file_changes(tmp_path, monkeypatch):
    file = by_tensorflow(tmp_path / "t", [slim(b"x", 0), slim(b"y", 1)])
    first, _ = scan_shards([file], OPTIONS)
    with monkeypatch.context() as patched:
        patched.setattr(
            "hornbeam.data.shards.foreign._examples", lambda location: pytest.fail("read again")
        )
        assert scan_shards([file], OPTIONS)[0].equals(first)
    by_tensorflow(tmp_path / "t", [slim(b"x", 0), slim(b"y", 1), slim(b"z", 1)])
    assert len(scan_shards([file], OPTIONS)[0]) == 3


@pytest.mark.parametrize(
    ("location", "split"),
    [
        ("train-00000-of-01024", "train"),
        ("a/flowers_validation_00001-of-00005.tfrecord", "validation"),
        ("s3://bucket/val-0.tfrecord", "validation"),
        ("x/test/part-3.tfrecord", "test"),
        ("x/part-3.tfrecord", ""),
        ("train_and_test.tfrecord", ""),
        ("trains-0.tfrecord", ""),
    ],
)
def test_the_split_is_inferred_from_the_name(location, split):
    assert infer_split(location) == split


def shard_of(tmp_path, count=3):
    payloads = [tfexample.encode(slim(b"%d" % i, i)) for i in range(count)]
    file = write(tmp_path / "train-0", payloads)
    return file, scan_shards([file], OPTIONS)[0]


def test_a_file_cut_at_any_byte_is_a_sentence_or_fewer_records(tmp_path):
    file, table = shard_of(tmp_path)
    whole = Path(file).read_bytes()
    between = {0, *table["offset"].to_pylist()}
    cut = tmp_path / "cut"
    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        if size in between:
            assert len(read_all(cut)) == table["offset"].to_pylist().index(size)
        else:
            with pytest.raises(
                DataError, match=rf"cut, record \d at byte \d+: .*after {size} bytes"
            ):
                read_all(cut)
        # The index knows what should be there, also where the cut is between two records.
        dataset = opened(table.set_column(2, "shard", pa.array([str(cut)] * len(table))))
        for row in range(len(table)):
            end = table["offset"][row].as_py() + table["length"][row].as_py() + OVERHEAD
            if end <= size:
                assert dataset.read(row) == b"%d" % row
            else:
                with pytest.raises(DataError, match=r"cut, record at byte .*the file ends early"):
                    dataset.read(row)


def test_a_flipped_bit_anywhere_is_found(tmp_path):
    file, table = shard_of(tmp_path, 2)
    whole = Path(file).read_bytes()
    dataset = opened(table)
    second = table["offset"][1].as_py()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        Path(file).write_bytes(damaged)
        dataset = opened(table)
        with pytest.raises(DataError, match=r"checksum|not a TFRecord"):
            read_all(file)
        bad = int(place >= second)
        with pytest.raises(
            DataError, match=rf"train-0, record at byte {bad * second} .*: the check"
        ):
            dataset.read(bad)
        assert dataset.read(1 - bad) == b"%d" % (1 - bad)


def test_a_length_beyond_the_file_allocates_nothing(tmp_path):
    import google_crc32c

    length = struct.pack("<Q", 2**62)
    crc = google_crc32c.value(length)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    path = tmp_path / "huge"
    path.write_bytes(length + struct.pack("<I", masked) + b"x" * 100)
    with pytest.raises(DataError, match="record 0 at byte 0: the file ends early"):
        read_all(path)
    with pytest.raises(Damaged):
        Source(str(path)).read(0, 2**62)


def test_a_shard_that_shrinks_while_it_is_open_is_a_sentence(tmp_path):
    file, table = shard_of(tmp_path)
    dataset = opened(table)
    dataset.read(0)
    os.truncate(file, table["offset"][2].as_py() + 5)
    with pytest.raises(DataError, match="the file ends early"):
        dataset.read(2)


def test_compressed_and_other_files_are_told_apart(tmp_path):
    payload = tfexample.encode(slim(b"x", 1))
    (tmp_path / "gz").write_bytes(
        gzip.compress(Path(write(tmp_path / "t", [payload])).read_bytes())
    )
    with pytest.raises(DataError, match="compressed by gzip"):
        read_all(tmp_path / "gz")
    (tmp_path / "jpg").write_bytes(b"\xff\xd8\xff\xe0 and so on and on")
    with pytest.raises(DataError, match="not a TFRecord file"):
        read_all(tmp_path / "jpg")
    # A first record of 0x8b1f bytes begins as gzip does.
    assert read_all(write(tmp_path / "looks", [b"x" * 0x8B1F])) == [b"x" * 0x8B1F]


def test_an_empty_and_a_missing_file_are_sentences(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="no records in"):
        scan_shards([str(tmp_path / "empty")], OPTIONS)
    with pytest.raises(DataError, match="missing: the file cannot be read"):
        scan_shards([str(tmp_path / "missing")], OPTIONS)


def test_an_index_of_another_file_is_noticed(tmp_path):
    file, table = shard_of(tmp_path)
    write(Path(file), [tfexample.encode(slim(b"longer than before", i)) for i in range(3)])
    for row in range(3):
        with pytest.raises(DataError, match=r"another record is there|checksum"):
            opened(table).read(row)


def test_a_reader_serves_threads_more_shards_than_it_keeps_open_and_other_processes(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("hornbeam.data.shards.tfrecord._OPEN_FILES", 2)
    files = [write(tmp_path / f"{i}", [tfexample.encode(slim(b"%d" % i, i))]) for i in range(8)]
    table, _ = scan_shards(files, OPTIONS)
    dataset = opened(table)
    rows = list(range(8)) * 50
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(dataset.read, rows)) == [b"%d" % row for row in rows]
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert pickle.loads(pickle.dumps(dataset)).read(5) == b"5"
    assert dataset.take([7, 3]).read(1) == b"3"


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_whatever_the_bytes_the_data_are_right_or_the_error_is_ours(tmp_path, data):
    payloads = data.draw(st.lists(st.binary(max_size=60), max_size=4))
    path = tmp_path / "fuzz"
    whole = bytearray(Path(write(path, payloads)).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "replace"]))
        place = data.draw(st.integers(0, max(0, len(whole) - 1)))
        if kind == "cut":
            whole = whole[:place]
        elif kind == "insert":
            whole[place:place] = data.draw(st.binary(max_size=20))
        elif kind == "replace":
            whole = bytearray(data.draw(st.binary(max_size=80)))
        elif whole:
            whole[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    read, fault = [], ""
    try:
        for record in Source(str(path)).records():
            read.append(bytes(record.payload))
            # As an example, a payload is anything or Damaged, too.
            with contextlib.suppress(Damaged):
                tfexample.picture(record.payload)
    except DataError as error:
        fault = str(error)
    assert not fault or str(path) in fault
    # Random bytes with two right checksums do not happen.
    assert [payload for payload in read if payload not in payloads] == []


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_a_payload_of_random_bytes_is_an_example_or_damaged(payload):
    try:
        features = tfexample.parse(payload)
        tfexample.texts(features, tfexample.TEXT)
        tfexample.numbers(features, tfexample.LABEL)
        assert (
            tfexample.picture(memoryview(payload))
            == features[tfexample.ENCODED].bytes_list.value[0]
        )
    except Damaged:
        pass


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_example_gives_what_protobuf_finds_in_it(data):
    whole = bytearray(tfexample.encode(model_garden(b"picture" * 30, 3, b"cat", b"c.jpg")))
    for _ in range(data.draw(st.integers(0, 2))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    try:
        values = list(tf.train.Example.FromString(bytes(whole))
                      .features.feature[tfexample.ENCODED].bytes_list.value)  # fmt: skip
    except DecodeError:
        values = None
    try:
        found = [tfexample.picture(memoryview(bytes(whole)))]
    except Damaged:
        assert values is None or len(values) != 1
    else:
        assert values in (found, None)
