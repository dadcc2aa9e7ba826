"""Batch s is a pure function of (dataset, seed, s)."""

import dataclasses
import pickle
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pyarrow as pa
import pytest

from hornbeam.data.dataset import Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.pixels import mixing
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.pixels.mixing import Mixing
from hornbeam.data.sources import open_dataset
from hornbeam.data.splits import with_validation
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def dataset(shapes):
    return with_validation(open_dataset(shapes), 0.2, seed=0).only("train")


def loader(dataset, **options):
    defaults = {
        "batch_size": 8,
        "image_size": (24, 32),
        "seed": 3,
        "shuffle": True,
        "augment": "standard",
    }
    return Loader(dataset, **(defaults | options))


def assert_equal(found, expected):
    np.testing.assert_array_equal(found.images, expected.images)
    for name, targets in expected.targets.items():
        np.testing.assert_array_equal(found.targets[name], targets)
        np.testing.assert_array_equal(found.weights[name], expected.weights[name])


@pytest.mark.parametrize(
    "parallel", [{"threads": 1}, {"threads": 4}, {"threads": 1, "processes": 2}]
)
def test_threads_and_processes_do_not_change_a_byte(dataset, parallel):
    whole = loader(dataset)
    for step, batch in enumerate(whole.batches(0, 12, **parallel)):
        assert_equal(batch, whole.batch(step))
    assert step == 11


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_the_parts_of_all_ranks_are_the_batch(dataset, world_size):
    parts = [
        loader(dataset, rank=rank, world_size=world_size).batch(7) for rank in range(world_size)
    ]
    whole = loader(dataset).batch(7)
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), whole.images)
    labels = np.concatenate([part.targets["label"] for part in parts])
    np.testing.assert_array_equal(labels, whole.targets["label"])


def test_starting_at_a_step_equals_skipping_to_it(dataset):
    skipped = list(loader(dataset).batches(0, 9, threads=2))[5:]
    for found, expected in zip(loader(dataset).batches(5, 9, threads=2), skipped, strict=True):
        assert_equal(found, expected)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 64, 100])
def test_each_epoch_visits_each_example_once(dataset, batch_size):
    whole, count = loader(dataset, batch_size=batch_size), len(dataset)
    stream = np.concatenate([whole.rows(step)[0] for step in range(-(-3 * count // batch_size))])
    orders = [stream[epoch * count : (epoch + 1) * count] for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
    assert not np.array_equal(orders[0], orders[1])


@pytest.mark.parametrize("batch_size", [1, 7, 8, 64, 100])
def test_validation_counts_each_example_once_and_pads_with_weight_0(dataset, batch_size):
    whole = loader(dataset, batch_size=batch_size, shuffle=False, augment="none")
    seen = Counter()
    for step in range(whole.steps_per_epoch):
        batch, (rows, _) = whole.batch(step), whole.rows(step)
        assert batch.images.shape[0] == batch_size
        np.testing.assert_array_equal(batch.weights["label"], (rows >= 0).astype(np.float32))
        assert not batch.images[rows < 0].any()
        seen.update(rows[rows >= 0].tolist())
    assert seen == Counter(range(len(dataset)))


def test_validation_begins_anew_after_its_last_batch(dataset):
    whole = loader(dataset, shuffle=False)
    assert_equal(whole.batch(whole.steps_per_epoch), whole.batch(0))


def test_seed_and_epoch_change_order_and_augmentation(dataset):
    assert not np.array_equal(
        loader(dataset).batch(0).images, loader(dataset, seed=4).batch(0).images
    )
    one = dataset.take([0] * 8)
    batch = loader(one, augment="standard").batch(0)
    assert len({image.tobytes() for image in batch.images}) == 8


def test_pixels_are_bytes_and_labels_match_their_pictures(dataset):
    whole = loader(dataset)
    batch, (rows, _) = whole.batch(2), whole.rows(2)
    assert batch.images.dtype == np.uint8
    assert batch.images.shape == (8, 24, 32, 3)
    for row, label in zip(rows, batch.targets["label"], strict=True):
        assert dataset.paths[row].startswith(dataset.tasks[0].classes[label])


def test_a_loader_travels_to_other_processes(dataset):
    whole = loader(dataset)
    whole.batch(0)  # fills its caches
    assert_equal(pickle.loads(pickle.dumps(whole)).batch(5), whole.batch(5))


@pytest.fixture(scope="module")
def marked(dataset):
    """The same pictures with any number of marks, none among them."""
    task = Task("marks", ("round", "flat", "red", "blue"), multi_label=True)
    lists = [[], [2], [0, 3], [1, 2, 3]]
    column = pa.array([lists[i % 4] for i in range(len(dataset))], pa.list_(pa.int32()))
    both = dataset.with_column("marks", column)
    return dataclasses.replace(both, tasks=(*dataset.tasks, task))


def test_several_labels_of_a_picture_become_marks_batch_by_batch(marked):
    for data in (marked, marked.take(np.arange(3, 40))):
        whole = loader(data)
        dense = data.labels(data.tasks[1]).astype(np.float32)
        for step in (0, 5):
            batch, (rows, _) = whole.batch(step), whole.rows(step)
            np.testing.assert_array_equal(batch.targets["marks"], dense[rows])
            assert batch.targets["marks"].dtype == np.float32
            assert batch.targets["label"].dtype == np.int32


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["crop", "squash", "pad"])
def test_pictures_have_the_channels_and_mode_that_are_asked_for(dataset, channels, mode):
    whole = loader(dataset, image_size=(24, 32, channels), resize_mode=mode, augment="none", shuffle=False)  # fmt: skip
    batch = whole.batch(0)
    assert batch.images.shape == (8, 24, 32, channels)
    pixels = dataset.decode(0, dataset.read(0), channels)
    expected = Augmentation()(pixels, (24, 32), np.random.default_rng(0), mode)
    np.testing.assert_array_equal(batch.images[0], expected)


class Synthetic:
    """A reader of large JPEGs, which are decoded at several scales."""

    def __init__(self):
        self.decoded = 0

    def read(self, dataset, row):
        self.decoded += 1
        pixels = cv2.resize(
            np.random.default_rng(row).integers(0, 256, (9, 12, 3), np.uint8), (400 + row, 300),
            interpolation=cv2.INTER_CUBIC,
        )  # fmt: skip
        return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.mark.parametrize("budget", [0, 500_000, 10**9])
@pytest.mark.parametrize("augment", ["standard", "strong"])
def test_memory_changes_no_byte_of_a_batch(dataset, budget, augment):
    large = dataclasses.replace(dataset.take(np.arange(12)), reader=Synthetic())
    plain = loader(large, augment=augment)
    keeping = loader(large, augment=augment, in_memory=budget)
    reductions = set()
    for step in range(9):
        assert_equal(keeping.batch(step), plain.batch(step))
    kept = keeping._pictures._decoded._kept
    assert sum(pixels.nbytes for pixels in kept.values()) <= budget
    reductions = {reduction for _, reduction in kept}
    if budget == 10**9:
        assert len(reductions) > 1
        reads = large.reader.decoded
        for step in range(9):
            keeping.batch(step)
        assert large.reader.decoded == reads


@pytest.mark.parametrize("parallel", [{"threads": 4}, {"threads": 1, "processes": 2}])
def test_mixed_batches_too_depend_on_nothing_but_their_step(marked, parallel):
    whole = loader(marked, augment="strong", in_memory=10**8)
    for step, batch in enumerate(whole.batches(0, 6, **parallel)):
        assert_equal(batch, whole.batch(step))
        np.testing.assert_array_equal(batch.mix, whole.batch(step).mix)
    parts = [loader(marked, augment="strong", rank=r, world_size=4).batch(3) for r in range(4)]
    for name in ("label", "marks"):
        joined = np.concatenate([part.targets[name] for part in parts])
        np.testing.assert_array_equal(joined, whole.batch(3).targets[name])
    np.testing.assert_array_equal(np.concatenate([p.mix for p in parts]), whole.batch(3).mix)


def test_mixed_targets_are_shares_of_the_two_labels(dataset):
    whole = loader(dataset, augment=Augmentation(mixing=Mixing(mixup=1.0)))
    batch, (rows, _) = whole.batch(1), whole.rows(1)
    labels = dataset.labels(dataset.tasks[0])[rows]
    share = batch.mix[:, 0]
    for slot in range(8):
        expected = np.zeros(6)
        expected[labels[slot]] += share[slot]
        expected[labels[slot ^ 1]] += 1 - share[slot]
        np.testing.assert_allclose(batch.targets["label"][slot], expected, atol=1e-6)


def test_padding_is_mixed_into_nothing(dataset):
    whole = loader(dataset.take(np.arange(11)), shuffle=False, training=True, augment="strong")
    batch = whole.batch(1)
    np.testing.assert_array_equal(batch.weights["label"], [1, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(batch.mix[2:], mixing.neutral(6))
    np.testing.assert_array_equal(batch.targets["label"][:3].sum(axis=1), 1)


def test_validation_beside_mixed_training_has_its_form_and_changes_nothing(dataset):
    plain = loader(dataset, shuffle=False, augment="none")
    formed = loader(dataset, shuffle=False, augment="none", mixing=Mixing())
    batch = formed.batch(0)
    np.testing.assert_array_equal(batch.images, plain.batch(0).images)
    np.testing.assert_array_equal(batch.mix, mixing.neutral(8))
    np.testing.assert_array_equal(batch.targets["label"].argmax(axis=1), plain.batch(0).targets["label"])  # fmt: skip
    assert set(batch.inputs) == {"image", "mix"}


def test_machines_that_cut_a_pair_apart_are_refused(dataset):
    with pytest.raises(ConfigError, match="multiple of 16"):
        loader(dataset, augment="strong", world_size=8)


def test_training_in_order_varies_each_epoch_anew(dataset):
    whole = loader(dataset, shuffle=False, training=True)
    again = whole.batch(whole.steps_per_epoch)
    np.testing.assert_array_equal(again.targets["label"], whole.batch(0).targets["label"])
    assert not np.array_equal(again.images, whole.batch(0).images)


def test_functions_of_a_recipe_come_in_their_places(dataset):
    seen = []

    def preprocess(image, training, rng):
        seen.append((training, image.shape, float(rng.random())))
        return 255 - image

    def augment(image, rng):
        return np.ascontiguousarray(image[: 20 + int(rng.integers(4))])

    whole = loader(dataset, augment=augment, preprocess=preprocess)
    batch = whole.batch(2)
    assert batch.images.shape == (8, 24, 32, 3)
    assert {training for training, _, _ in seen} == {True}
    assert len({value for _, _, value in seen}) == 8
    assert_equal(whole.batch(2), batch)
    inverted = loader(dataset, shuffle=False, augment="none", preprocess=preprocess).batch(0)
    plain = loader(dataset, shuffle=False, augment="none").batch(0)
    assert np.abs(inverted.images.astype(int) - (255 - plain.images)).max() <= 1
    assert seen[-1][0] is False


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (None, r"augment\(\) returned None; expected an array of uint8 \[height, width, 3\]"),
        (np.zeros((4, 4, 3)), r"returned float64 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"returned uint8 \[4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"returned uint8 \[0, 4, 3\]"),
        ([1], "returned a list"),
    ],
)
def test_what_is_no_picture_is_refused_by_the_name_of_its_function(dataset, returned, words):
    def augment(image, rng):
        return returned

    with pytest.raises(ConfigError, match=words):
        loader(dataset, augment=augment).batch(0)


def test_a_header_that_lies_about_its_size_changes_nothing(dataset, monkeypatch):
    plain = loader(dataset).batch(0)
    monkeypatch.setattr(Dataset, "measure", lambda self, row, data: (1000, 1000))
    np.testing.assert_array_equal(loader(dataset).batch(0).images, plain.images)


def test_a_picture_above_the_limit_is_named(dataset):
    small = dataclasses.replace(dataset, max_pixels=100)
    with pytest.raises(DataError, match=r"\.jpg: the picture has .* more than --max-pixels 100"):
        loader(small).batch(0)


@pytest.mark.parametrize(
    ("given", "words"),
    [(np.zeros((4, 4, 2), np.uint8), "uint8 \\[4, 4, 2\\]"), (np.zeros((4, 4, 3)), "float64"), ("x", "str")],
)  # fmt: skip
def test_a_reader_that_gives_no_pixels_is_refused(dataset, given, words):
    class Odd:
        def read(self, dataset, row):
            return given

    with pytest.raises(DataError, match=words):
        loader(dataclasses.replace(dataset, reader=Odd())).batch(0)


def test_where_jax_is_missing_the_loader_says_nothing_of_it():
    code = """
import sys
sys.modules["jax"] = None  # as where it is not installed
from hornbeam.data import loader
loader._grain().MapDataset.range(3)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stderr == ""
