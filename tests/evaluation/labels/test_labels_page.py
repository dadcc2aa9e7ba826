"""The page of suspects works in a browser, and what was clicked comes out as a list to apply."""

import csv
import io
import re

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.labels.labels_file import Suspect, cells_of, read_suspects
from hornbeam.evaluation.labels.labels_page import write_labels_page
from hornbeam.evaluation.labels.mending import apply_file
from hornbeam.evaluation.labels.suspects import Found

HOSTILE = "<img src=x onerror=alert(1)>\"'</script>"
KIND = Task("kind", ("cat", HOSTILE, "=cow"))


@pytest.fixture
def listed(tmp_path):
    """A page about four pictures, one of which is gone; and the pictures."""
    names = ["a.jpg", "<b>b&.jpg", "c.jpg", "gone.jpg"]
    for name, grey in zip(names[:3], (40, 120, 200), strict=True):
        Image.fromarray(np.full((30, 40, 3), grey, np.uint8)).save(tmp_path / name, "JPEG")
    dataset = Dataset.from_columns(
        tmp_path, names, ["train", "test", "train", "train"],
        {KIND: pa.array([0, 1, 2, 0], pa.int32())},
    )  # fmt: skip
    suspects = [
        Suspect(names[0], "train", "kind", "cat", HOSTILE, 0.01, 0.98, 0.99),
        Suspect(names[1], "test", "kind", HOSTILE, "cat", 0.02, 0.9, 0.9),
        Suspect(names[2], "train", "kind", "=cow", "cat", 0.1, 0.5, 0.8),
        Suspect(names[3], "train", "kind", "cat", "=cow", 0.1, 0.5, 0.7),
    ]
    found = Found(
        KIND, suspects, [0, 1, 2, 3], np.array([0.99, 0.9, 0.8, 0.7]), 3.4, 4,
        [("cat", HOSTILE, 1)], (),
    )  # fmt: skip
    page = tmp_path / "labels.html"
    write_labels_page(page, dataset, [found], HOSTILE, "hornbeam labels --apply <F>")
    return page, dataset, suspects


def test_names_stay_text_and_nothing_is_fetched(listed):
    page, _, _ = listed
    text = page.read_text()
    assert "<img src=x" not in text
    assert "<b>b&" not in text
    assert text.count("</script>") == 2  # the table and the script, ended by nobody else
    assert not re.search(r"<[^>&]*\s(src|href)=[\"']?(?!data:|#)\w", text)
    assert "the picture is gone" in text


def test_what_is_clicked_comes_out_as_a_list_that_can_be_applied(listed, browser, tmp_path):
    page, dataset, suspects = listed
    browser.open(page)
    assert browser.run("document.querySelectorAll('.card').length") == 4
    browser.click(".card[data-row='0'] input", 0)  # the suggestion
    browser.click(".card[data-row='1'] input", 1)  # keep
    browser.click(".card[data-row='2'] input", 2)  # delete
    browser.run(
        "(() => { const s = document.querySelector(\".card[data-row='3'] select\"); s.focus();"
        f"s.value = {HOSTILE!r}; s.dispatchEvent(new Event('change', {{bubbles: true}})); }})()"
    )
    assert browser.run("document.getElementById('said').textContent") == "4 of 4 decided"
    text = browser.run(
        "(() => { const a = document.getElementById('download');"
        "a.addEventListener('click', e => e.preventDefault(), {once: true}); a.click();"
        # The policy of the page forbids to fetch it, so it is read as a file is.
        "return a.href.startsWith('blob:') && contents(); })()"
    )
    assert browser.complaints == []
    path = tmp_path / "labels.csv"
    path.write_text(text, "utf-8")
    assert read_suspects(path) == []  # all are decided
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    entered = [row.pop("new_label") for row in rows]
    assert [tuple(row.values()) for row in rows] == [tuple(cells_of(s)) for s in suspects]
    assert entered == [HOSTILE, "-", "DELETE", HOSTILE]
    applied = apply_file(dataset, path)
    assert applied.dataset.paths == ["a.jpg", "<b>b&.jpg", "gone.jpg"]
    assert applied.dataset.labels(KIND).tolist() == [1, 1, 1]


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen(listed, browser, width):
    page, _, _ = listed
    browser.size(width, 800)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_a_second_choice_replaces_the_first(listed, browser):
    page, _, _ = listed
    browser.open(page)
    browser.click(".card[data-row='0'] input", 0)
    browser.click(".card[data-row='0'] input", 2)
    browser.run(
        "(() => { const s = document.querySelector(\".card[data-row='1'] select\"); s.focus();"
        "s.value = '=cow'; s.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    rows = list(csv.DictReader(io.StringIO(browser.run("contents()").removeprefix("\ufeff"))))
    # A class that a spreadsheet would run is quoted, as in the file.
    assert [row["new_label"] for row in rows] == ["DELETE", "'=cow", "", ""]


def test_another_class_is_offered_when_somebody_looks_for_one(listed, browser):
    page, _, _ = listed
    assert page.read_text().count("<option") == 4  # "another …", once a card
    browser.open(page)
    offered = (
        "[...document.querySelector(\".card[data-row='{}'] select\").options].map(o => o.value)"
    )
    assert browser.run(offered.format(1)) == [""]
    browser.run("document.querySelector(\".card[data-row='1'] select\").focus()")
    assert browser.run(offered.format(1)) == ["", "=cow"]
    assert browser.run(offered.format(0)) == [""]


def test_a_page_without_suspects_says_so_and_has_no_script(tmp_path):
    dataset = Dataset.from_columns(
        tmp_path, ["a.jpg"], ["train"], {KIND: pa.array([0], pa.int32())}
    )
    page = tmp_path / "labels.html"
    write_labels_page(page, dataset, [Found(KIND, [], [], np.zeros(1), 0.0, 1, [], ())], "x", "y")
    assert "None of 1 labels" in page.read_text()
    assert "<script" not in page.read_text()
