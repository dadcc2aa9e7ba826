"""What is written as a manifest is read back the same."""

import numpy as np
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
