"""Variations stay inside the picture and inside their ranges, and follow their generator alone."""

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from hornbeam.config import PipelineOptions
from hornbeam.data.pixels.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.pixels.colour import ColourChange, hue_matrix
from hornbeam.data.pixels.mixing import Mixing
from hornbeam.data.pixels.randaugment import (
    OPERATIONS,
    Operation,
    affine_of,
    draw_operations,
    recolour,
)
from hornbeam.data.pixels.resize import random_box

EXPECTED_BOXES = [(17, 65, 359, 473), (44, 162, 258, 447)]
EXPECTED_FLIPS = [True, True]
EXPECTED_COLOURS = [
    [-0.034989335764, -0.036610717832, -0.181889922439],
    [0.142255857978, 0.159071043243, 0.137692415043],
]
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


def smooth(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def mean_difference(found, expected):
    return np.abs(found.astype(float) - expected).mean()


def test_flips_change_sides():
    rng = np.random.default_rng(0)
    upended = Augmentation(vertical_flip=1.0)(PIXELS, (60, 90), rng)
    np.testing.assert_array_equal(upended, PIXELS[::-1])
    both = Augmentation(flip=1.0, vertical_flip=1.0)(PIXELS, (60, 90), rng)
    np.testing.assert_array_equal(both, PIXELS[::-1, ::-1])


@pytest.mark.parametrize("seed", range(4))
def test_a_turn_is_the_one_pillow_makes(seed):
    pixels = smooth(80, 80)
    found = Augmentation(rotation=40)(pixels, (80, 80), np.random.default_rng(seed))
    degrees = np.random.default_rng(seed).uniform(-1, 1, 4)[0] * 40
    expected = np.asarray(Image.fromarray(pixels).rotate(degrees, Image.Resampling.BILINEAR))
    inside = np.hypot(*(np.indices((80, 80)) - 39.5)) < 36  # the corners are reflections
    assert mean_difference(found[inside], expected[inside]) < 1.5


@pytest.mark.parametrize(("name", "matrix"), [
    ("rotate", [[np.cos(np.pi / 12), -np.sin(np.pi / 12), 0], [np.sin(np.pi / 12), np.cos(np.pi / 12), 0]]),
    ("shear_x", [[1, 0.15, 0], [0, 1, 0]]), ("shear_y", [[1, 0, 0], [0.15, 1, 0]]),
    ("translate_x", [[1, 0, 75 / 331 * 90], [0, 1, 0]]), ("translate_y", [[1, 0, 0], [0, 1, 75 / 331 * 60]]),
    ("equalize", [[1, 0, 0], [0, 1, 0]]),
])  # fmt: skip
def test_geometric_operations_are_autoaugments(name, matrix):
    np.testing.assert_allclose(affine_of(Operation(name, 0.5), (60, 90))[:2], matrix, atol=1e-12)


def test_a_shift_moves_and_shows_reflections():
    pixels = smooth(80, 80)
    vary = Augmentation(shift=0.5)
    found = vary(pixels, (80, 80), np.random.default_rng(3))
    _, _, down, right = np.random.default_rng(3).uniform(-1, 1, 4) * 40
    wide = cv2.copyMakeBorder(pixels, 80, 80, 80, 80, cv2.BORDER_REFLECT)
    moved = cv2.warpAffine(
        wide, np.array([[1, 0, 80 + right], [0, 1, 80 + down]]), (80, 80),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )  # fmt: skip
    assert mean_difference(found, moved) < 0.6


def test_zooming_keeps_the_middle():
    pixels = np.zeros((81, 81, 3), np.uint8)
    pixels[30:51, 30:51] = 255
    for seed in range(6):
        found = Augmentation(zoom=0.5)(pixels, (81, 81), np.random.default_rng(seed))
        grown = 1 + 0.5 * np.random.default_rng(seed).uniform(-1, 1, 4)[1]
        mass = found[..., 0] / 255
        assert mass.sum() == pytest.approx((21 * grown) ** 2, rel=0.04)
        assert (mass * np.indices((81, 81))[0]).sum() / mass.sum() == pytest.approx(40, abs=0.2)


def test_a_warp_is_antialiased():
    fine = np.indices((512, 512)).sum(axis=0) % 2 * 255
    pixels = np.repeat(fine[..., None], 3, axis=2).astype(np.uint8)
    for seed in range(4):
        found = Augmentation(rotation=30)(pixels, (64, 64), np.random.default_rng(seed))
        assert np.abs(found.astype(int) - 128).max() <= 6


@pytest.mark.parametrize("seed", range(5))
def test_crop_turn_zoom_and_shear_in_one_warp_are_those_one_after_the_other(seed):
    pixels = smooth(300, 400, seed)
    vary = Augmentation(
        area=(0.4, 0.7), rotation=25, zoom=0.2, shift=0.1, randaugment=3, magnitude=4
    )
    plan = vary.plan(300, 400, (96, 96), np.random.default_rng(seed))
    plan = dataclasses.replace(plan, operations=())
    found = plan.apply(pixels)
    big = cv2.copyMakeBorder(pixels, 400, 400, 400, 400, cv2.BORDER_REFLECT)
    y, x = np.indices((96, 96)) + 0.5
    at = np.einsum("ij,jhw->ihw", plan.matrix, np.stack([x, y, np.ones_like(x)]))
    expected = cv2.remap(
        big, (at[0] - 0.5 + 400).astype(np.float32), (at[1] - 0.5 + 400).astype(np.float32),
        cv2.INTER_LINEAR,
    )  # fmt: skip
    assert mean_difference(found, expected) < 1.5


def test_colours_keep_their_luma_when_the_circle_turns():
    colours = np.random.default_rng(0).uniform(90, 160, (50, 3))
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(hue_matrix(0), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(hue_matrix(120) @ hue_matrix(-120), np.eye(3), atol=1e-9)
    turned = colours @ hue_matrix(77).T
    np.testing.assert_allclose(turned @ luma, colours @ luma, atol=1e-9)
    np.testing.assert_allclose(hue_matrix(77) @ [5, 5, 5], [5, 5, 5], atol=1e-4)


@pytest.mark.parametrize("channels", [1, 4])
def test_colour_leaves_alpha_alone_and_serves_grey(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, channels), np.uint8)
    found = ColourChange(0.1, 0.2, 0.3, 20)(pixels)
    operations = tuple(Operation(name, 0.5) for name in OPERATIONS)
    recoloured = recolour(pixels, operations)
    assert found.shape == recoloured.shape == pixels.shape
    assert not np.array_equal(recoloured[..., 0], pixels[..., 0])
    if channels == 4:
        np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
        np.testing.assert_array_equal(recoloured[..., 3], pixels[..., 3])


@pytest.mark.parametrize(("name", "amount", "reference"), [
    ("colour", -0.5, lambda p: ImageEnhance.Color(p).enhance(0.55)),
    ("contrast", 1.0, lambda p: ImageEnhance.Contrast(p).enhance(1.9)),
    ("brightness", 0.5, lambda p: ImageEnhance.Brightness(p).enhance(1.45)),
    ("sharpness", -1.0, lambda p: ImageEnhance.Sharpness(p).enhance(0.1)),
    ("solarize", -0.5, lambda p: ImageOps.solarize(p, 128)),
    ("posterize", 1.0, lambda p: ImageOps.posterize(p, 4)),
    ("equalize", 1.0, ImageOps.equalize), ("autocontrast", 1.0, ImageOps.autocontrast),
    ("identity", 1.0, lambda p: p), ("rotate", 1.0, lambda p: p),
])  # fmt: skip
def test_operations_of_colour_are_autoaugments(name, amount, reference):
    expected = np.asarray(reference(Image.fromarray(PIXELS)))
    np.testing.assert_array_equal(recolour(PIXELS, (Operation(name, amount),)), expected)


def test_operations_are_drawn_alike_often_and_in_both_directions():
    drawn = draw_operations(28000, 5, np.random.default_rng(0))
    counts = [sum(o.name == name for o in drawn) for name in OPERATIONS]
    assert min(counts) > 1800
    assert max(counts) < 2200
    assert {o.amount for o in drawn} == {-0.5, 0.5}


@pytest.mark.parametrize("name", ["flip", "vertical_flip", "rotation", "zoom", "shift", "brightness", "contrast", "saturation", "hue"])  # fmt: skip
def test_each_option_of_augmentation_reaches_what_it_is_named_after(name):
    found = Augmentation.from_options(PipelineOptions(augment="none", **{name: 0.25}))
    assert found == dataclasses.replace(AUGMENTATIONS["none"], **{name: 0.25})


def test_the_operations_of_randaugment_are_as_many_and_as_strong_as_asked():
    asked = PipelineOptions(augment="none", randaugment=2, randaugment_magnitude=7)
    found = Augmentation.from_options(asked)
    assert (found.randaugment, found.magnitude) == (2, 7)
    plan = found.plan(40, 50, (32, 32), np.random.default_rng(0))
    assert [abs(operation.amount) for operation in plan.operations] == [0.7, 0.7]


def test_single_options_win_over_the_named_set():
    assert (
        Augmentation.from_options(PipelineOptions(augment="standard")) == AUGMENTATIONS["standard"]
    )
    options = PipelineOptions(
        augment="strong", crop_area=0.5, flip=0, rotation=45, randaugment=0, mixup=0.4, cutmix=0
    )
    found = Augmentation.from_options(options)
    assert found.area == (0.5, 1.0)
    assert (found.flip, found.rotation, found.randaugment) == (0, 45, 0)
    assert found.mixing == Mixing(
        mixup=0.4, cutmix=0, erasing=AUGMENTATIONS["strong"].mixing.erasing
    )
    assert found.brightness == AUGMENTATIONS["strong"].brightness
    assert Augmentation.from_options(PipelineOptions(augment="none", randaugment=2)).magnitude > 0


def test_a_seed_draws_the_crops_and_colours_that_it_always_drew():
    """Runs were measured with these sets; new options must not change what they draw."""
    rng, plans = np.random.default_rng(5), []
    plans = [AUGMENTATIONS["standard"].plan(534, 400, (96, 96), rng) for _ in range(2)]
    assert [tuple(p.box) for p in plans] == EXPECTED_BOXES
    assert [p.mirrored for p in plans] == EXPECTED_FLIPS
    np.testing.assert_allclose([p.colour[:3] for p in plans], EXPECTED_COLOURS, atol=1e-9)
