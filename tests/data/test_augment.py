"""Variations stay inside the picture and inside their ranges, and follow their generator alone."""

import numpy as np
import pytest

from hornbeam.data.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.resize import random_box

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_generator_alone_decides(name):
    vary = AUGMENTATIONS[name]
    pictures = [vary(PIXELS, (32, 40), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert pictures[0].shape == (32, 40, 3)
    assert pictures[0].dtype == np.uint8
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.array_equal(pictures[0], pictures[2]) == (name == "none")


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60), (1, 400), (3, 2)])
def test_a_random_box_lies_inside_the_picture_and_keeps_its_share(height, width):
    rng = np.random.default_rng(0)
    for _ in range(300):
        box = random_box(height, width, (32, 32), (0.25, 0.8), 1.2, rng)
        assert 0 <= box.left < box.right <= width
        assert 0 <= box.top < box.bottom <= height
        if min(height, width) > 50:
            area = (box.right - box.left) * (box.bottom - box.top) / min(height, width) ** 2
            assert 0.24 < area < 0.83


def test_every_place_is_reached():
    rng = np.random.default_rng(0)
    boxes = [random_box(50, 100, (10, 10), (0.5, 1.0), 1.0, rng) for _ in range(300)]
    assert min(box.left for box in boxes) == 0
    assert max(box.right for box in boxes) == 100


def test_colour_changes_are_their_closed_form():
    grey = np.full((4, 4, 3), 100, np.uint8)
    grey[:2] = 140
    vary = Augmentation(brightness=0.1, contrast=0.5)
    found = vary(grey, (4, 4), np.random.default_rng(5))
    brightness, contrast, _ = np.random.default_rng(5).uniform(-1, 1, 3) * (0.1, 0.5, 0)
    expected = (grey - 120.0) * (1 + contrast) + 120 + 255 * brightness
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_mirroring_mirrors():
    found = Augmentation(flip=1.0)(PIXELS, (60, 90), np.random.default_rng(0))
    np.testing.assert_array_equal(found, PIXELS[:, ::-1])
