"""The sample must be worth learning."""

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from hornbeam.data.pixels.images import decode
from hornbeam.data.pixels.resize import central_box, resize_box
from hornbeam.data.sample import SHAPES, draw_sample
from hornbeam.data.sources import open_dataset


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "shapes"
    assert draw_sample(root, per_class=60, size=64, seed=0) == 60 * len(SHAPES)
    return open_dataset(root)


@pytest.mark.parametrize("what", ["a 4x4 thumbnail", "mean colour"])
def test_colour_and_brightness_do_not_give_the_class_away(sample, what):
    side = 4 if what == "a 4x4 thumbnail" else 1
    pictures = [decode(sample.read(row)) for row in range(len(sample))]
    thumbnails = [
        resize_box(p, central_box(*p.shape[:2], (side, side)), (side, side)) for p in pictures
    ]
    features = np.array([t.ravel() for t in thumbnails]) / 255
    labels = sample.labels(sample.tasks[0])
    accuracy = cross_val_score(LogisticRegression(max_iter=2000), features, labels, cv=4).mean()
    assert accuracy < 0.6


def test_formats_and_sizes_vary_and_one_picture_lies_on_its_side(sample):
    assert len(SHAPES) >= 6
    suffixes = [path.rsplit(".")[-1] for path in sample.paths]
    assert suffixes.count("jpg") > suffixes.count("png") > 0
    sizes, orientations = set(), []
    for path in sample.paths:
        with Image.open(sample.root / path) as picture:
            sizes.add(picture.size)
            orientations.append(picture.getexif().get(0x0112, 1))
    assert len(sizes) > 50
    assert sum(orientation != 1 for orientation in orientations) == 1


def test_the_same_seed_draws_the_same_and_more_pictures_only_add(tmp_path):
    for name, count, seed in (("a", 2, 0), ("b", 3, 0), ("c", 2, 1)):
        draw_sample(tmp_path / name, count, 32, seed)
    files = sorted((tmp_path / "a").rglob("*.*"))
    for file in files:
        relative = file.relative_to(tmp_path / "a")
        assert file.read_bytes() == (tmp_path / "b" / relative).read_bytes()
    first = "star/star-0001"
    assert len({next(tmp_path.glob(f"{n}/{first}.*")).read_bytes() for n in "abc"}) == 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError):
        draw_sample(tmp_path / "mine", 1, 32, 0)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
