"""The page of a comparison: self-contained, true, and safe against what folders are called."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from hornbeam.data.sources import open_dataset
from hornbeam.evaluation.comparison.compare import compare_all
from hornbeam.evaluation.comparison.compare_page import write_compare_page
from hornbeam.evaluation.comparison.compare_words import conclusion
from hornbeam.evaluation.predictions import Predictions

HOSTILE = "<script>alert(1)<"  # a folder's name cannot have a slash
QUOTED = "\"onerror='x' &amp;"


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def made(tmp_path):
    """Three models of 20 pictures: one right, one wrong on every fourth, one wrong on all."""
    rng = np.random.default_rng(0)
    for name in (HOSTILE, QUOTED):
        (tmp_path / "p" / name).mkdir(parents=True)
        for index in range(10):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "p" / name / f"<b>{index}.png")
    dataset = open_dataset(tmp_path / "p").with_column("split", ["test"] * 20)
    task = dataset.tasks[0]
    labels = dataset.labels(task)
    models = []
    for wrong in (np.zeros(20, bool), np.arange(20) % 4 == 0, np.ones(20, bool)):
        logits = 3 * np.eye(2, dtype=np.float32)[np.where(wrong, 1 - labels, labels)]
        models.append(Predictions(dataset, (task,), {"label": logits}))
    return models, ["<i>first", "second", "third"]


def written(tmp_path, models, names):
    task = models[0].tasks[0]
    found = compare_all(models, task, names)
    write_compare_page(tmp_path / "c.html", found, models, names, "20 test pictures.")
    return found, (tmp_path / "c.html").read_text()


def test_hostile_names_stay_text_and_nothing_is_fetched(made, tmp_path):
    _, page = written(tmp_path, *made)
    tags = Tags(page)
    assert {tag for tag, _ in tags.found} & {"script", "b>"} == set()
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    for name in (HOSTILE, QUOTED, "<i>first", "<b>0.png"):
        assert name in tags.text
    for tag, attributes in tags.found:
        for name in {"src", "href"} & set(attributes):
            assert attributes[name].startswith(("data:", "#")), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(", page)


def test_it_tells_the_conclusion_and_shows_the_changed_pictures(made, tmp_path):
    models, names = made
    (found,), page = written(tmp_path, models[:2], names[:2])
    tags = Tags(page)
    assert conclusion(found) in tags.text
    assert "Right before, wrong now: 5" in tags.text
    assert "Wrong before, right now: 0" in tags.text
    assert sum(tag == "img" for tag, _ in tags.found) == 5
    assert f"{HOSTILE} named {QUOTED}+" in tags.text


def test_several_models_have_a_part_each(made, tmp_path):
    found, page = written(tmp_path, *made)
    tags = Tags(page)
    for comparison in found:
        assert conclusion(comparison) in tags.text
    assert sum(tag == "h2" for tag, _ in tags.found) == 3  # two models, and what it rests on
    targets = {attributes["id"] for tag, attributes in tags.found if "id" in attributes}
    links = {a["href"][1:] for tag, a in tags.found if tag == "a"}
    assert links == targets
    assert sum(tag == "img" for tag, _ in tags.found) == 5 + 20


def test_pictures_that_are_gone_are_told_of(made, tmp_path):
    models, names = made
    for path in (tmp_path / "p").rglob("*.png"):
        path.unlink()
    _, page = written(tmp_path, models[:2], names[:2])
    assert page.count("(the picture is gone)") == 5


def test_a_browser_shows_it_without_complaint_and_without_sideways_scroll(made, tmp_path, browser):
    written(tmp_path, *made)
    before = len(browser.complaints)
    for width in (360, 1200):
        browser.size(width, 800)
        browser.open(tmp_path / "c.html")
        assert browser.run("document.documentElement.scrollWidth") <= width
        loaded = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
        assert browser.run(loaded)
    assert browser.complaints[before:] == []
