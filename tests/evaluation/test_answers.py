"""Answers say when they are not sure, and when a picture is unlike what the model knows."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.answers import answer_lines, write_answers
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.shares import Share
from hornbeam.evaluation.trust.abstention import Threshold
from hornbeam.evaluation.trust.calibration import Scaling
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.evaluation.trust.unknown import Unknown
from hornbeam.storage import read_rows

KINDS = Task("kind", ("cat", "dog"))
LOGITS = np.array([[4, -4], [0.5, -0.5], [-20, -20]], np.float32)


def predictions(safeguards=None, task=KINDS):
    dataset = Dataset.from_columns("/", ["a.jpg", "b.jpg", "c.jpg"], ["", "", ""])
    scalings = safeguards.scalings if safeguards else {}
    return Predictions(dataset, (task,), {task.name: LOGITS}, scalings=scalings)


def safeguards(task="kind"):
    sure = Threshold("precision", 0.9, 0.8, Share(1, 2), Share(1, 1), "")
    return Safeguards(
        "temperature", {task: Scaling("temperature", (0.5,))}, {task: sure},
        unknown=Unknown("energy", task, 10.0, 0.05),
    )  # fmt: skip


def test_lines_name_calibrated_probabilities_and_mark_doubt():
    given = safeguards()
    lines = list(answer_lines(predictions(given), 2, given))
    assert lines == [
        "a.jpg: cat 98.2%  dog 1.8%",
        "b.jpg: cat 62.2%  dog 37.8%  (unsure)",
        "c.jpg: cat 50.0%  dog 50.0%  (unsure)  (unlike the known classes)",
    ]


def test_without_safeguards_nothing_is_marked():
    lines = list(answer_lines(predictions(), 1))
    assert lines == ["a.jpg: cat 100.0%", "b.jpg: cat 73.1%", "c.jpg: cat 50.0%"]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_files_have_columns_for_doubt(suffix, tmp_path):
    given, out = safeguards(), tmp_path / f"answers.{suffix}"
    write_answers(predictions(given), 1, {"d.jpg": "no picture"}, out, given)
    if suffix == "csv":
        rows = read_rows(out)
        assert [row["kind_sure"] for row in rows] == ["true", "false", "false", ""]
        assert [row["unknown"] for row in rows] == ["false", "false", "true", ""]
    else:
        rows = json.loads(out.read_text()) if suffix == "json" else pq.read_table(out).to_pylist()
        assert [row["kind_sure"] for row in rows] == [True, False, False, None]
        assert [row["unknown"] for row in rows] == [False, False, True, None]
        energies = -np.logaddexp(LOGITS[:, 0], LOGITS[:, 1])
        found = [row["unknown_score"] for row in rows[:3]]
        np.testing.assert_allclose(found, energies, rtol=1e-5)
    assert list(rows[0]) == ["path", "kind_1", "kind_1_probability", "kind_sure", "unknown",
                             "unknown_score", "error"]  # fmt: skip


def test_files_without_safeguards_are_as_they_were(tmp_path):
    write_answers(predictions(), 1, {}, tmp_path / "answers.csv")
    row = read_rows(tmp_path / "answers.csv")[0]
    assert list(row) == ["path", "kind_1", "kind_1_probability", "error"]


def test_missing_features_leave_the_unknown_out():
    origin, directions = np.zeros(2, np.float32), np.eye(2, dtype=np.float32)
    given = Safeguards(unknown=Unknown("angle", "kind", 0.5, 0.05, origin, directions))
    lines = list(answer_lines(predictions(given), 1, given))
    assert not any("unlike" in line for line in lines)
