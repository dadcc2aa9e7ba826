"""Every kind of picture decodes to what a person sees; Pillow is the reference."""

import io
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from hornbeam.data.pixels import jpeg
from hornbeam.data.pixels.images import decode, measure, with_channels
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


KINDS = {
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
}  # fmt: skip
of_all_kinds = pytest.mark.parametrize("data", KINDS.items(), ids=lambda item: item[0])


@of_all_kinds
def test_a_picture_decodes_as_pillow_shows_it(data):
    found, expected = decode(data[1]), as_pillow_shows_it(data[1])
    assert found.dtype == np.uint8
    assert found.shape == expected.shape
    # CMYK is converted by slightly different arithmetic; all else agrees to the bit.
    assert np.abs(found.astype(int) - expected).max() <= (1 if "CMYK" in data[0] else 0)


@of_all_kinds
def test_grey_is_the_luma_of_what_a_person_sees(data):
    found = decode(data[1], channels=1)
    expected = np.asarray(Image.fromarray(as_pillow_shows_it(data[1])).convert("L"))
    assert found.shape == (*expected.shape, 1)
    # A JPEG holds its luma; the detour over colours clips the brightest ones, of which noise has many.
    error = np.abs(found[..., 0].astype(int) - expected)
    assert np.median(error) <= 1
    assert error.mean() < 2


@of_all_kinds
def test_alpha_is_what_the_file_says_or_opaque(data):
    found = decode(data[1], channels=4)
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data[1])))
    expected = np.asarray(picture.convert("RGB").convert("RGBA"))
    if "A" in picture.getbands() or "transparency" in picture.info:
        expected = np.asarray(picture.convert("RGBA"))
        assert (expected[..., 3] < 255).any()
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= (1 if "CMYK" in data[0] else 0)


@of_all_kinds
def test_the_size_is_known_without_decoding(data):
    assert measure(data[1]) == decode(data[1]).shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_is_turned_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a maker before the orientation"
    data = encode(PICTURE, kind, exif=exif)
    upright = as_pillow_shows_it(data)
    assert measure(data) == upright.shape[:2]
    np.testing.assert_array_equal(decode(data), upright)
    assert decode(data, reduction=4).shape == (
        -(-upright.shape[0] // 4), -(-upright.shape[1] // 4), 3,
    )  # fmt: skip


def test_orientation_is_read_in_either_byte_order():
    def segment(order, mark):
        tiff = mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", 1)
        tiff += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0) + bytes(4)
        return b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff

    plain = encode(PICTURE, "JPEG")
    for order, mark in (("<", b"II"), (">", b"MM")):
        data = plain[:2] + segment(order, mark) + plain[2:]
        assert jpeg.read_header(data) == (48, 64, 6)
        assert decode(data).shape == (64, 48, 3)


def test_a_header_cut_anywhere_or_changed_anywhere_never_fails():
    data = KINDS["JPEG on its side"]
    end = data.index(b"\xff\xda")
    for cut in range(end):
        assert jpeg.read_header(data[:cut]) in (None, (48, 64, 6))
    rng = np.random.default_rng(0)
    for _ in range(3000):
        changed = bytearray(data[: end + 2])
        for place in rng.integers(2, end, 2):
            changed[place] = rng.integers(256)
        header = jpeg.read_header(bytes(changed))
        assert header is None or 1 <= header.orientation <= 8


def test_measuring_a_jpeg_takes_microseconds():
    data = KINDS["JPEG on its side"]
    ours, theirs = [], []
    for _ in range(200):  # by turns, and the quickest of each: the machine may be busy
        start = time.perf_counter()
        measure(data)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        theirs.append(time.perf_counter() - start)
    assert min(ours) < min(theirs) / 3


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded():
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    bomb = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", 60000, 50000, 8, 2, 0, 0, 0)
    )
    bomb += chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    tracemalloc.start()
    with pytest.raises(DataError, match=r"50000x60000 pixels, more than --max-pixels 178956970"):
        decode(bomb)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    for data in KINDS.values():
        with pytest.raises(DataError, match=r"--max-pixels 3071 allows"):
            decode(data, max_pixels=48 * 64 - 1)
        decode(data, max_pixels=48 * 64)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pixels_of_any_channels_become_those_that_are_wanted(channels):
    for found in (ALPHA, PIXELS, PIXELS[..., 0], PIXELS[..., :1]):
        result = with_channels(found, channels)
        assert result.shape == (48, 64, channels)
        assert result.dtype == np.uint8
    on_white = with_channels(ALPHA, 3)
    expected = as_pillow_shows_it(encode(Image.fromarray(ALPHA), "PNG"))
    assert np.abs(on_white.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_reduced_by_their_high_byte(kind):
    values = RNG.integers(0, 65536, (10, 12), np.uint16)
    found = decode(encode(Image.fromarray(values), kind))
    np.testing.assert_array_equal(found, np.repeat((values >> 8)[..., None], 3, axis=2))
    grey = decode(encode(Image.fromarray(values), kind), channels=1)
    np.testing.assert_array_equal(grey[..., 0], values >> 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_refused(kind, share):
    data = encode(PICTURE, kind)
    for reduction in (1, 2, 8):
        with pytest.raises(DataError):
            decode(data[: int(len(data) * share)], reduction=reduction)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "empty"), (b"dear diary, today", "text 'dear diary, toda'"), (b"\x00\x01\x02" * 9, "not a picture")],
)  # fmt: skip
def test_what_is_no_picture_is_named_for_what_it_is(data, words):
    with pytest.raises(DataError, match=words):
        decode(data)
