"""Which pictures calibrate, judge, and go with a bundle."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.deployment.contract.pictures import (
    _mapped,
    rows_to_calibrate,
    rows_to_judge,
    rows_to_take_along,
)

KIND = Task("kind", ("a", "b", "c"))
MARKS = Task("marks", ("x", "y", "z"), multi_label=True)


def dataset(counts=(60, 30, 10)):
    labels = np.repeat(np.arange(3), counts).astype(np.int32)
    paths = [f"{i}.png" for i in range(len(labels))]
    return Dataset.from_columns("/", paths, ["train"] * len(labels), {KIND: pa.array(labels)})


def test_calibration_takes_as_many_of_each_class_as_there_are_and_others_choose():
    pictures = dataset()
    calibration, selection = rows_to_calibrate(pictures, (KIND,), 40)
    labels = pictures.labels(KIND)
    assert np.bincount(labels[calibration]).tolist() == [15, 15, 10]
    assert len(selection) == 40
    assert not set(calibration) & set(selection)


@pytest.mark.parametrize(("count", "sizes"), [(1000, (67, 33)), (100, (67, 33)), (10, (10, 10))])
def test_of_few_pictures_most_calibrate(count, sizes):
    assert tuple(map(len, rows_to_calibrate(dataset(), (KIND,), count))) == sizes


def test_one_picture_calibrates_and_none_chooses():
    calibration, selection = rows_to_calibrate(dataset((1, 0, 0)), (KIND,), 128)
    assert (calibration.tolist(), selection.tolist()) == ([0], [])


def test_golden_pictures_are_of_each_class_in_turn_and_more_of_them_are_the_same_first():
    pictures = dataset()
    order = rows_to_take_along(pictures, (KIND,))
    labels = pictures.labels(KIND)[order]
    assert labels[:9].tolist() == [0, 1, 2] * 3
    assert sorted(order) == list(range(100))
    assert order.tolist() == rows_to_take_along(pictures, (KIND,)).tolist()


def test_a_rare_mark_is_a_class_of_its_own():
    marks = [[0]] * 20 + [[0, 1]] * 5 + [[]] * 5 + [[0, 1, 2]]
    pictures = Dataset.from_columns(
        "/", [str(i) for i in range(31)], ["train"] * 31, {MARKS: marks}
    )
    first = set(rows_to_take_along(pictures, (MARKS,))[:4].tolist())
    assert 30 in first
    assert len(first & set(range(20))) == len(first & set(range(20, 25))) == 1


def test_those_that_judge_are_drawn_and_all_where_there_are_no_more():
    pictures = dataset()
    assert rows_to_judge(pictures, 500).tolist() == list(range(100))
    some = rows_to_judge(pictures, 50)
    assert some.tolist() == sorted(set(some.tolist()))
    assert len(some) == 50
    assert some.tolist() == rows_to_judge(pictures, 50).tolist()


def test_a_temporary_directory_without_room_is_a_sentence(tmp_path):
    """In a process that may write files of 100 kB: without the reservation nothing would be told."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from hornbeam.deployment.contract.pictures import _mapped\n"
        "from hornbeam.errors import DataError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    _mapped(Path(sys.argv[1]), (7, 256, 256, 3))\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pixels.npy")], capture_output=True, text=True
    )
    assert "7 decoded pictures need 1,376,256 bytes" in done.stdout, done.stderr
    assert f"{tmp_path} has " in done.stdout
    assert "set TMPDIR" in done.stdout


def test_the_room_for_pictures_is_taken_before_they_are_decoded(tmp_path):
    images = _mapped(tmp_path / "pixels.npy", (5, 256, 256, 3))
    assert (tmp_path / "pixels.npy").stat().st_blocks * 512 >= images.nbytes
