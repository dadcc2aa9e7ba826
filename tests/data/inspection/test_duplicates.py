"""Near duplicates: none is missed that comparing all pairs would find, and crowds do not stall it."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from hornbeam.data.inspection.duplicates import (
    exact_groups,
    near_duplicate_groups,
    near_pairs,
    rows_of_groups,
)
from hornbeam.data.inspection.likeness import ALIKE, alike
from hornbeam.data.inspection.measures import FACT, note_pixels
from hornbeam.data.pixels.images import decode


def with_planted_pairs(count, radius, seed=0):
    """Random hashes, of which a twentieth are others with up to `radius` bits changed."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64)
    chosen = rng.permutation(count)[: count // 10]
    originals, copies = np.split(chosen, 2)
    for original, copy in zip(originals, copies, strict=True):
        bits = rng.choice(64, rng.integers(0, radius + 1), replace=False)
        hashes[copy] = hashes[original] ^ np.uint64(sum(1 << int(bit) for bit in bits))
    return hashes, originals, copies


def all_near_pairs(hashes, radius):
    one, other = np.triu_indices(len(hashes), 1)
    near = np.bitwise_count(hashes[one] ^ hashes[other]) <= radius
    return set(zip(one[near].tolist(), other[near].tolist(), strict=True))


@pytest.mark.parametrize("radius", range(11))
def test_the_search_finds_exactly_what_comparing_all_pairs_finds(radius):
    hashes = np.unique(with_planted_pairs(3000, radius)[0])
    with ThreadPoolExecutor(2) as pool:
        found = [
            tuple(sorted(p)) for pairs in near_pairs(hashes, radius, pool) for p in pairs.tolist()
        ]
    assert len(found) == len(set(found)), "a pair was yielded twice"
    assert set(found) == all_near_pairs(hashes, radius)


def test_hashes_of_few_varying_bits_are_searched_as_exactly():
    rng = np.random.default_rng(1)
    hashes = np.unique(rng.integers(0, 2**20, 1500, dtype=np.uint64) << np.uint64(21))
    with ThreadPoolExecutor(2) as pool:
        found = {tuple(sorted(p)) for pairs in near_pairs(hashes, 4, pool) for p in pairs.tolist()}
    assert found == all_near_pairs(hashes, 4)


def test_groups_are_named_by_their_first_row_and_reach_through_others():
    bits = [0, 0b111111, 0b111111111111, 1 << 63 | 0xFFFF << 40]
    groups = near_duplicate_groups(np.array(bits, np.uint64), None, 6)
    assert groups.tolist() == [0, 0, 0, 3]
    assert [rows.tolist() for rows in rows_of_groups(groups)] == [[0, 1, 2]]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pictures_are_no_trouble(count):
    hashes = np.zeros(count, np.uint64)
    assert near_duplicate_groups(hashes, None, 6).tolist() == [0] * count


def test_equal_digests_make_groups_and_missing_ones_do_not():
    digests = np.array([b"b", b"a", b"", b"b", b"", b"b"])
    assert [rows.tolist() for rows in exact_groups(digests)] == [[0, 3, 5]]


@pytest.mark.parametrize("constant_bits", [64, 32])
def test_a_crowd_of_a_hundred_thousand_like_hashes_ends(constant_bits):
    """The crowds of a million are measured by benchmarks/near_duplicates.py; here the cap must hold."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 100_000, dtype=np.uint64)
    hashes &= np.uint64((1 << (64 - constant_bits)) - 1)
    start = time.process_time()  # others may be busy
    groups = near_duplicate_groups(hashes, None, 6)
    assert time.process_time() - start < 60  # all pairs would take several minutes
    if constant_bits == 64:
        assert not groups.any()


def test_flat_pictures_are_not_taken_for_copies():
    flat = np.stack([np.full((24, 24), value, np.uint8) for value in (0, 128, 255, 255)])
    flat[1, 3, 4] = 130
    assert (alike(flat[[0, 1, 2]], flat[[1, 2, 3]]) == 0).all()
    groups = near_duplicate_groups(np.zeros(4, np.uint64), flat, 6)
    assert groups.tolist() == [0, 1, 2, 3]


def copies_of(pixels, rng):
    """What people do to pictures; a mirrored one is another picture."""
    height, width = pixels.shape[:2]
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)

    def jpeg(picture, quality):
        data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return decode(data.tobytes())

    top, bottom, left, right = (rng.uniform(0, 0.02, 4) * (height, height, width, width)).astype(
        int
    )
    return {
        "quality 30": jpeg(bgr, 30),
        "quality 95": jpeg(bgr, 95),
        "half the size": cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "twice the size": cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        "brighter": np.clip(pixels * 1.1, 0, 255).astype(np.uint8),
        "darker": (pixels * 0.9).astype(np.uint8),
        "cropped": pixels[top : height - bottom, left : width - right],
    }


def look(pixels):
    fact = np.zeros((), FACT)
    note_pixels(fact, np.ascontiguousarray(pixels))
    return fact


def test_copies_of_photographs_are_found_and_other_photographs_are_not(clothing):
    files = sorted((clothing / "test").rglob("*.jpg"))[::4]
    rng = np.random.default_rng(0)
    pictures = [decode(file.read_bytes()) for file in files]
    originals = np.stack([look(pixels) for pixels in pictures])
    copies = [{k: look(c) for k, c in copies_of(pixels, rng).items()} for pixels in pictures]
    for kind in copies[0]:
        rows = np.concatenate([originals, np.stack([of_one[kind] for of_one in copies])])
        groups = near_duplicate_groups(rows["hash"], rows["thumbnail"], 6)
        found = groups[len(files) :] == groups[: len(files)]
        assert found.mean() > (0.9 if kind == "cropped" else 0.99), kind
        assert (groups[: len(files)] == np.arange(len(files))).all(), "different pictures are one"


def test_the_thumbnails_tell_pieces_of_one_kind_on_one_background_apart(clothing):
    files = sorted((clothing / "train" / "pants").rglob("*.jpg"))[:60]
    looks = np.stack([look(decode(file.read_bytes())) for file in files])
    one, other = np.array(list(itertools.combinations(range(len(files)), 2))).T
    assert alike(looks["thumbnail"][one], looks["thumbnail"][other]).max() < ALIKE


def test_a_mirrored_picture_is_another(clothing):
    files = sorted((clothing / "test" / "shoes").rglob("*.jpg"))[:20]
    pictures = [decode(file.read_bytes()) for file in files]
    looks = np.stack([look(p) for p in pictures] + [look(p[:, ::-1]) for p in pictures])
    groups = near_duplicate_groups(looks["hash"], looks["thumbnail"], 6)
    assert (groups == np.arange(len(looks))).all()
