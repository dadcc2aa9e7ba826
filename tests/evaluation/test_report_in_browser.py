"""The report in a real browser: it runs, is clicked, searched, sorted, printed, and shows no harm."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from sample_reports import HOSTILE, hostile_content, many_classes

from hornbeam.evaluation.report import ReportContent, write_report
from hornbeam.evaluation.scoring.scores import score


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report in which everything has a hostile name."""
    root = tmp_path_factory.mktemp("report")
    write_report(root / "report.html", hostile_content(root / "pictures"))
    return root / "report.html"


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A report of 200 classes, whose pictures are not there."""
    root = tmp_path_factory.mktemp("large")
    predictions, task = many_classes(4000, 200)
    content = ReportContent("large", predictions, [score(predictions, task)])
    write_report(root / "report.html", content)
    return root / "report.html"


@pytest.fixture
def opened(browser):
    """Open a page in a window of the usual size; it must have nothing to complain about."""

    def open_page(path, width=1200, height=900, scheme="light"):
        browser.complaints.clear()
        browser.media(scheme)
        browser.size(width, height)
        browser.open(path)
        return browser

    yield open_page
    assert browser.complaints == []


def visible(name):
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def colours(png):
    return len(
        np.unique(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3), axis=0)
    )


def test_a_cell_shows_its_pictures_and_hostile_names_stay_text(opened, page):
    tab = opened(page)
    assert tab.run("document.documentElement.className") == "scripted"
    cells = tab.run("[...document.querySelectorAll('.matrix .w button')].map(b => b.textContent)")
    assert cells == ["4"] * 5
    for number in range(5):
        tab.click(".matrix .w button", number)
        said = tab.run("document.querySelector('dialog[open] h2').textContent")
        assert said.endswith(": 4 pictures")
        assert sum(visible(name) in said for name in HOSTILE) == 2
        images = "[...document.querySelectorAll('dialog[open] img')]"
        assert tab.run(f"{images}.map(i => i.naturalWidth)") == [128] * 4
        assert (
            tab.run(
                "document.querySelectorAll('dialog *:not(h2,div,figure,img,figcaption,button,ul)').length"
            )
            == 0
        )
        tab.press("Escape", 27)
        assert tab.run("document.querySelector('dialog[open]')") is None


def test_a_cell_can_be_chosen_by_keyboard(opened, page):
    tab = opened(page)
    tab.run("document.querySelector('.matrix .w button').focus()")
    tab.press("Enter", 13)
    assert tab.run("document.querySelector('dialog[open] h2').textContent").endswith(": 4 pictures")
    tab.press("Escape", 27)
    assert tab.run("document.activeElement.dataset.c").startswith("0,")


def test_the_page_may_run_no_other_script_and_fetch_nothing(browser, page, opened):
    tab = opened(page)
    tab.run(
        "new Promise(done => { const s = document.createElement('script'); s.textContent = 'window.harm = 1';"
        "document.body.append(s); const i = new Image(); i.onerror = done;"
        "i.src = 'http://127.0.0.1:9/x.png'; })"
    )
    assert tab.run("window.harm") is None
    refused = [str(complaint) for complaint in browser.complaints]
    assert any("script" in text and "Content Security Policy" in text for text in refused)
    assert any("x.png" in text and "Content Security Policy" in text for text in refused)
    browser.complaints.clear()


def test_the_table_is_sorted_by_a_column_and_back(opened, large):
    tab = opened(large)
    column = "[...document.querySelectorAll('#classes-0 tbody tr')].map(r => parseFloat(r.cells[2].textContent))"
    at_first = tab.run(column)
    tab.click("#classes-0 thead th:nth-child(3) button")
    assert tab.run(column) == sorted(at_first)
    assert tab.run("document.querySelector('#classes-0 [aria-sort]').ariaSort") == "ascending"
    tab.click("#classes-0 thead th:nth-child(3) button")
    assert tab.run(column) == sorted(at_first, reverse=True)
    tab.click("#classes-0 thead th:nth-child(1) button")
    assert tab.run(column) == at_first


def test_classes_and_confusions_are_searched(opened, large):
    tab = opened(large)
    typed = "(() => {{ const f = document.querySelector('{}'); f.value = '{}'; f.dispatchEvent(new Event('input')); }})()"
    tab.run(typed.format("#classes-0 [data-filter]", "CLASS 0017"))
    names = "[...document.querySelectorAll('#classes-0 tbody tr:not([hidden])')].map(r => r.cells[0].textContent)"
    assert tab.run(names) == ["class 0017 of 200"]
    pairs = "[...document.querySelectorAll('.pairs tbody tr')].map(r => [...r.cells].slice(0, 2).map(c => c.textContent))"
    first = tab.run(pairs)
    tab.run(typed.format("[data-pairs]", "class 0017"))
    found = tab.run(pairs)
    assert len(found) > 3
    assert all("class 0017 of 200" in pair for pair in found)
    tab.click(".pairs tbody button")
    assert "class 0017" in tab.run("document.querySelector('dialog[open] h2').textContent")
    assert tab.run("document.querySelectorAll('dialog[open] li').length") > 0  # no pictures: names
    tab.press("Escape", 27)
    tab.run(typed.format("[data-pairs]", ""))
    assert tab.run(pairs) == first


def test_a_place_of_the_map_lists_the_cells_near_it(opened, large):
    tab = opened(large)
    tab.click("[data-map]")  # its middle, on the diagonal
    assert tab.run("document.querySelector('dialog[open] h2').textContent").startswith(
        "Near class 0"
    )
    tab.click("dialog[open] [data-c]")
    assert "picture" in tab.run("document.querySelector('dialog[open] h2').textContent")


@pytest.mark.parametrize("which", ["page", "large"])
def test_a_phone_scrolls_it_up_and_down_only(opened, which, request):
    tab = opened(request.getfixturevalue(which), width=360, height=740)
    assert tab.run("document.documentElement.scrollWidth") <= 360
    tab.click("[data-c]")
    assert tab.run("document.documentElement.scrollWidth") <= 360
    assert tab.run("document.querySelector('dialog').scrollWidth") <= 360


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_it_is_drawn_light_and_dark(opened, page, scheme, dark):
    tab = opened(page, scheme=scheme)
    shot = tab.screenshot()
    assert colours(shot) > 100
    corner = np.asarray(Image.open(io.BytesIO(shot)).convert("L"))[:8, :8]
    assert (corner.mean() < 128) == dark


def test_print_shows_what_is_closed(opened, page):
    tab = opened(page, scheme="dark")
    closed = "document.querySelector('#options details pre').getBoundingClientRect().height"
    tab.media("dark", "print")
    assert tab.run(closed) > 20
    assert tab.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.pdf().startswith(b"%PDF")


def test_without_scripts_all_but_clicking_is_there(opened, browser, page):
    browser("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab = opened(page)
        assert tab.run("document.documentElement.className") == ""
        text = tab.run("document.body.innerText")
        assert "20 validation pictures were named right" in text
        assert "Choose a cell" not in text
        assert tab.run("document.querySelectorAll('section').length") >= 10
    finally:
        browser("Emulation.setScriptExecutionDisabled", value=False)


def test_a_large_report_opens_within_a_second(opened, large):
    times = [1000.0]
    while min(times) >= 1000 and len(times) < 15:  # the machine may be busy with other tests
        tab = opened(large)
        entry = "performance.getEntriesByType('navigation')[0]"
        times.append(tab.run(f"{entry}.loadEventEnd"))
        time.sleep(0.1)
    assert min(times) < 1000, times
