"""What is written as a manifest is read back the same."""

import numpy as np
import pyarrow as pa
import pytest

from hornbeam.config import TableOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.sources import open_dataset
from hornbeam.data.tables.manifest_writer import earlier_sides, write_manifest
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError

COLOUR, TAGS = Task("colour", ("blue", "red")), Task("tags", ("a|b", "c", "d"), multi_label=True)


def made(root):
    return Dataset.from_columns(
        root, ["x/1.jpg", "x/2, 3.jpg", 'x/"4".jpg'], ["train", "test", "validation"],
        {COLOUR: [0, 1, 0], TAGS: [[0, 2], [], [1]]},
    )  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_paths_labels_and_splits_come_back(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    needed = write_manifest(made(tmp_path), path)
    assert "--label-columns colour,tags" in needed
    separator = ";" if suffix == ".csv" else None  # `|` stands in a class
    assert (f"--label-separator '{separator}'" in needed) == (suffix == ".csv")
    options = TableOptions(label_columns="colour,tags", label_separator=separator)
    back = open_dataset(str(path), options)
    assert back.paths == made(tmp_path).paths
    assert back.tasks == (COLOUR, TAGS)
    for task in back.tasks:
        np.testing.assert_array_equal(back.labels(task), made(tmp_path).labels(task))
    assert back.table["split"].to_pylist() == ["train", "test", "validation"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_sides_are_found_again_whatever_the_labels_are_called(tmp_path, suffix):
    path = tmp_path / "elsewhere" / f"m{suffix}"
    path.parent.mkdir()
    write_manifest(made(tmp_path), path)
    found = earlier_sides(made(tmp_path).take([2, 0, 1]), path)
    assert found.tolist() == [1, 0, 2]
    others = Dataset.from_columns(tmp_path, ["x/new.jpg"], [""])
    assert earlier_sides(others, path).tolist() == [-1]


def test_records_of_shards_cannot_be_named_by_a_manifest(tmp_path):
    dataset = made(tmp_path).with_column("shard", ["s"] * 3)
    with pytest.raises(ConfigError, match="no files of their own"):
        write_manifest(dataset, tmp_path / "m.csv")


def test_one_separator_serves_all_columns_of_csv_and_none_left_is_a_sentence(tmp_path):
    more = Task("more", ("e;f", "g"), multi_label=True)
    sizes = Task("size", ("1,5", "2"))
    dataset = Dataset.from_columns(
        tmp_path, ["1.jpg", "2.jpg"], ["train", "train"],
        {TAGS: [[0, 1], [2]], more: [[0, 1], []], sizes: [0, 1]},
    )  # fmt: skip
    needed = write_manifest(dataset, tmp_path / "m.csv")
    assert [word for word in needed if "separator" in word] == ["--label-separator '/'"]
    options = TableOptions(label_columns="tags,more,size", label_separator="/")
    back = open_dataset(str(tmp_path / "m.csv"), options)
    assert back.tasks == dataset.tasks
    for task in back.tasks:
        np.testing.assert_array_equal(back.labels(task), dataset.labels(task))
    taken = Task("taken", ("a|b", "c;d,e", "f/g h"), multi_label=True)
    full = Dataset.from_columns(tmp_path, ["1.jpg"], ["train"], {taken: [[0, 1]]})
    with pytest.raises(ConfigError, match=r"nothing is left to separate labels by.*\.parquet"):
        write_manifest(full, tmp_path / "full.csv")
    assert write_manifest(full, tmp_path / "full.json") == []


def test_a_folder_whose_name_begins_with_dots_is_not_outside(tmp_path):
    dataset = Dataset.from_columns(tmp_path, ["..kept/1.jpg"], ["train"], {COLOUR: [0]})
    assert write_manifest(dataset, tmp_path / "m.json") == []


def test_names_of_columns_with_blanks_are_quoted_for_the_shell(tmp_path):
    dataset = Dataset.from_columns(
        tmp_path, ["1.jpg", "2.jpg"], ["train", "train"], {COLOUR: [0, 1]}
    ).with_column("feature:body mass", pa.array([1.0, 2.0], pa.float32()))
    assert "--feature-columns 'body mass'" in write_manifest(dataset, tmp_path / "m.csv")
