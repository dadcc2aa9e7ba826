"""Manifests become datasets; what is wrong with one is said with file, line and column."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.config import TableOptions
from hornbeam.data.sources import open_both, open_dataset
from hornbeam.data.tables.labels import task_name
from hornbeam.data.tables.manifests import read_manifest
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError, HornbeamError


@pytest.fixture
def manifest(tmp_path):
    """Write a file and open it: `manifest("m.csv", text, label_columns=…)`."""

    def make(name, content, tasks=None, **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_dataset(str(path), TableOptions(**options), tasks)

    return make


def answers(dataset):
    """Return paths with the names of their labels."""
    found = {}
    for task in dataset.tasks:
        labels = dataset.labels(task)
        for path, label in zip(dataset.paths, labels, strict=True):
            names = (
                [c for c, mark in zip(task.classes, label, strict=True) if mark]
                if task.multi_label
                else task.classes[label]
            )
            found.setdefault(path, {})[task.name] = names
    return found


PAIRS = {"a/1.jpg": {"label": "cat"}, "b 2.jpg": {"label": "dog"}, "c.jpg": {"label": "cat"}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", "path,label\na/1.jpg,cat\nb 2.jpg,dog\nc.jpg,cat\n"),
        ("windows.csv", "\ufeffpath,label\r\na\\1.jpg,cat\r\nb 2.jpg,dog\r\nc.jpg,cat\r\n"),
        ("excel.csv", "label;path\ncat;a/1.jpg\ndog;b 2.jpg\n\ncat;c.jpg"),
        ("quoted.csv", 'Path,label\n"a/1.jpg","cat"\n"b 2.jpg", dog \nc.jpg,cat\n'),
        ("tabs.tsv", "image\tlabel\na/1.jpg\tcat\nb 2.jpg\tdog\n./c.jpg\tcat\n"),
        ("no-header.csv", "a/1.jpg,cat\nb 2.jpg,dog\nc.jpg,cat\n"),
        ("m.json", '[{"path": "a/1.jpg", "label": "cat"}, {"path": "b 2.jpg", "label": "dog"},'
                   ' {"path": "c.jpg", "label": "cat"}]'),
        ("s4.json", '{"a/1.jpg": "cat", "b 2.jpg": "dog", "x/../c.jpg": "cat"}'),
        ("m.jsonl", '{"file": "a/1.jpg", "label": "cat"}\n\n{"file": "b 2.jpg", "label": "dog"}\n'
                    '{"file": "c.jpg", "label": "cat"}'),
        ("m.txt", "a/1.jpg cat\nb 2.jpg dog\n\nc.jpg   cat\n"),
        ("tab.txt", "a/1.jpg\tcat\r\nb 2.jpg\tdog\r\nc.jpg\tcat"),
    ],
)  # fmt: skip
def test_every_kind_of_manifest_says_the_same(manifest, name, content):
    assert answers(manifest(name, content)) == PAIRS


def test_parquet_says_the_same_with_dictionaries_numbers_and_lists(tmp_path):
    path = tmp_path / "m.parquet"
    table = pa.table({
        "image": list(PAIRS), "kind": pa.array(["cat", "dog", "cat"]).dictionary_encode(),
        "size": [1, 2, 1], "tags": [["x", "y"], [], ["y"]], "split": ["train", "val", "test"],
    })  # fmt: skip
    pq.write_table(table, path)
    dataset = open_dataset(str(path), TableOptions(label_columns="kind,size,tags"))
    assert answers(dataset)["a/1.jpg"] == {"kind": "cat", "size": "1", "tags": ["x", "y"]}
    assert [task.multi_label for task in dataset.tasks] == [False, False, True]
    assert dataset.splits == ("train", "validation", "test")


def test_several_columns_become_several_tasks(manifest):
    text = "image,colour,shape,split\n1.jpg,red,round,train\n2.jpg,blue,long,Valid\n"
    dataset = manifest("m.csv", text, label_columns=("colour", "shape"))
    assert [task.classes for task in dataset.tasks] == [("blue", "red"), ("long", "round")]
    assert dataset.splits == ("train", "validation")


def test_a_separator_inside_a_cell_makes_many_labels(manifest):
    dataset = manifest(
        "m.csv", "path,tags\n1.jpg,cat| dog\n2.jpg,\n3.jpg,dog|\n", label_separator="|"
    )
    assert answers(dataset) == {
        "1.jpg": {"tags": ["cat", "dog"]}, "2.jpg": {"tags": []}, "3.jpg": {"tags": ["dog"]},
    }  # fmt: skip


def test_lists_in_json_make_many_labels_and_one_name_is_a_list_of_one(manifest):
    dataset = manifest("m.json", '{"1.jpg": ["cat", "dog"], "2.jpg": "dog", "3.jpg": []}')
    assert answers(dataset)["2.jpg"] == {"label": ["dog"]}
    assert answers(dataset)["3.jpg"] == {"label": []}


def test_numbers_are_class_names_in_natural_order_or_places_in_a_labels_file(manifest, tmp_path):
    text = "1.jpg 10\n2.jpg 2\n3.jpg 1\n"
    assert manifest("m.txt", text).tasks[0].classes == ("1", "2", "10")
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"name{i}\n" for i in range(12)))
    dataset = manifest("m.txt", text, labels_file=labels)
    assert answers(dataset)["1.jpg"] == {"label": "name10"}
    arabic = manifest("m.txt", "1.jpg \u0661\n2.jpg 03\n", labels_file=labels)
    assert [answers(arabic)[path]["label"] for path in arabic.paths] == ["name1", "name3"]


def test_a_labels_file_fixes_the_order_and_background_comes_before_it(manifest, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\ncat\nowl\n")
    text = "1.jpg cat\n2.jpg dog\n"
    dataset = manifest("m.txt", text, labels_file=labels, background_class=True, num_classes=4)
    assert dataset.tasks[0].classes == ("background", "dog", "cat", "owl")
    assert answers(dataset)["1.jpg"] == {"label": "cat"}


def test_groups_and_splits_come_from_columns(manifest):
    text = "path,label,patient,part\n1.jpg,a,p1,train\n2.jpg,b,p2,\n"
    dataset = manifest("m.csv", text, group_column="patient", split_column="part")
    assert dataset.table["group"].to_pylist() == ["p1", "p2"]
    assert dataset.table["split"].to_pylist() == ["train", ""]


CSV = "path,label\n1.jpg,cat\n2.jpg,dog\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "error", "words"),
    [
        ("m.csv", "path,labell,size\n1.jpg,a,3\n", {}, ConfigError, "which column has the labels.*'labell'.*--label-columns"),
        ("m.csv", CSV, {"image_column": "pth"}, ConfigError, r"--image-column pth: .*m.csv has no such column.*Did you mean 'path'"),
        ("m.csv", "id,label\n1,a\n", {}, ConfigError, "which column has the pictures' paths"),
        ("m.csv", CSV, {"label_columns": ("label", "label")}, ConfigError, "twice"),
        ("m.csv", "path,label\n1.jpg,cat\n2.jpg\n", {}, DataError, "m.csv, line 3, column 1: 1 cells"),
        ("m.csv", "path,label\n1.jpg,cat\n2.jpg,a,b\n", {}, DataError, "line 3, column 2: 3 cells; the first line has 2"),
        ("m.csv", "path,label\n\n1.jpg,cat\n\n2.jpg, \n", {}, DataError, "m.csv, line 5, column 'label': the label is empty"),
        ("m.csv", 'path,label\n"1.jpg,cat\n2.jpg,dog\n', {}, DataError, "line 2.*Is a quote missing"),
        ("m.csv", "path,label\n1.jpg,cat\n,dog\n", {}, DataError, "line 3, column 'path': the path is empty"),
        ("m.csv", "path,label,label\n1.jpg,a,b\n", {}, DataError, "line 1, column 3: a second column 'label'"),
        ("m.csv", "path,label\n1.jpg,cat\n1.jpg,dog\n", {}, DataError, "line 3.*'1.jpg' stands already in .*line 2"),
        ("m.csv", "path,label,split\n1.jpg,cat,trian\n2.jpg,b,\n", {}, DataError, "line 2, column 'split': 'trian' is no split.*Did you mean 'train'"),
        ("m.csv", b"path,label\n1.jpg,caf\xe9\n", {}, DataError, "line 2, column 10: not UTF-8"),
        ("m.csv", "path,label\n1.jpg,a\n".encode("utf-16"), {}, DataError, "UTF-16"),
        ("m.csv", "", {}, DataError, "is empty"),
        ("m.csv", "path,label\n", {}, DataError, "has no rows"),
        ("m.csv", "\n\npath,label\n1.jpg,a\n", {}, DataError, "line 1: the line is empty"),
        ("m.csv", "path,a b,a-b\n1.jpg,x,y\n", {"label_columns": ("a b", "a-b")}, DataError,
         "'a b' and 'a-b' would both be the task 'a_b'"),
        ("m.csv", "path,label\n1.jpg,a\n2.jpg,\n3.jpg,\n", {}, DataError, r"line 3.*\(1 more row has none"),
        ("m.json", "[]", {}, DataError, "m.json has no rows"),
        ("m.csv", "path,label\n1.jpg,a\n2.jpg,a\n", {}, DataError, "one class, 'a'"),
        ("m.csv", "path,label\n../1.jpg,a\n2.jpg,b\n", {}, DataError, "line 2.*outside the manifest's folder.*--allow-outside"),
        ("m.csv", "path,label\nx/../../1.jpg,a\n2.jpg,b\n", {}, DataError, "outside the manifest's folder"),
        ("m.csv", "path,label\n/etc/1.jpg,a\n2.jpg,b\n", {}, DataError, "outside the manifest's folder"),
        ("m.csv", "path,label\n1.jpg,a\nhttp://h/2.jpg,b\n", {}, DataError, "line 3.*outside the manifest's folder"),
        ("m.csv", "path,label\n..\\1.jpg,a\n2.jpg,b\n", {}, DataError, "outside the manifest's folder"),
        ("m.csv", b"path,label\n1\x00.jpg,a\n2.jpg,b\n", {}, DataError, "control character"),
        ("m.csv", CSV, {"num_classes": 5}, ConfigError, "--num-classes is 5, but .* has 2 classes"),
        ("m.json", '[{"path": "1.jpg", "label": "a"},\n {"path": }]', {}, DataError, r"m.json, line 2, column \d+: this is not JSON"),
        ("m.json", '{"1.jpg": "a", "1.jpg": "b"}', {}, DataError, "'1.jpg' stands there twice"),
        ("m.json", "3", {}, DataError, "expected a list of records"),
        ("m.json", '[{"path": "1.jpg", "label": "a"}, 7]', {}, DataError, "record 2: expected a record, found '7'"),
        ("m.json", '[{"path": "1.jpg", "label": {"x": 1}}]', {}, DataError, "record 1, column 'label': expected text or a number"),
        ("m.json", "[" * 100_000, {}, DataError, "nested too deeply|not JSON"),
        ("m.jsonl", '{"path": "1.jpg", "label": "a"}\n{"path"', {}, DataError, "m.jsonl, line 2, column 8: this is not JSON"),
        ("m.parquet", b"PAR1 nonsense", {}, DataError, "no whole Parquet file"),
        ("m.txt", "1.jpg cat\nalone\n", {}, DataError, "m.txt, line 2: expected `path label`, found 'alone'"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_manifest_is_said_with_its_place(
    manifest, name, content, options, error, words
):
    with pytest.raises(error, match=words) as caught:
        manifest(name, content, **options)
    assert "\n" not in str(caught.value)


def test_a_label_that_is_not_in_the_labels_file_is_refused(manifest, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"m.txt, line 2.*'dgo' is not in.*Did you mean 'dog'"):
        manifest("m.txt", "1.jpg cat\n2.jpg dgo\n", labels_file=labels)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is empty"), ("a\n\nb\n", "line 2: the line is empty"), ("a\nb\na\n", "line 3: 'a' stands in line 1")],
)  # fmt: skip
def test_what_is_wrong_with_a_labels_file_is_said_with_its_line(manifest, tmp_path, text, words):
    labels = tmp_path / "labels.txt"
    labels.write_text(text)
    with pytest.raises(ConfigError, match=words):
        manifest("m.txt", "1.jpg a\n", labels_file=labels)


def test_rows_that_repeat_are_left_out_with_a_warning(manifest, capsys):
    dataset = manifest("m.csv", CSV + "1.jpg,cat\n1.jpg,cat\n")
    assert dataset.paths == ["1.jpg", "2.jpg"]
    assert "2 rows repeat an earlier one" in capsys.readouterr().err


def test_lines_of_ten_megabytes_are_read_or_refused_in_a_sentence(manifest):
    long = "x" * (10 << 20)
    dataset = manifest(
        "m.csv", f"path,label,notes\n1.jpg,a,{long}\n2.jpg,b,\n", label_columns="label"
    )
    assert len(dataset) == 2
    with pytest.raises(
        DataError, match=r"line 2, column 'label': the label has 20971520 characters.*quote missing"
    ) as caught:
        manifest("m.csv", f"path,label\n1.jpg,{long * 2}\n2.jpg,b\n")
    assert len(str(caught.value)) < 300


def test_a_manifest_may_name_files_outside_when_that_is_allowed(manifest, folders, tmp_path):
    root = folders({"cat/1.jpg": 1, "dog/2.jpg": 2})
    text = f"path,label\n{root}/cat/1.jpg,cat\n../pictures/dog/2.jpg,dog\n"
    (tmp_path / "lists").mkdir()
    dataset = manifest("lists/m.csv", text, allow_outside=True)
    assert all(dataset.read(row)[:2] == b"\xff\xd8" for row in range(2))


def test_an_absolute_path_inside_the_folder_is_no_leaving(manifest, tmp_path):
    dataset = manifest("m.csv", f"path,label\n{tmp_path}/x/1.jpg,a\n2.jpg,b\n")
    assert dataset.paths == ["x/1.jpg", "2.jpg"]


def test_a_model_fixes_the_classes(manifest):
    task = (Task("kind", ("owl", "dog", "cat")),)
    dataset = manifest("m.csv", CSV, task)
    assert dataset.tasks == task
    assert dataset.labels(task[0]).tolist() == [2, 1]
    with pytest.raises(DataError, match=r"line 3.*'cow' that the model does not know"):
        manifest("m.csv", "path,label\n1.jpg,cat\n2.jpg,cow\n", task)


def test_lists_of_one_serve_a_model_that_tells_one_label_and_longer_ones_are_refused(manifest):
    task = (Task("label", ("cat", "dog")),)
    dataset = manifest("m.json", '{"1.jpg": ["dog"], "2.jpg": "cat"}', task)
    assert dataset.tasks == task
    assert dataset.labels(task[0]).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"'2.jpg', column 'label': expected one label.*found 2"):
        manifest("m.json", '{"1.jpg": "dog", "2.jpg": ["cat", "dog"]}', task)


def test_training_and_validation_may_be_two_manifests(manifest, folders, tmp_path):
    folders({"a/1.jpg": 1, "a/2.jpg": 2, "b/1.jpg": 3}, tmp_path)
    (tmp_path / "t.csv").write_text("path,label\na/1.jpg,x\na/2.jpg,y\n")
    (tmp_path / "b" / "v.csv").write_text("path,label\n1.jpg,y\n")
    options = TableOptions(max_pixels=700)
    both = open_both(str(tmp_path / "t.csv"), str(tmp_path / "b" / "v.csv"), options)
    assert both.max_pixels == 700
    assert both.table["split"].to_pylist() == ["train", "train", "validation"]
    assert both.labels(both.tasks[0]).tolist() == [0, 1, 1]
    assert all(both.read(row) for row in range(3))


def test_ten_thousand_rows_of_numbers_and_words_stay_what_they_were(manifest):
    """Mixed types in a column are text, whatever the first rows look like."""
    rows = [f"{i}.jpg,{i % 3 if i < 9000 else 'none'}" for i in range(10_000)]
    dataset = manifest("m.csv", "path,label\n" + "\n".join(rows))
    assert dataset.tasks[0].classes == ("0", "1", "2", "none")


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.lists(st.lists(st.text(max_size=8), max_size=4), max_size=6).map(
            lambda rows: ("path,label\n" + "\n".join(",".join(r) for r in rows)).encode()
        ),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        ).map(lambda value: json.dumps(value).encode()),
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt"]),
)  # fmt: skip
def test_whatever_a_file_holds_the_answer_is_rows_or_a_sentence(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"m{suffix}"
    path.write_bytes(content)
    try:
        rows = read_manifest(str(path), TableOptions())
    except HornbeamError:
        return
    assert len({len(column) for column in [*rows.columns.values(), *rows.labels.values()]}) == 1


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("espèce", "espece"), ("my kind", "my_kind"), ("Größe (cm)", "Gro_e_cm"), ("種類", "label"),
        ("e\u0301te\u0301", "ete"), ("path", "path_label"), ("色1", "1"),
    ],
)  # fmt: skip
def test_a_column_of_any_letters_gives_a_task_that_layers_can_be_called_by(column, name):
    assert task_name(column) == name
