"""The page shows real pictures, their variations and the labels that training gets."""

import re

import numpy as np

from hornbeam.data.augment_page import spread, write_augment_page
from hornbeam.data.pixels.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.pixels.mixing import Mixing
from hornbeam.data.sources import open_dataset


def write(path, dataset, augment):
    write_augment_page(
        path, dataset, augment, "strong", pictures=6, variations=3, image_size=(32, 40, 3),
        resize_mode="crop", seed=0,
    )  # fmt: skip
    return path.read_text()


def test_the_command_writes_a_page_that_fetches_nothing(hornbeam, shapes, tmp_path):
    page = tmp_path / "new" / "page.html"
    done = hornbeam(
        "augment-preview", shapes, "--html", page, "--augment", "strong", "--pictures", 4,
        "--variations", 5, "--rotation", 30, "--image-size", "32x40x1",
    )  # fmt: skip
    assert done.code == 0, done.err
    text = page.read_text()
    assert text.count("<img") == 4 * 6
    assert "rotation 30" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)


def test_mixed_labels_are_named_with_their_shares(shapes, tmp_path):
    text = write(
        tmp_path / "page.html", open_dataset(shapes), Augmentation(mixing=Mixing(mixup=1.0))
    )
    assert re.search(r"\w+ \d\d%, \w+ \d\d%", text)


def test_pictures_are_of_as_many_classes_as_there_are(shapes):
    dataset = open_dataset(shapes)
    rows = spread(dataset, 6, seed=0)
    assert len(set(dataset.labels(dataset.tasks[0])[rows].tolist())) == 6
    assert not np.array_equal(rows, spread(dataset, 6, seed=1))
    assert len(spread(dataset, 1000, seed=0)) == len(dataset)


def test_hostile_names_are_text(folders, tmp_path):
    root = folders(
        {"<script>alert(1)</script>"[:8].replace("/", "") + "/<b>x.png": 30, "b/y.png": 90}
    )
    text = write(tmp_path / "page.html", open_dataset(root), AUGMENTATIONS["strong"])
    assert "<b>x" not in text
    assert "<script" not in text
    assert "&lt;script" in text
