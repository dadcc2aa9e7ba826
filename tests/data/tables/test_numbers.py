"""Columns of numbers beside pictures, in every kind of table, with the ugly cells."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hornbeam.config import TableOptions
from hornbeam.data import sources, splits
from hornbeam.data.dataset import Dataset
from hornbeam.data.tables import manifest_writer
from hornbeam.data.tables.numbers import to_numbers
from hornbeam.errors import ConfigError, DataError

ROWS = [
    {"path": "a.png", "label": "cat", "age": "3", "weight": "4.25", "split": "train"},
    {"path": "b.png", "label": "dog", "age": "-12", "weight": "1e2", "split": "validation"},
    {"path": "c.png", "label": "cat", "age": " 0.1 ", "weight": "70", "split": "train"},
]
VALUES = np.array([[4.25, 3], [100, -12], [70, 0.1]], np.float32)
OPTIONS = TableOptions(feature_columns=("weight", "age"))


def write(path, rows):
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
        return path
    typed = [{k: float(v) if k in ("age", "weight") else v for k, v in row.items()} for row in rows]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(typed), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(typed))
    else:
        path.write_text("\n".join(json.dumps(row) for row in typed))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_table_gives_the_columns_in_the_order_of_the_option(tmp_path, suffix):
    dataset = sources.open_dataset(str(write(tmp_path / f"m{suffix}", ROWS)), OPTIONS)
    assert dataset.features == ("weight", "age")
    assert dataset.feature_values().dtype == np.float32
    np.testing.assert_array_equal(dataset.feature_values(), VALUES)
    assert [task.name for task in dataset.tasks] == ["label"]


def test_columns_survive_all_that_is_done_to_a_dataset(tmp_path):
    manifest = write(tmp_path / "m.csv", ROWS)
    dataset = sources.open_dataset(str(manifest), OPTIONS)
    np.testing.assert_array_equal(dataset.take([2, 0]).feature_values(), VALUES[[2, 0]])
    np.testing.assert_array_equal(dataset.only("train").feature_values(), VALUES[[0, 2]])
    dataset.save(tmp_path / "kept.parquet")
    kept = Dataset.load(tmp_path / "kept.parquet", tmp_path, dataset.tasks)
    assert kept.features == dataset.features
    np.testing.assert_array_equal(kept.feature_values(), VALUES)
    assert kept.fingerprint() == dataset.fingerprint()
    moved = splits.with_sides(dataset, np.array([0, 0, 1]))
    np.testing.assert_array_equal(moved.feature_values(), VALUES)
    np.testing.assert_array_equal(kept.with_features(["age"]).feature_values(), VALUES[:, 1:])


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
def test_a_manifest_that_is_written_reads_back_the_same(tmp_path, suffix):
    dataset = sources.open_dataset(str(write(tmp_path / "m.csv", ROWS)), OPTIONS)
    needed = manifest_writer.write_manifest(dataset, tmp_path / f"again{suffix}")
    assert "--feature-columns weight,age" in needed
    again = sources.open_dataset(str(tmp_path / f"again{suffix}"), OPTIONS)
    np.testing.assert_array_equal(again.feature_values(), VALUES)
    assert again.table.equals(dataset.table)


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("", "line 3, column 'age': the number is missing"),
        ("old", "line 3, column 'age': 'old' is no number; give one, or take the row out."),
        ("nan", "line 3, column 'age': 'nan' is no number"),
        ("inf", "line 3, column 'age': 'inf' is not a finite number in float32"),
        ("1e39", "line 3, column 'age': '1e39' is not a finite number in float32"),
        ('"1,5"', "'1,5' is no number; give one with a point, not a comma"),
        ("true", "'true' is no number; give one (1 for true, 0 for false)"),
        ("1_000", "'1_000' is no number"),
        ("0x10", "'0x10' is no number"),
    ],
)
def test_a_cell_that_is_no_number_is_told_with_its_place(tmp_path, cell, sentence):
    (tmp_path / "m.csv").write_text(f"path,label,age\na.png,x,1\nb.png,y,{cell}\nc.png,y,2\n")
    with pytest.raises(DataError) as raised:
        sources.open_dataset(str(tmp_path / "m.csv"), TableOptions(feature_columns=("age",)))
    assert sentence in str(raised.value)
    assert "m.csv" in str(raised.value)


def test_missing_numbers_are_counted(tmp_path):
    (tmp_path / "m.csv").write_text("path,label,age\na.png,x,\nb.png,y,\nc.png,y,2\n")
    with pytest.raises(
        DataError, match=r"line 2, column .age.: the number is missing.*1 more row has"
    ):
        sources.open_dataset(str(tmp_path / "m.csv"), TableOptions(feature_columns=("age",)))


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_parquet_without_a_number_is_told_with_its_row(tmp_path, value):
    table = pa.table({"path": ["a", "b"], "label": ["x", "y"], "age": [1.0, value]})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(DataError, match="row 2, column 'age'"):
        sources.open_dataset(str(tmp_path / "m.parquet"), TableOptions(feature_columns=("age",)))


def test_numbers_are_those_of_python(tmp_path):
    rng = np.random.default_rng(0)
    values = [*rng.normal(0, 1e3, 200).tolist(), 0.1, 1e-30, 3e38, 2**53 + 2.0, 1e300 * 0]
    column = pa.array([repr(v) for v in values], pa.string())
    np.testing.assert_array_equal(to_numbers(column, str).to_numpy(), np.float32(values))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"feature_columns": ("wieght",)}, "has no such column.*Did you mean 'weight'"),
        ({"feature_columns": ("age", "age")}, "names 'age' twice"),
        ({"feature_columns": ("age",), "label_columns": ("age",)}, "'age' has the labels"),
        ({"feature_columns": ("label",)}, "which column has the labels"),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path, options, sentence):
    manifest = write(tmp_path / "m.csv", [{**row, "more": "x"} for row in ROWS])
    with pytest.raises(ConfigError, match=sentence):
        sources.open_dataset(str(manifest), TableOptions(**options))


def test_a_folder_has_no_columns(folders):
    root = folders({"cat/1.png": 10, "dog/1.png": 20})
    with pytest.raises(ConfigError, match="has no numbers 'weight' and 'age' beside its pictures"):
        sources.open_dataset(str(root), OPTIONS)


def test_a_picture_that_stands_twice_with_other_numbers_is_refused(tmp_path):
    manifest = write(tmp_path / "m.csv", [*ROWS, {**ROWS[0], "age": "4"}])
    with pytest.raises(DataError, match="with another label, split or number"):
        sources.open_dataset(str(manifest), OPTIONS)


def test_predictions_are_asked_for_every_row_of_a_manifest_in_its_order(tmp_path):
    rows = [{k: row[k] for k in ("path", "age")} for row in (ROWS[2], ROWS[0], ROWS[2])]
    rows[2] = {**rows[2], "age": "9"}
    dataset = sources.open_pictures([write(tmp_path / "m.csv", rows)], features=("age",))
    assert dataset.paths == ["c.png", "a.png", "c.png"]
    np.testing.assert_array_equal(dataset.feature_values(), np.float32([[0.1], [3], [9]]))
    assert dataset.tasks == ()
    with pytest.raises(ConfigError, match="no column 'weight', which the model takes"):
        sources.open_pictures([tmp_path / "m.csv"], features=("weight",))
    with pytest.raises(
        ConfigError, match="taken for a manifest, by the end of its name; give it alone"
    ):
        sources.open_pictures([tmp_path / "m.csv", tmp_path])
    with pytest.raises(ConfigError, match="manifest with the columns path, age instead"):
        sources.open_pictures([tmp_path], features=("age",))


def test_a_recipes_reader_gives_numbers_too(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    items = {
        "train": [{"image": pixels, "label": "x", "age": 3}, {"image": pixels, "label": "y", "age": 0.5}],
        "validation": [{"image": pixels, "label": "x", "age": np.float32(7)}],
    }  # fmt: skip
    options = TableOptions(feature_columns=("age",))
    dataset = sources.open_dataset(None, options, examples=items.get)
    np.testing.assert_array_equal(dataset.feature_values(), np.float32([[3], [0.5], [7]]))
    assert [task.name for task in dataset.tasks] == ["label"]
    del items["train"][1]["age"]
    with pytest.raises(DataError, match=r"examples\('train'\)\[1\], 'age': the number is missing"):
        sources.open_dataset(None, options, examples=items.get)
