"""The page of a check: complete in itself, and safe against what files are called."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hornbeam.data.inspection.check_page import write_check_page
from hornbeam.data.inspection.checks import find_faults
from hornbeam.data.inspection.facts import gather
from hornbeam.data.sources import open_dataset

HOSTILE = "<script>alert(1)</script>"
QUOTED = "\"'><img src=x onerror=alert(2)>\n.jpg"


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def write(tmp_path):
    def write(root):
        dataset = open_dataset(root)
        facts = gather(dataset, 2)
        findings = find_faults(dataset, facts, near=6, smallest_class=2, threads=2)
        write_check_page(tmp_path / "check.html", dataset, facts, findings)
        return (tmp_path / "check.html").read_text()

    return write


def test_hostile_names_of_files_and_classes_are_only_text(folders, write):
    # A name cannot hold "/", so the class is `<script>alert(1)<`, its folder `script>`.
    root = folders(
        {f"{HOSTILE}/1.jpg": 1, f"a'b&c/{QUOTED}": b"", "a'b&c/2.jpg": 3, "a'b&c/3.jpg": 3}
    )
    page = Elements(write(root))
    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert HOSTILE in page.text or "<script>" in page.text
    assert "onerror=alert(2)" in page.text


def test_nothing_is_fetched_from_elsewhere(shapes, tmp_path, write):
    picture = next(shapes.rglob("*.jpg"))
    copy = tmp_path / "s"
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(picture.read_bytes())
    page = Elements(write(copy))
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert sources
    assert all(value.startswith(("data:image/jpeg;base64,", "#")) for value in sources)


def test_more_pictures_than_are_shown_are_counted(folders, write):
    rng = np.random.default_rng(0)
    files = {f"cat/{i}.jpg": rng.bytes(20) for i in range(40)}
    text = write(folders({**files, "cat/a.png": 50, "dog/b.png": 70, "dog/c.png": 90}))
    assert "… and 16 more files." in text
    assert len(re.findall("<li>", text.split('id="unreadable"')[1].split("<h2")[0])) == 24


def test_copies_stand_side_by_side_with_split_and_class(shapes, tmp_path, write):
    pictures = sorted(shapes.rglob("*.jpg"))
    root = tmp_path / "pictures"
    names = ["train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg", "test/dog/4.jpg"]
    for name, picture in zip(
        names, [pictures[0], pictures[20], pictures[0], pictures[40]], strict=True
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture.read_bytes())
    group = write(root).split('id="leak"')[1].split("<h2")[0]
    assert group.count("<img") == 2
    for words in ("train/cat/1.jpg", "train · cat", "test/cat/3.jpg", "test · cat"):
        assert words in group
