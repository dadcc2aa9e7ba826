"""The page in a real browser: a picture is chosen, dropped, answered; names do no harm."""

import base64
import io
import json
import time

import numpy as np
import pytest
from onnx_bundle import make_bundle, picture
from PIL import Image
from running import Running

HOSTILE = (
    "<script>window.harm=1</script>",
    '"><img src=x onerror=window.harm=1>',
    "</style>${1}\u202egnp",
)
RED, GREY = (210, 40, 30), (128, 128, 128)
TOKEN = "a-token-of-a-test"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    server = Running(
        make_bundle(tmp_path_factory.mktemp("page") / "b", classes=HOSTILE, name=HOSTILE[0])
    )
    yield server
    assert server.stop() == 0


@pytest.fixture
def opened(browser):
    """Open the page of a server; the console must have nothing to complain about."""

    def open_page(server, width=1000, height=900, scheme="light"):
        browser.complaints.clear()
        browser.media(scheme)
        browser.size(width, height)
        browser.open(f"http://127.0.0.1:{server.port}/")
        return browser

    yield open_page
    assert browser.complaints == []


@pytest.fixture
def shots(tmp_path):
    for name, colour in (("red", RED), ("grey", GREY)):
        (tmp_path / f"{name}.png").write_bytes(picture(*colour, size=(300, 200)))
    (tmp_path / "no.png").write_bytes(b"<html>")
    return tmp_path


def wait(tab, script, seconds=60):
    end = time.monotonic() + seconds
    while not (value := tab.run(script)):
        assert time.monotonic() < end, tab.run("document.body.innerText")
        time.sleep(0.02)
    return value


def answers(tab, count=1):
    wait(tab, f"document.querySelectorAll('#answers > li').length === {count}")
    return tab.run("[...document.querySelectorAll('#answers > li')].map(e => e.innerText)")


def test_a_chosen_picture_is_answered_with_bars(opened, colours, shots):
    tab = opened(colours)
    wait(tab, "document.querySelector('#about').textContent.includes('3 classes of label')")
    tab.choose("#file", shots / "red.png")
    (text,) = answers(tab)
    assert text.startswith("red\n")
    assert "99.2 %" in text
    assert "red.png" in text
    assert "Not sure" not in text
    meters = tab.run("[...document.querySelectorAll('meter')].map(m => m.value)")
    said = colours.predict((shots / "red.png").read_bytes())[2]["answers"][0]
    assert meters == pytest.approx([e["probability"] for e in said["tasks"]["label"]["top"]])
    spoken = tab.run("document.querySelector('[aria-live=polite]').textContent")
    assert spoken == "red.png: red, 99.2 %."
    image = wait(
        tab,
        "(i => i && i.naturalWidth && [i.naturalWidth, i.alt])(document.querySelector('li img'))",
    )
    assert image == [300, ""]


def test_of_several_labels_the_page_says_which_hold(opened, serving, shots):
    tab = opened(serving(multi_label=True))
    tab.choose("#file", shots / "red.png")
    assert answers(tab)[0].startswith("red\n")
    tab.choose("#file", shots / "grey.png")
    assert "\nnone of the labels\n" in answers(tab, 2)[0]
    spoken = tab.run("document.querySelector('#state').textContent")
    assert spoken.startswith("grey.png: none of the labels, not sure")


def test_doubt_is_said_in_words(opened, colours, shots):
    tab = opened(colours)
    tab.choose("#file", shots / "grey.png")
    (text,) = answers(tab)
    assert "Not sure" in text
    assert "Unlike the known classes" in text
    assert "not sure; unlike the known classes" in tab.run(
        "document.querySelector('#state').textContent"
    )


def test_several_pictures_are_answered_and_a_bad_one_has_its_sentence(
    browser, opened, colours, shots
):
    tab = opened(colours)
    tab.choose("#file", shots / "red.png", shots / "no.png", shots / "grey.png")
    texts = answers(tab, 3)
    assert "Unlike" in texts[0]
    assert "this is not a picture" in texts[1]
    assert texts[2].startswith("red")
    assert wait(tab, "document.querySelector('#state').textContent") == "3 pictures are answered."
    # Chromium itself notes every status above 399.
    assert all("422" in str(each) for each in browser.complaints), browser.complaints
    browser.complaints.clear()


def test_a_dropped_picture_is_answered(opened, colours):
    tab = opened(colours)
    data = base64.b64encode(picture(*RED)).decode()
    tab.run(
        "(() => { const bytes = Uint8Array.from(atob('" + data + "'), c => c.charCodeAt(0));"
        "const all = new DataTransfer(); all.items.add(new File([bytes], 'dropped.png', {type: 'image/png'}));"
        "document.querySelector('#drop').dispatchEvent("
        "new DragEvent('drop', {dataTransfer: all, bubbles: true, cancelable: true})); })()"
    )
    assert "dropped.png" in answers(tab)[0]


def test_hostile_names_stay_text(opened, hostile, shots):
    tab = opened(hostile)
    wait(tab, "document.querySelector('#about').textContent")
    assert tab.run("document.querySelector('#name').textContent") == HOSTILE[0]
    hard = shots / "<img src=x onerror=window.harm=1>.png"
    hard.write_bytes(picture(*RED))
    tab.choose("#file", hard)
    answers(tab)
    names = tab.run("[...document.querySelectorAll('.of span')].map(e => e.textContent)")
    assert sorted(names) == sorted(HOSTILE)
    assert tab.run("document.querySelectorAll('#answers script, #answers img').length") == 1
    assert tab.run("window.harm") is None


def test_no_other_script_runs_and_no_other_address_is_asked(browser, opened, colours):
    tab = opened(colours)
    tab.run(
        "new Promise(done => { const s = document.createElement('script'); s.textContent = 'window.harm = 1';"
        "document.body.append(s); fetch('http://127.0.0.1:9/x').then(done, done); })"
    )
    assert tab.run("window.harm") is None
    refused = " ".join(map(str, browser.complaints))
    assert "script-src" in refused
    assert "connect-src" in refused
    browser.complaints.clear()


def test_it_asks_for_the_token_and_goes_on(browser, serving, opened, shots):
    server = serving(HORNBEAM_TOKEN=TOKEN)
    tab = opened(server)
    wait(tab, "!document.querySelector('#access').hidden")
    assert "wants a token" in tab.run("document.querySelector('#state').textContent")
    tab.choose("#file", shots / "red.png")
    wait(tab, "document.querySelector('#state').textContent.includes('token')")
    for word, outcome in (("wrong-token-1", "another one"), (TOKEN, "red.png: red")):
        tab.run(
            "document.querySelector('#token').focus(), document.querySelector('#token').select()"
        )
        tab("Input.insertText", text=word)
        tab.press("Enter", 13)
        wait(tab, f"document.querySelector('#state').textContent.includes({json.dumps(outcome)})")
    assert tab.run("document.querySelector('#access').hidden") is True
    assert tab.run("location.href").endswith(f":{server.port}/")
    assert len(answers(tab)) == 1
    assert all("401" in str(each) for each in browser.complaints), browser.complaints
    browser.complaints.clear()


def test_everything_is_reached_by_keyboard(opened, colours):
    tab = opened(colours)
    reached = []
    for _ in range(3):
        tab.press("Tab", 9)
        reached.append(tab.run("document.activeElement.id"))
    assert reached[:2] == ["file", "camera"]
    assert tab.run(
        "getComputedStyle(document.querySelector('.choose:focus-within') || document.body).outlineStyle"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1000])
def test_it_fits_phones_and_screens_in_light_and_dark(opened, hostile, shots, width, scheme):
    tab = opened(hostile, width=width, height=800, scheme=scheme)
    tab.choose("#file", shots / "red.png", shots / "grey.png")
    answers(tab, 2)
    assert tab.run("document.documentElement.scrollWidth") <= width
    small = tab.run(
        "[...document.querySelectorAll('.choose')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(small) >= 40  # a thumb
    shot = np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("L"))
    assert (shot.mean() < 100) == (scheme == "dark")


def test_the_page_can_be_left_out(serving):
    server = serving("--no-page")
    assert server.ask("GET", "/")[0] == 404


def test_a_server_that_has_gone_is_a_sentence(browser, serving, opened, shots):
    server = serving()
    tab = opened(server)
    wait(tab, "document.querySelector('#about').textContent")
    server.stop()
    tab.choose("#file", shots / "red.png")
    assert "The server cannot be reached." in answers(tab)[0]
    browser.complaints.clear()
