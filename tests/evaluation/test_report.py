"""The report: self-contained, true, and safe against what folders are called."""

import dataclasses
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sample_reports import HOSTILE, hostile_content, many_classes

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.report import ReportContent, write_report
from hornbeam.evaluation.scoring.grouped import groupings_for
from hornbeam.evaluation.scoring.scores import score, score_all


@pytest.fixture
def content(tmp_path):
    return hostile_content(tmp_path / "p")


@pytest.fixture
def page(content, tmp_path):
    return written(content, tmp_path)


def written(content, tmp_path):
    write_report(tmp_path / "r.html", content)
    return (tmp_path / "r.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """The elements of a page, and its text but for scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text, self.script, self._inside = [], "", "", ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._inside = tag

    def handle_data(self, data):
        if self._inside in ("script", "style"):
            self.script += data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self._inside = ""


def visible(name):
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def section_of(page, name):
    start = page.index(f'<section id="{name}">')
    return page[start : page.index("</section>", start)]


def expect_no_tag_of_a_name(page):
    """Check that the page has no element or attribute that a name brought; return its elements."""
    tags = Tags(page)
    assert [attributes for tag, attributes in tags.found if tag == "script"] == [
        {"type": "application/json", "id": "cells"},
        {},
    ]
    assert {tag for tag, _ in tags.found} & {"i>", "u", "s", "bad"} == set()
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    return tags


def test_hostile_names_stay_text(page):
    tags = expect_no_tag_of_a_name(page)
    for name in HOSTILE:
        assert visible(name) in tags.text
    assert "run <1></title>" in tags.text
    assert "<u>x</u>; rm" in tags.text
    assert "</pre><script>alert(5)</script>" in tags.text
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)


@pytest.mark.parametrize("validations", [1, 2])
def test_hostile_names_of_metrics_stay_text(content, tmp_path, validations):
    row = {"step": "5"}
    for name in HOSTILE:
        row |= {f"recall:{name}": "0.5", f"val_recall:{name}": "0.25"}
    page = written(dataclasses.replace(content, curves=[row] * validations), tmp_path)
    expect_no_tag_of_a_name(page)
    curves = Tags(section_of(page, "curves")).text
    for name in HOSTILE:
        assert f"recall:{visible(name)}" in curves


def test_hostile_options_and_places_stay_text(content, tmp_path):
    config = {"image_size": ["<s>1", 2], "weights": "<u>"}
    there = "/data/<u>/\u202e<script>alert(6)"
    odd = dataclasses.replace(content, config=config, data=there)
    tags = expect_no_tag_of_a_name(written(odd, tmp_path))
    assert "<s>1×2 pixels" in tags.text
    assert f"Judged on the pictures of {visible(there)}." in tags.text


def test_of_other_pictures_than_the_runs_it_says_nothing_of_suspects(content, tmp_path):
    assert content.suspects
    for suspects in (content.suspects, None):
        of_others = dataclasses.replace(content, data="/data/others", suspects=suspects)
        page = written(of_others, tmp_path)
        assert 'id="suspects"' not in page
        assert 'href="#suspects"' not in page
        assert "hornbeam labels" not in page
        text = Tags(page).text
        assert "Judged on the pictures of /data/others." in text
        assert "If these are the validation pictures of the training" in text
        assert "These are the pictures of the training" in text
    assert "Judged on" not in Tags(written(content, tmp_path)).text


def test_a_list_of_suspects_that_cannot_be_read_was_looked_for(content, tmp_path):
    page = written(dataclasses.replace(content, suspects=None, unread="<u>.csv is odd."), tmp_path)
    assert "&lt;u&gt;.csv is odd." in section_of(page, "suspects")
    assert "Nobody has looked" not in page
    assert "Look for wrong labels" not in page


def test_it_needs_nothing_outside_itself(page):
    policy = [
        attributes["content"] for tag, attributes in Tags(page).found if "http-equiv" in attributes
    ]
    assert policy == [
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {policy[0].split('; ')[-1]}"
    ]
    assert policy[0].split("; ")[-1].startswith("script-src 'sha256-")
    for tag, attributes in Tags(page).found:
        for name in ("src", "href"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/", "#")), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(", page)


def test_every_link_of_the_contents_leads_somewhere(page):
    tags = Tags(page).found
    places = {attributes["id"] for _, attributes in tags if "id" in attributes}
    links = [attributes["href"][1:] for tag, attributes in tags if tag == "a"]
    assert len(links) >= 10
    assert set(links) <= places


def test_what_the_script_gets_are_the_pictures_of_each_cell(content, page):
    [block] = re.findall(r'<script type="application/json" id="cells">(.*?)</script>', page)
    data = json.loads(block)
    [task] = data["tasks"]
    assert task["classes"] == [visible(name) for name in content.scores[0].task.classes]
    paths = [visible(path) for path in content.predictions.dataset.paths]
    labels = content.predictions.dataset.labels(content.scores[0].task)
    answers = content.predictions.predicted(content.scores[0].task)
    assert len(task["cells"]) == 5
    for truth, answer, count, names, percent in task["cells"]:
        there = [paths[i] for i in np.flatnonzero((labels == truth) & (answers == answer))]
        assert count == len(there)
        assert sorted(data["names"][i] for i in names) == sorted(there)
        assert sorted(percent, reverse=True) == percent


def test_it_tells_the_numbers_and_shows_the_mistakes(page):
    tags = Tags(page)
    assert "0.0% of 20 validation pictures were named right" in tags.text
    assert "validation pictures also chose the best epoch" in tags.text
    assert "20 in all" in tags.text
    assert "1.0 min" in tags.text or "60 s" in tags.text
    assert (
        sum(tag == "svg" for tag, _ in tags.found) == 4
    )  # curves of two metrics; reliability, coverage
    mistakes = page[page.index('<section id="mistakes-0"') : page.index('<section id="suspects"')]
    assert mistakes.count("<img") == 20
    looks = page[page.index('<section id="looks"') : page.index('<section id="curves"')]
    assert looks.count("<img") == 4  # two pictures, each as it is and lit by one class


def test_pictures_that_are_gone_are_said_to_be(content, tmp_path):
    for path in (tmp_path / "p").rglob("*.png"):
        path.unlink()
    tags = Tags(written(content, tmp_path))
    assert "the picture is gone" in tags.text
    assert "0.0% of 20 validation pictures" in tags.text


def test_a_run_of_which_little_is_known_has_a_report(tmp_path):
    task = Task("label", ("cat", "dog"))
    dataset = Dataset.from_columns(tmp_path, ["1.jpg"], [""], {task: [0]})
    predictions = Predictions(dataset, (task,), {"label": np.array([[0, 1]], np.float32)})
    page = written(ReportContent("r", predictions, [score(predictions, task)]), tmp_path)
    tags = Tags(page)
    assert "0.0% of 1 given pictures were named right" in tags.text
    assert "There are no curves." in tags.text
    assert "hornbeam labels RUN" in tags.text


def test_pictures_without_labels_are_no_mistakes(tmp_path):
    task = Task("label", ("cat", "dog"))
    dataset = Dataset.from_columns(tmp_path, ["1.jpg"], ["test"], {task: [None]})
    predictions = Predictions(dataset, (task,), {"label": np.array([[0, 1]], np.float32)})
    tags = Tags(written(ReportContent("r", predictions, [score(predictions, task)]), tmp_path))
    assert "None of the pictures has a label" in tags.text
    assert "There are none." in tags.text


def test_many_classes_get_their_worst_part_a_map_and_a_list(tmp_path):
    task = Task("label", tuple(f"class{i}" for i in range(200)))
    labels = np.arange(400) % 200
    dataset = Dataset.from_columns(
        tmp_path, [f"{i}.jpg" for i in range(400)], ["test"] * 400, {task: labels}
    )
    answers = np.where(labels < 6, labels ^ 1, labels)
    predictions = Predictions(dataset, (task,), {"label": np.eye(200, dtype=np.float32)[answers]})
    page = written(ReportContent("r", predictions, [score(predictions, task)]), tmp_path)
    tags = Tags(page)
    assert "The 6 classes that are confused most" in tags.text
    assert ("data-map", "0") in {item for _, a in tags.found for item in a.items()}
    matrix = page[page.index("<table class=matrix>") : page.index("All 200 classes")]
    assert matrix.count("<button") == 6
    pairs = page[page.index("<table class=pairs>") :]
    pairs = pairs[: pairs.index("<section")]
    assert pairs.count("<tr>") == 7
    assert "class1<td class=words>class0" in pairs


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
    tags = Tags(written(ReportContent("r", predictions, scores), tmp_path))
    assert "33.3% of 30 test pictures were named right" in tags.text
    assert "The group of 100.0% of 30 pictures was named right." in tags.text
    assert tags.text.count("<pet>") == 3  # its scores; row and column of the confusion
    assert {tag for tag, _ in tags.found} & {"pet", "car"} == set()
    for name in scores[0].measures:
        assert name in tags.text


def test_several_tasks_and_several_labels_have_their_own_parts(tmp_path):
    kind, marks = Task("kind", ("cat", "dog")), Task("marks", ("big", "<red>"), multi_label=True)
    labels = {kind: [0, 1, None], marks: [[0], [], [0, 1]]}
    dataset = Dataset.from_columns(tmp_path, ["1", "2", "3"], ["test"] * 3, labels)
    logits = {
        "kind": np.array([[2, 0], [2, 0], [0, 1]], np.float32),
        "marks": np.array([[3, -2], [1, -1], [3, 3]], np.float32),
    }
    predictions = Predictions(dataset, (kind, marks), logits)
    scores = [score(predictions, task) for task in (kind, marks)]
    tags = Tags(written(ReportContent("r", predictions, scores), tmp_path))
    assert "50.0% of 2 test pictures were named right (kind)" in tags.text
    assert "66.7% of 3 test pictures were named right in every label (marks)" in tags.text
    assert "nothing, named big" in tags.text
    assert "<red>, or not" in tags.text
    assert "Confusion (kind)" in tags.text
    assert "Confusion (marks)" not in tags.text


def test_a_large_report_stays_small(tmp_path):
    predictions, task = many_classes(4000, 300)
    scores = [score(predictions, task)]
    page = written(ReportContent("large", predictions, scores), tmp_path)
    assert len(page) < 1_500_000
    more, _ = many_classes(8000, 300)
    grown = written(dataclasses.replace(ReportContent("l", more, scores)), tmp_path)
    assert len(grown) < 1.5 * len(page)
