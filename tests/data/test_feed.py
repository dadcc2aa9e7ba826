"""What reaches Keras is the loader's batches, in order, however often Keras starts over."""

import itertools

import keras
import numpy as np
import pytest

from hornbeam.data.feed import Feed, feed
from hornbeam.data.loader import Loader
from hornbeam.data.sources import open_dataset


@pytest.fixture(scope="module")
def loader(shapes):
    return Loader(open_dataset(shapes), batch_size=10, image_size=(24, 24), seed=1, shuffle=True)


def assert_is_batch(found, loader, step):
    images, targets, weights = found
    expected = loader.batch(step)
    np.testing.assert_array_equal(images, expected.images)
    np.testing.assert_array_equal(targets["label"], expected.targets["label"])
    np.testing.assert_array_equal(weights["label"], expected.weights["label"])


@pytest.mark.parametrize("steps", [1, 2, 5, 100])
def test_an_index_has_one_meaning_whatever_was_asked_before(loader, steps):
    indexed = Feed(loader, steps, start=3, threads=2)
    for index in (0, 1, 0, 1, 2, 3, 4, 5, 6, 4, 5, 0):
        assert_is_batch(indexed[index], loader, 3 + index)


def test_each_iteration_on_tensorflow_begins_anew_with_fixed_shapes(loader):
    dataset = feed(loader, 4)
    assert dataset.element_spec[0].shape == (10, 24, 24, 3)
    for _ in range(2):
        for step, batch in enumerate(itertools.islice(dataset, 6)):
            assert_is_batch(keras.tree.map_structure(lambda t: t.numpy(), batch), loader, step)


def test_repeated_validation_counts_each_picture_once(shapes):
    """Keras' own generators fail this: batches repeat and shift from one validation to the next."""
    dataset = open_dataset(shapes)
    training = Loader(dataset, batch_size=16, image_size=(24, 24), shuffle=True)
    validation = Loader(dataset, batch_size=20, image_size=(24, 24))

    class Sum(keras.metrics.Metric):
        def __init__(self, name):
            super().__init__(name=name)
            self.total = self.add_weight(shape=(), initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total.assign_add(
                keras.ops.sum(sample_weight * (keras.ops.cast(y_true, "float32") + 1))
            )

        def result(self):
            return self.total

    inputs = keras.Input((24, 24, 3), dtype="uint8")
    pixels = keras.layers.Rescaling(1 / 255)(inputs)
    outputs = keras.layers.Dense(6, name="label")(keras.layers.GlobalAveragePooling2D()(pixels))
    model = keras.Model(inputs, {"label": outputs})
    loss = {"label": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile("sgd", loss, weighted_metrics={"label": [Sum("sum")]}, jit_compile=False)
    history = model.fit(
        feed(training, 15), steps_per_epoch=5, epochs=3, verbose=0, shuffle=False,
        validation_data=feed(validation, 4), validation_steps=4,
    ).history  # fmt: skip
    expected = float((dataset.labels(dataset.tasks[0]) + 1).sum())
    assert history["val_sum"] == [expected] * 3


def test_what_the_device_mixes_reaches_it_with_the_pictures(shapes):
    mixed = Loader(open_dataset(shapes), batch_size=10, image_size=(24, 24), seed=1, shuffle=True, augment="strong")  # fmt: skip
    dataset = feed(mixed, 2)
    spec = dataset.element_spec
    assert spec[0]["image"].shape == (10, 24, 24, 3)
    assert spec[0]["mix"].shape == (10, 9)
    assert spec[1]["label"].shape == (10, 6)
    inputs, targets, _ = next(iter(dataset))
    expected = mixed.batch(0)
    np.testing.assert_array_equal(inputs["mix"], expected.mix)
    np.testing.assert_array_equal(inputs["image"], expected.images)
    np.testing.assert_array_equal(targets["label"], expected.targets["label"])
    np.testing.assert_array_equal(Feed(mixed, 2)[1][0]["mix"], mixed.batch(1).mix)
