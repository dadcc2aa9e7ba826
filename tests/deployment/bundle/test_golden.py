"""Golden pictures: as their files are, small ones first, and without their names."""

import io

import numpy as np
import pytest
from PIL import Image

from hornbeam.data.pixels.images import decode
from hornbeam.deployment.bundle.golden import choose_small, write_golden


def encoded(kind, pixels=None):
    file = io.BytesIO()
    pixels = np.zeros((4, 6, 3), np.uint8) if pixels is None else pixels
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def test_small_files_go_first_and_large_ones_only_where_there_are_no_others():
    files = {0: bytes(2**20), 1: b"s", 2: bytes(3 * 2**20), 3: b"s", 4: b"s"}
    assert list(choose_small(range(5), files.__getitem__, 2)) == [1, 3]
    assert list(choose_small(range(5), files.__getitem__, 4)) == [1, 3, 4, 0]
    assert list(choose_small([0, 2], files.__getitem__, 1)) == [0]


def test_no_more_than_four_are_read_for_each():
    read = []

    def large(row):
        read.append(row)
        return bytes(2**20)

    assert len(choose_small(range(1000), large, 3)) == 3
    assert len(read) == 12


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7, 4), (5, 7)])
def test_pixels_become_a_file_of_the_same_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (content,) = choose_small([0], lambda row: pixels, 1).values()
    channels = shape[2] if len(shape) == 3 else 1
    np.testing.assert_array_equal(decode(content, channels), pixels.reshape(5, 7, channels))


def test_files_are_numbered_and_end_as_their_content_says(tmp_path):
    kinds = ["jpeg", "png", "gif", "bmp", "tiff", "webp", "avif"]
    contents = [encoded(kind) for kind in kinds] + [b"?"]
    expected = {"kind": np.arange(16, dtype=np.float32).reshape(8, 2) / 3}
    golden = write_golden(tmp_path, contents, np.arange(8, dtype=np.float32)[:, None], expected)
    assert [each.file for each in golden] == [
        f"golden/00{i}.{ending}"
        for i, ending in enumerate(["jpg", "png", "gif", "bmp", "tif", "webp", "avif", "img"])
    ]
    assert [(tmp_path / each.file).read_bytes() for each in golden] == contents
    assert golden[3].features == (3.0,)
    assert np.float32(golden[3].expected["kind"]).tolist() == expected["kind"][3].tolist()
