"""The report: self-contained, true, and safe against what folders are called."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from hornbeam.data.dataset import Dataset, Task
from hornbeam.data.sources import open_folder
from hornbeam.evaluation.grouped import groupings_for
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.report import write_report
from hornbeam.evaluation.statistics import score, score_all

HOSTILE = "<script>alert(1)<"  # a folder's name cannot have a slash
QUOTED = "\"onerror='x' &amp;"


@pytest.fixture
def page(tmp_path):
    rng = np.random.default_rng(0)
    for name in (HOSTILE, QUOTED):
        (tmp_path / "p" / name).mkdir(parents=True)
        for index in range(4):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "p" / name / f"<b>{index}.png")
    dataset = open_folder(tmp_path / "p").with_column("split", ["validation"] * 8)
    task = dataset.tasks[0]
    logits = rng.normal(0, 1, (8, 2)).astype(np.float32)
    logits[np.arange(8), 1 - dataset.labels(task)] += 5  # all wrong
    predictions = Predictions(dataset, (task,), {"label": logits})
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(
        "step,loss,accuracy,val_loss,val_accuracy\n5,nan,0.1,2,0.2\n10,1,0.5,1.5,0.4\n"
    )
    config = {"model": "<i>", "seed": 0}
    write_report(
        tmp_path / "r.html", "run <1>", config, predictions, [score(predictions, task)], metrics
    )
    return (tmp_path / "r.html").read_text()


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_hostile_names_stay_text(page):
    tags = Tags(page)
    assert {tag for tag, _ in tags.found} & {"script", "b>", "i>"} == set()
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    assert HOSTILE in tags.text
    assert QUOTED in tags.text


def test_it_needs_nothing_outside_itself(page):
    for tag, attributes in Tags(page).found:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith("data:"), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(", page)


def test_it_tells_the_numbers_and_shows_the_mistakes(page):
    tags = Tags(page)
    assert "0.0% of 8 validation pictures were named right" in tags.text
    assert "validation pictures also chose the best epoch" in tags.text
    assert sum(tag == "img" for tag, _ in tags.found) == 8
    assert sum(tag == "svg" for tag, _ in tags.found) == 2


def test_many_classes_get_a_list_in_place_of_a_matrix(tmp_path):
    task = Task("label", tuple(f"class{i}" for i in range(200)))
    labels = np.arange(200)
    dataset = Dataset.from_columns(
        tmp_path, [f"{i}.jpg" for i in range(200)], ["test"] * 200, {task: labels}
    )
    logits = np.eye(200, dtype=np.float32)[np.roll(labels, 1)]
    predictions = Predictions(dataset, (task,), {"label": logits})
    write_report(
        tmp_path / "r.html", "r", {}, predictions, [score(predictions, task)], tmp_path / "none.csv"
    )
    page = (tmp_path / "r.html").read_text()
    assert "matrix of 200 classes is too large" in page
    assert "class1 named class0" in page


def test_groups_of_classes_have_a_part_of_their_own(tmp_path):
    task = Task("label", ("cat", "dog", "<car>"))
    labels = np.arange(30) % 3
    dataset = Dataset.from_columns(
        tmp_path, [f"{i}.jpg" for i in range(30)], ["test"] * 30, {task: labels}
    )
    logits = 5 * np.eye(3, dtype=np.float32)[[1, 0, 2]][labels]  # cats and dogs are confused
    predictions = Predictions(dataset, (task,), {"label": logits})
    groupings = groupings_for((task,), {"<pet>": ["cat", "dog"]})
    scores = score_all(predictions, (), groupings)
    write_report(tmp_path / "r.html", "r", {}, predictions, scores, tmp_path / "none.csv")
    tags = Tags((tmp_path / "r.html").read_text())
    assert "33.3% of 30 test pictures were named right" in tags.text
    assert "The group of 100.0% of 30 pictures was named right." in tags.text
    assert tags.text.count("<pet>") == 3  # its scores; row and column of the confusion
    assert {tag for tag, _ in tags.found} & {"pet", "car"} == set()
    for name in scores[0].measures:
        assert name in tags.text
