"""Batch s is a pure function of (dataset, seed, s)."""

import pickle
from collections import Counter

import numpy as np
import pytest

from hornbeam.data.loader import Loader
from hornbeam.data.sources import open_folder
from hornbeam.data.splits import with_validation


@pytest.fixture(scope="module")
def dataset(shapes):
    return with_validation(open_folder(shapes), 0.2, seed=0).only("train")


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
