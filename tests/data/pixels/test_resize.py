"""What a crop shows does not depend on the scale it was decoded at, nor on the mode of resizing."""

import dataclasses
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from hornbeam.data.pixels.augment import AUGMENTATIONS, Augmentation
from hornbeam.data.pixels.images import decode, shrink
from hornbeam.data.pixels.resize import (
    BAR,
    SHRUNK,
    Box,
    central_box,
    random_box,
    reduction_for,
    resize,
    resize_box,
    resize_reduced,
    target_box,
)


def psnr(found, expected):
    error = np.mean((found.astype(float) - expected) ** 2)
    return 10 * np.log10(255**2 / max(error, 1e-9))


def encode(pixels, quality=92, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("height", "width", "size", "box"),
    [
        (100, 200, (50, 50), Box(50, 0, 150, 100)),
        (200, 100, (50, 50), Box(0, 50, 100, 150)),
        (90, 100, (50, 100), Box(0, 20, 100, 70)),
        (1, 500, (224, 224), Box(249, 0, 250, 1)),
    ],
)
def test_the_central_box_is_the_largest_of_its_aspect_ratio(height, width, size, box):
    assert central_box(height, width, size) == box


def test_shrinking_averages_areas():
    fine = np.indices((64, 64)).sum(axis=0) % 2 * 255  # a checkerboard of single pixels
    pixels = np.repeat(fine[..., None], 3, axis=2).astype(np.uint8)
    small = resize_box(pixels, Box(0, 0, 64, 64), (16, 16))
    assert np.abs(small.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("scale", "reduction"),
    [(1, 1), (2 * SHRUNK - 0.01, 1), (2 * SHRUNK, 2), (4 * SHRUNK, 4), (8 * SHRUNK, 8), (999, 8)],
)
def test_a_picture_is_reduced_only_as_far_as_its_crop_allows(scale, reduction):
    assert reduction_for(scale) == reduction


def test_photographs_decoded_smaller_stay_within_35_decibel_of_full_decoding(clothing):
    rng = np.random.default_rng(0)
    paths = sorted(clothing.rglob("*.jpg"))
    worst, reduced = [], set()
    for path in rng.choice(paths, 60, replace=False):
        data = path.read_bytes()
        whole = decode(data)
        height, width = whole.shape[:2]
        side = int(rng.uniform(12, min(height, width) / (2 * SHRUNK)))
        box = random_box(height, width, (side, side), (0.6, 1.0), 4 / 3, rng)
        reduction = reduction_for(min(box.height, box.width) / side)
        found = resize_reduced(decode(data, reduction=reduction), box, reduction, (side, side))
        worst.append(psnr(found, resize_box(whole, box, (side, side))))
        reduced.add(reduction)
    assert reduced >= {1, 2, 4}
    assert min(worst) >= 35
    assert np.median(worst) >= 42


def stripes(period, kind, colour):
    y, x = np.indices((611, 803))
    along = {"across": x, "down": y, "slanted": x + 2 * y}[kind]
    wave = np.where(along % period < period / 2, 1.0, -1.0)[..., None]
    return np.clip(128 + 110 * wave * np.array(colour), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", ["across", "down", "slanted"])
@pytest.mark.parametrize("period", [2, 3, 4, 6, 9, 16, 31])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_finest_stripes_survive_as_full_decoding_shrinks_them(kind, period, subsampling):
    """The reference shrinks what was fully decoded in the same two steps.

    In one step, averaging over areas of odd sizes beats against stripes of two pixels (20 dB), and
    decoding at reduced scale, which does not, is nearer to the truth.
    """
    pixels = stripes(period, kind, (1, 1, 1))
    data = encode(pixels, quality=95, subsampling=subsampling)
    whole = decode(data)
    for reduction in (2, 4, 8):
        side = int(600 / (reduction * (SHRUNK + 0.3)))
        box = Box(33, 5, 33 + 600, 5 + 601)
        found = resize_reduced(decode(data, reduction=reduction), box, reduction, (side, side))
        expected = resize_reduced(shrink(whole, reduction), box, reduction, (side, side))
        assert psnr(found, expected) >= 35


@pytest.mark.parametrize("period", [5, 8, 16])
def test_coloured_stripes_at_full_chroma_survive_too(period):
    """With 4:2:0 the full decoder blurs colours over four pixels, which a reduced one need not."""
    data = encode(stripes(period, "across", (1, -1, 0)), subsampling=0)
    whole = decode(data)
    box = Box(33, 5, 33 + 600, 5 + 601)
    found = resize_reduced(decode(data, reduction=2), box, 2, (85, 85))
    assert psnr(found, resize_reduced(shrink(whole, 2), box, 2, (85, 85))) >= 35


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_reduced_crop_lies_where_the_full_one_does(orientation, channels, clothing):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph = Image.open(sorted(clothing.rglob("*.jpg"))[3]).convert("RGB").resize((1001, 803))
    data = encode(np.asarray(photograph), exif=exif)
    whole = decode(data, channels)
    box = Box(101, 203, 101 + 333, 203 + 411)
    for reduction in (2, 4, 8):
        size = (411 // (4 * reduction), 333 // (4 * reduction))
        small = decode(data, channels, reduction)
        assert small.shape == (-(-whole.shape[0] // reduction), -(-whole.shape[1] // reduction), channels)  # fmt: skip
        found, expected = resize_reduced(small, box, reduction, size), resize_box(whole, box, size)
        assert psnr(found, expected) >= 30  # a dozen pixels; the photographs above are the promise
        moved = [np.roll(expected, shift, axis) for shift in (-1, 1) for axis in (0, 1)]
        assert psnr(found, expected) > max(psnr(found, other) for other in moved) + 6


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_a_variation_is_the_same_at_any_scale_of_decoding(name, mode, clothing):
    path = sorted(clothing.rglob("*.jpg"))[7]
    large = np.asarray(Image.open(path).convert("RGB").resize((1599, 1201), Image.Resampling.LANCZOS))  # fmt: skip
    data = encode(large)
    whole, vary = decode(data), AUGMENTATIONS[name]
    reductions = set()
    for seed in range(12):
        plan = vary.plan(1201, 1599, (96, 128), np.random.default_rng(seed), mode)
        if any(o.name in ("equalize", "autocontrast", "posterize", "solarize") for o in plan.operations):  # fmt: skip
            continue  # these tear apart levels that differ by one
        reductions.add(plan.reduction)
        found = plan.apply(decode(data, reduction=plan.reduction))
        assert psnr(found, vary(whole, (96, 128), np.random.default_rng(seed), mode)) >= 40
        at_full_scale = dataclasses.replace(plan, reduction=1).apply(whole)
        assert psnr(found, at_full_scale) >= 33
    assert max(reductions) > 1


def test_squash_shows_all_and_pad_keeps_the_aspect_ratio():
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[:, :60] = 200
    rng = np.random.default_rng(0)
    plain = Augmentation()
    squashed = plain(pixels, (40, 40), rng, "squash")
    assert (squashed[:, :20] == 200).all()
    assert (squashed[:, 20:] == 0).all()
    padded = plain(pixels, (40, 40), rng, "pad")
    assert (padded[:10] == BAR).all()
    assert (padded[30:] == BAR).all()
    np.testing.assert_array_equal(padded[10:30], resize_box(pixels, Box(0, 0, 120, 60), (20, 40)))
    cropped = plain(pixels, (40, 40), rng, "crop")
    assert (cropped[:, :19] == 200).all()
    assert (cropped[:, 21:] == 0).all()


def test_bars_are_transparent_where_there_is_alpha():
    pixels = np.full((20, 40, 4), 255, np.uint8)
    padded = Augmentation()(pixels, (40, 40), np.random.default_rng(0), "pad")
    assert padded[0, 0].tolist() == [BAR, BAR, BAR, 0]
    assert padded[20, 20].tolist() == [255] * 4


@pytest.mark.parametrize(("height", "width"), [(1, 400), (400, 1), (3, 2), (7, 5), (1999, 17)])
@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_of_any_shape_fit(height, width, mode, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    for name in ("none", "strong"):
        for seed in range(6):
            found = AUGMENTATIONS[name](pixels, (24, 40), np.random.default_rng(seed), mode)
            assert found.shape == (24, 40, channels)
    inner = target_box(Box(0, 0, width, height), (24, 40), "pad")
    assert 0 < inner.height <= 24
    assert 0 < inner.width <= 40


def test_resizing_to_a_little_less_is_antialiased_as_pillow_does(clothing):
    rng = np.random.default_rng(0)
    for path in rng.choice(sorted(clothing.rglob("*.jpg")), 20, replace=False):
        pixels = decode(path.read_bytes())[:390, :390]
        size = tuple(rng.integers(200, 385, 2).tolist())
        theirs = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
        assert psnr(resize(pixels, size), np.asarray(theirs)) >= 37


@pytest.mark.parametrize("scale", [1.1, 1.3, 1.5, 1.7, 1.9])
def test_stripes_too_fine_for_the_result_leave_about_as_much_behind_as_exact_averaging(scale):
    x = np.indices((400, 400))[1]
    side = int(400 / scale)
    for frequency in np.linspace(0.52 / scale, 0.5, 5):
        wave = (127.5 + 120 * np.sin(2 * np.pi * frequency * x + 0.3)).astype(np.uint8)[..., None]
        exact = cv2.resize(wave, (side, side), interpolation=cv2.INTER_AREA)
        assert resize(wave, (side, side)).std() <= 1.4 * exact.std() + 0.5


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resizing_to_a_little_less_moves_nothing_and_keeps_flat_colours(channels):
    flat = np.full((300, 280, channels), 201, np.uint8)
    assert (resize(flat, (200, 224)) == 201).all()
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 256, axis=1)
    small = resize(np.repeat(ramp, channels, axis=2), (160, 160)).astype(float)
    expected = (np.arange(160) + 0.5) * 1.6 - 0.5
    assert np.abs(small[1:-1, :, 0] - expected[1:-1, None]).max() <= 1
