"""Without OpenCV pictures look the same, within a grey level."""

import io

import numpy as np
import pytest
from PIL import Image

from hornbeam.data.pixels import engine_numpy, engine_opencv, images, pillow, png
from hornbeam.data.pixels.resize import _blur
from hornbeam.errors import DataError


@pytest.fixture(scope="module")
def picture():
    """Noise on something smooth: the worst case and the usual one."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 11, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((407, 301), Image.Resampling.BICUBIC))
    smooth = smooth.copy()
    smooth[:, 200:] = rng.integers(0, 256, (301, 207, 3), np.uint8)
    return smooth


def most(left, right):
    assert left.shape == right.shape
    assert left.dtype == right.dtype == np.uint8
    return np.abs(left.astype(int) - right.astype(int)).max()


def test_grey_is_the_same(picture):
    assert most(engine_opencv.grey_of(picture), engine_numpy.grey_of(picture)) == 0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_shrinking_is_the_same(picture, reduction, channels):
    given = picture[..., :channels]
    both = [engine.shrink(given, reduction) for engine in (engine_opencv, engine_numpy)]
    assert most(*both) == 0


@pytest.mark.parametrize(
    "size", [(96, 96), (150, 203), (290, 400), (31, 17), (1, 1), (301, 40), (600, 900), (200, 900)]
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resizing_differs_by_one_grey_level_at_most(picture, size, channels):
    given = np.concatenate([picture, picture[..., :1]], axis=2)[..., :channels]
    both = [engine.resize(given, size, None) for engine in (engine_opencv, engine_numpy)]
    assert most(*both) <= 1


@pytest.mark.parametrize("size", [(200, 300), (160, 210), (300, 400)])
def test_blurred_resizing_differs_by_one_grey_level_at_most(picture, size):
    blur = _blur(301 / size[0]), _blur(407 / size[1])
    both = [engine.resize(picture, size, blur) for engine in (engine_opencv, engine_numpy)]
    assert most(*both) <= 1


def test_stretching_differs_by_one_grey_level_at_most(picture):
    moves = (1.003, 0.37), (0.998, 1.21), (250, 350)
    assert most(engine_opencv.stretch(picture, *moves), engine_numpy.stretch(picture, *moves)) <= 1


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(301, 407), (8, 8), (17, 9), (13, 11)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_decodes_bit_for_bit_at_each_scale(picture, grey, reduction, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(picture[: size[0], : size[1]]).save(file, "JPEG", quality=85, exif=exif)
    both = [
        engine.decode(file.getvalue(), grey, reduction) for engine in (engine_opencv, engine_numpy)
    ]
    assert both[0].shape[:2] == tuple(
        -(-side // reduction) for side in (size if orientation == 1 else size[::-1])
    )
    assert most(*both) == 0


@pytest.mark.parametrize(
    ("mode", "options", "plain"),
    [("RGB", {}, True), ("L", {}, True), ("P", {}, True), ("RGBA", {}, False), ("LA", {}, False),
     ("P", {"transparency": 3}, False)],
)  # fmt: skip
def test_the_header_of_a_png_tells_size_and_transparency(picture, mode, options, plain):
    file = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(file, "PNG", **options)
    assert png.read_header(file.getvalue()) == png.PngHeader(301, 407, plain)
    assert png.read_header(file.getvalue()[:30]) is None


def test_without_pillow_other_formats_are_refused_by_its_name(picture, monkeypatch):
    monkeypatch.setattr(pillow, "AVAILABLE", False)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    assert pillow.facts_of(file.getvalue()) == (301, 407, False)
    transparent, bitmap = io.BytesIO(), io.BytesIO()
    Image.fromarray(picture).convert("RGBA").save(transparent, "PNG")
    Image.fromarray(picture).save(bitmap, "BMP")
    for data in (transparent.getvalue(), bitmap.getvalue()):
        with pytest.raises(DataError, match="pip install pillow"):
            pillow.facts_of(data)
    with pytest.raises(DataError, match="truncated or damaged"):
        pillow.decode(file.getvalue()[:200], 3)


def _files(picture):
    """The same picture in many formats and depths, by name."""
    small = Image.fromarray(picture[:60, 150:230])
    deep = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    found = {
        f"pgm {top}": b"P5\n64 48\n%d\n" % top
        + (deep.astype(int) * top // 65535).astype(">u2").tobytes()
        for top in (65535, 4095)
    }
    three = np.stack([deep, deep[::-1], deep[:, ::-1]], 2).astype(">u2")
    found["ppm 65535"] = b"P6\n64 48\n65535\n" + three.tobytes()
    found["ppm 4095"] = b"P6\n64 48\n4095\n" + (three >> 4).astype(">u2").tobytes()
    found["pgm 255"] = b"P5\n64 48\n255\n" + (deep >> 8).astype(np.uint8).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image, kind, options in (
        ("grey 16 png", Image.fromarray(deep), "PNG", {}), ("grey 16 tiff", Image.fromarray(deep), "TIFF", {}),
        ("cmyk jpeg", small.convert("CMYK"), "JPEG", {}), ("cmyk tiff", small.convert("CMYK"), "TIFF", {}),
        ("palette", small.convert("P"), "PNG", {}), ("one bit", small.convert("1"), "PNG", {}),
        ("grey jpeg", small.convert("L"), "JPEG", {}), ("grey alpha", small.convert("LA"), "PNG", {}),
        ("rgba tiff", small.convert("RGBA"), "TIFF", {}), ("gif", small.convert("P"), "GIF", {}),
        ("bmp", small, "BMP", {}), ("jpeg 2000", small, "JPEG2000", {}),
        ("progressive", small, "JPEG", {"progressive": True}), ("ppm", small, "PPM", {}),
        ("webp", small, "WEBP", {"lossless": True, "exif": exif}), ("png", small, "PNG", {"exif": exif}),
        ("jpeg", small, "JPEG", {"exif": exif}), ("tiff", small, "TIFF", {"exif": exif}),
    ):  # fmt: skip
        file = io.BytesIO()
        image.save(file, kind, **options)
        found[name] = file.getvalue()
    return found


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("reduction", [1, 2])
def test_every_format_is_the_same_picture_to_both(picture, monkeypatch, channels, reduction):
    for name, data in _files(picture).items():
        found = []
        for engine in (engine_opencv, engine_numpy):
            monkeypatch.setattr(images, "engine", engine)
            found.append(images.decode(data, channels, reduction))
        # CMYK is converted by other integers, and where it is smaller, before it is shrunk, not after.
        assert most(*found) <= ((2, 9)[reduction - 1] if "cmyk" in name else 1), name


@pytest.mark.parametrize("engine", [engine_opencv, engine_numpy])
@pytest.mark.parametrize("top", [4095, 65535])
def test_a_deep_pgm_is_as_bright_as_it_says(picture, monkeypatch, engine, top):
    monkeypatch.setattr(images, "engine", engine)
    ramp = images.decode(_files(picture)[f"pgm {top}"], 1).reshape(-1)
    np.testing.assert_allclose(ramp, np.linspace(0, 255, ramp.size), atol=1.1)
