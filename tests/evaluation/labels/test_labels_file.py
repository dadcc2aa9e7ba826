"""A list of suspects survives a spreadsheet, and what was entered is applied whole or not at all."""

import csv

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection.findings import Finding, write_fixes
from hornbeam.data.tasks import Task
from hornbeam.errors import DataError
from hornbeam.evaluation.labels.labels_file import (
    COLUMNS,
    Suspect,
    cell,
    plain,
    read_reviewed,
    read_suspects,
    write_suspects,
)
from hornbeam.evaluation.labels.mending import apply_file, sentences_of

KIND = Task("kind", ("cat", "dog", "=cow"))
TAGS = Task("tags", ("hat", "bag"), multi_label=True)

SUSPECTS = [
    Suspect("a/1.jpg", "train", "kind", "cat", "dog", 0.01, 0.9, 0.98),
    Suspect("a/ü, 2.jpg", "test", "kind", "dog", "=cow", 0.2, 0.5, 0.75),
    Suspect("3.jpg", "", "kind", "", "cat", 0.0, 0.8, 0.0),
]


@pytest.fixture
def dataset():
    """Four pictures with a class, one of them without, and two tags."""
    return Dataset.from_columns(
        "/pictures", ["a/1.jpg", "a/ü, 2.jpg", "3.jpg", "4.jpg"], ["train", "test", "", "train"],
        {KIND: pa.array([0, 1, None, 2], pa.int32()),
         TAGS: pa.array([[0], [], [0, 1], []], pa.list_(pa.int32()))},
        group=pa.array(["x", "y", None, "x"]),
    )  # fmt: skip


def edited(path, rows):
    """Write a list as an editor would: (path, task, label, new_label)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "task", "label", "new_label"])
        writer.writerows(rows)
    return path


def test_suspects_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "labels.csv"
    write_suspects(path, SUSPECTS)
    assert read_suspects(path) == SUSPECTS
    assert path.read_bytes().startswith(b"\xef\xbb\xbfpath,split,task,label,suggested,")
    assert [row.new_label for row in read_reviewed(path)] == ["", "", ""]


def test_what_somebody_has_looked_at_is_no_longer_suspected(tmp_path):
    path = tmp_path / "labels.csv"
    write_suspects(path, SUSPECTS)
    lines = path.read_text("utf-8-sig").splitlines()
    reviewed = [lines[0], f"{lines[1]}-", f"{lines[2]} ", f"{lines[3]}DELETE"]
    path.write_text("\n".join(reviewed) + "\n", "utf-8-sig")
    assert read_suspects(path) == SUSPECTS[1:2]
    assert [row.new_label for row in read_reviewed(path)] == ["-", "", "DELETE"]


def test_no_cell_of_the_file_is_a_formula(tmp_path):
    path = tmp_path / "labels.csv"
    names = ["=1+1", "+1", "-1", "@x", "\tx", "'=1"]
    write_suspects(path, [Suspect(n, "train", n, n, n, 0, 1, 1) for n in names])
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.reader(file):
            assert not any(text[:1] in "=+-@\t" for text in row if text)
    assert [s.given for s in read_suspects(path)] == names


@given(st.text())
def test_every_text_comes_back_from_its_cell(text):
    assert plain(cell(text)) == text


@pytest.mark.parametrize("separator", [";", "\t"])
def test_what_a_spreadsheet_makes_of_the_file_is_read(tmp_path, separator):
    path = tmp_path / "labels.csv"
    write_suspects(path, SUSPECTS[:1])
    lines = path.read_text("utf-8-sig").replace(",", separator).replace("\n", "\r\n")
    path.write_bytes(lines.encode("utf-8-sig"))
    assert read_suspects(path) == SUSPECTS[:1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xff\xfe1", "not UTF-8"),
        (b"path,label,new_lable\n", "no column 'new_label'"),
        (b"path,label,new_label\na,b\n", "line 2: expected 3 cells"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path, content, said):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_reviewed(path)


def test_labels_are_changed_kept_and_pictures_deleted(tmp_path, dataset):
    path = edited(tmp_path / "l.csv", [
        ("a/1.jpg", "kind", "cat", "dog"), ("./a/ü, 2.jpg", "kind", "dog", " -  "),
        ("/pictures/3.jpg", "kind", "", "cat"), ("4.jpg", "kind", "'=cow", "DELETE"),
    ])  # fmt: skip
    applied = apply_file(dataset, path)
    assert applied.dataset.paths == ["a/1.jpg", "a/ü, 2.jpg", "3.jpg"]
    np.testing.assert_array_equal(applied.dataset.labels(KIND), [1, 1, 0])
    assert applied.dataset.table["split"].to_pylist() == ["train", "test", ""]
    assert applied.dataset.table["group"].to_pylist() == ["x", "y", None]
    assert (applied.deleted, applied.kept) == (1, 1)
    assert sorted(sentences_of(applied)) == [
        "kind: 'cat' to 'dog': 1", "kind: without a label to 'cat': 1"
    ]  # fmt: skip
    np.testing.assert_array_equal(dataset.labels(KIND), [0, 1, -1, 2])  # the first is as it was


def test_tags_are_added_and_removed(tmp_path, dataset):
    path = edited(tmp_path / "l.csv", [
        ("a/1.jpg", "tags", "has hat", "remove hat"), ("a/1.jpg", "tags", "lacks bag", "add bag"),
        ("4.jpg", "tags", "lacks hat", "add hat"),
    ])  # fmt: skip
    marks = apply_file(dataset, path).dataset.labels(TAGS)
    np.testing.assert_array_equal(marks, [[0, 1], [0, 0], [1, 1], [1, 0]])


def test_a_list_that_is_applied_twice_changes_nothing_more(tmp_path, dataset):
    path = edited(tmp_path / "l.csv", [("a/1.jpg", "kind", "cat", "dog")] * 2)
    once = apply_file(dataset, path)
    twice = apply_file(once.dataset, path)
    assert sum(once.changed.values()) == 1
    assert not twice.changed
    assert twice.dataset.table == once.dataset.table


def test_all_mistakes_are_told_together_with_their_lines(tmp_path, dataset):
    path = edited(tmp_path / "l.csv", [
        ("b/1.jpg", "kind", "cat", "dog"),  # another folder
        ("a/1.jpg", "kind", "cat", "dgo"),
        ("a/1.jpg", "kinds", "cat", "dog"),
        ("4.jpg", "kind", "cat", "dog"),  # it is no longer a cat
        ("3.jpg", "kind", "", "cat"),
        ("3.jpg", "kind", "", "dog"),
        ("a/1.jpg", "tags", "has hat", "hat"),
        ("a/ü, 2.jpg", "kind", "dog", "cat"),
        ("a/ü, 2.jpg", "kind", "dog", "DELETE"),
        ("nowhere.jpg", "kind", "cat", ""),  # nothing entered: no matter
    ])  # fmt: skip
    with pytest.raises(DataError) as raised:
        apply_file(dataset, path)
    said = str(raised.value)
    for sentence in (
        "line 2: there is no picture 'b/1.jpg'. Did you mean 'a/1.jpg'?",
        "line 3: there is no class 'dgo'. Did you mean 'dog'?",
        "line 4: there is no task 'kinds'. Did you mean 'kind'?",
        "line 5: '4.jpg' is no longer 'cat', but '=cow'.",
        "line 7: line 6 has 'cat' for the same picture.",
        "line 8: there is no class 'hat'; expected 'add CLASS' or 'remove CLASS'.",
        "line 10: line 9 has 'cat' for the same picture.",
        "Nothing was written.",
    ):
        assert sentence in said
    assert "line 11" not in said


def test_a_list_of_check_deletes_and_leaves_the_rest_alone(tmp_path, dataset):
    path = tmp_path / "fixes.csv"
    write_fixes(path, [
        Finding("exact-duplicate", "copies", ("a/1.jpg", "4.jpg")),
        Finding("unreadable", "damaged", ("3.jpg",), ("cut short",)),
        Finding("wrong-extension", "png", ("a/ü, 2.jpg",), ("a/ü, 2.png",)),
        Finding("hidden", "hidden", (".DS_Store",)),
    ])  # fmt: skip
    applied = apply_file(dataset, path)
    assert applied.dataset.paths == ["a/1.jpg", "a/ü, 2.jpg"]
    assert (applied.deleted, applied.skipped) == (2, 2)
    text = path.read_text(encoding="utf-8-sig")
    path.write_text(text.replace('"a/ü, 2.jpg",', "x;").replace(",", ";"), encoding="utf-8")
    assert apply_file(dataset, path).deleted == 2
    path.write_text(f"{text}4.jpg,copies", encoding="utf-8")
    with pytest.raises(DataError, match=r"line 6: expected 4 cells"):
        apply_file(dataset, path)


def test_the_columns_of_the_list_are_those_that_the_guide_names():
    assert COLUMNS[-1] == "new_label"
    assert COLUMNS[:5] == ("path", "split", "task", "label", "suggested")
