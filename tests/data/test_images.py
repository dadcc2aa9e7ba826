"""Every kind of picture decodes to what a person sees; Pillow is the reference."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from hornbeam.data.images import decode
from hornbeam.data.resize import Box, central_box, resize_box
from hornbeam.errors import DataError

RNG = np.random.default_rng(0)
PIXELS = cv2.resize(
    RNG.integers(0, 256, (6, 8, 3), np.uint8), (64, 48), interpolation=cv2.INTER_CUBIC
)
PICTURE = Image.fromarray(PIXELS)
ALPHA = np.dstack([PIXELS, np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))])
ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6


def encode(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def as_pillow_shows_it(data):
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize(
    "data",
    {
        "JPEG": encode(PICTURE, "JPEG"),
        "progressive JPEG": encode(PICTURE, "JPEG", progressive=True),
        "grey JPEG": encode(PICTURE.convert("L"), "JPEG"),
        "CMYK JPEG": encode(PICTURE.convert("CMYK"), "JPEG", quality=95),
        "JPEG on its side": encode(PICTURE, "JPEG", exif=ON_ITS_SIDE),
        "PNG": encode(PICTURE, "PNG"),
        "PNG on its side": encode(PICTURE, "PNG", exif=ON_ITS_SIDE),
        "grey PNG": encode(PICTURE.convert("L"), "PNG"),
        "black and white PNG": encode(PICTURE.convert("1"), "PNG"),
        "palette PNG": encode(PICTURE.quantize(16), "PNG"),
        "palette PNG, one colour transparent": encode(PICTURE.quantize(16), "PNG", transparency=3),
        "PNG with alpha": encode(Image.fromarray(ALPHA), "PNG"),
        "grey PNG with alpha": encode(Image.fromarray(ALPHA).convert("LA"), "PNG"),
        "animated PNG": encode(PICTURE, "PNG", save_all=True, append_images=[PICTURE.convert("L").convert("RGB")]),
        "GIF": encode(PICTURE, "GIF"),
        "animated GIF": encode(PICTURE, "GIF", save_all=True, append_images=[ImageOps.invert(PICTURE)]),
        "animated WebP": encode(PICTURE, "WEBP", save_all=True, append_images=[ImageOps.invert(PICTURE)], lossless=True),
        "WebP with alpha": encode(Image.fromarray(ALPHA), "WEBP", lossless=True),
        "WebP on its side": encode(PICTURE, "WEBP", exif=ON_ITS_SIDE, lossless=True),
        "BMP": encode(PICTURE, "BMP"),
        "TIFF": encode(PICTURE, "TIFF"),
        "TIFF with alpha": encode(Image.fromarray(ALPHA), "TIFF"),
        "TIFF on its side": encode(PICTURE, "TIFF", exif=ON_ITS_SIDE),
        "CMYK TIFF": encode(PICTURE.convert("CMYK"), "TIFF"),
        "AVIF on its side": encode(PICTURE, "AVIF", exif=ON_ITS_SIDE),
        "several pictures in a JPEG (MPO)": encode(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
        "PPM": encode(PICTURE, "PPM"),
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_a_picture_decodes_as_pillow_shows_it(data):
    found, expected = decode(data[1]), as_pillow_shows_it(data[1])
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    # CMYK is converted by slightly different arithmetic; all else agrees to the bit.
    assert np.abs(found.astype(int) - expected).max() <= (1 if "CMYK" in data[0] else 0)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_reduced_by_their_high_byte(kind):
    values = RNG.integers(0, 65536, (10, 12), np.uint16)
    found = decode(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(found, np.repeat((values >> 8)[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused(kind, share):
    data = encode(PICTURE, kind)
    with pytest.raises(DataError):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"dear diary, today", "text 'dear diary, toda'"), (b"\x00\x01\x02" * 9, "not a picture")],
)  # fmt: skip
def test_what_is_no_picture_is_named_for_what_it_is(data, words):
    with pytest.raises(DataError, match=words):
        decode(data)


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
