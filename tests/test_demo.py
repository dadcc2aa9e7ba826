"""What the README promises of the demo."""

import csv
import time

import pytest

from hornbeam.data.sample import draw_sample


@pytest.mark.slow
def test_the_sample_is_learned_to_95_percent_in_two_minutes(hornbeam, tmp_path):
    draw_sample(tmp_path / "shapes", per_class=250, size=96, seed=0)
    start = time.perf_counter()
    done = hornbeam("train", tmp_path / "shapes", "--run", tmp_path / "run")
    seconds = time.perf_counter() - start
    assert done.code == 0, done.err
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        accuracy = max(float(row["val_accuracy"]) for row in csv.DictReader(file))
    assert accuracy >= 0.95
    assert seconds < 120
