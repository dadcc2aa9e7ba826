"""Features are what the backbone gives; they are stored by picture and weights, and found again."""

import dataclasses

import keras
import numpy as np
import pyarrow as pa
import pytest

from hornbeam.config import TrainOptions
from hornbeam.data import sources
from hornbeam.data.inspection import verifying
from hornbeam.data.loader import Loader
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.training import feature_store
from hornbeam.training import features as module
from hornbeam.training.feature_store import Store
from hornbeam.training.features import FeatureLoader, compute_features

VARIED = Augmentation(area=(0.4, 1.0), flip=0.5)


@pytest.fixture(scope="module")
def dataset(shapes):
    opened = sources.open_dataset(str(shapes), TrainOptions(data=str(shapes)))
    return verifying.verify(opened, "error", 2)[0]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def extractor(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((24, 24, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, activation="relu")(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def loader(dataset, **options):
    options = {"batch_size": 7, "image_size": (24, 24), "seed": 3, "augment": VARIED} | options
    return Loader(dataset, **options)


def test_view_0_is_the_picture_as_it_is_whatever_the_size_of_batches(dataset):
    model = extractor()
    found = compute_features(model, loader(dataset), threads=2)
    plain = Loader(dataset, batch_size=len(dataset), image_size=(24, 24)).batch(0)
    np.testing.assert_allclose(
        found.values[0], model.predict_on_batch(plain.images), rtol=1e-4, atol=1e-6
    )
    assert found.computed == len(dataset) == 72


def test_what_was_computed_once_is_found_again_bit_for_bit(dataset):
    model = extractor()
    first = compute_features(model, loader(dataset), views=2)
    again = compute_features(model, loader(dataset), views=2)
    assert (first.computed, again.computed) == (144, 0)
    np.testing.assert_array_equal(first.values, again.values)


def test_only_pictures_that_were_added_are_computed_and_views_stay_theirs(dataset):
    model = extractor()
    some = compute_features(model, loader(dataset.take(np.arange(50))), views=2)
    shuffled = np.random.default_rng(0).permutation(72)
    more = compute_features(model, loader(dataset.take(shuffled)), views=2)
    assert more.computed == 2 * 22
    place = {row: index for index, row in enumerate(shuffled.tolist())}
    for row in range(50):
        np.testing.assert_array_equal(more.values[:, place[row]], some.values[:, row])
    fresh = compute_features(model, loader(dataset.take(shuffled)), views=2, cache=False)
    np.testing.assert_allclose(fresh.values, more.values, rtol=1e-4, atol=1e-6)


def test_views_differ_and_depend_on_the_seed(dataset):
    model = extractor()
    a = compute_features(model, loader(dataset), views=3).values
    b = compute_features(model, loader(dataset, seed=4), views=3)
    assert np.abs(a[0] - a[1]).max() > 1e-3
    assert np.abs(a[1] - a[2]).max() > 1e-3
    np.testing.assert_array_equal(a[0], b.values[0])
    assert np.abs(a[1] - b.values[1]).max() > 1e-3
    assert b.computed == 2 * 72  # view 0 is the same with every seed


@pytest.mark.parametrize("change", ["weights", "size", "mode", "layer"])
def test_other_weights_or_other_pixels_are_other_features(dataset, change):
    compute_features(extractor(), loader(dataset))
    model = extractor(seed=1 if change == "weights" else 0)
    options = {}
    if change == "size":
        options = {"image_size": (20, 20)}
        model = keras.models.clone_model(
            model, input_tensors=keras.Input((20, 20, 3), dtype="uint8")
        )
    if change == "mode":
        options = {"resize_mode": "squash"}
    if change == "layer":
        model.layers[2].activation = keras.activations.linear
    assert compute_features(model, loader(dataset, **options)).computed == 72


def test_a_damaged_file_of_the_cache_is_computed_anew(dataset, empty_cache):
    model = extractor()
    first = compute_features(model, loader(dataset))
    (part,) = empty_cache.rglob("*.arrow")
    part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
    again = compute_features(model, loader(dataset))
    assert again.computed == 72
    np.testing.assert_allclose(again.values, first.values, atol=1e-6)


def test_who_is_interrupted_finds_what_was_computed_before(dataset, monkeypatch):
    monkeypatch.setattr(module, "_PART", 30)
    model, runs = extractor(), []
    quickest = module.quickest_runtime

    def failing(*arguments):
        name, run = quickest(*arguments)

        def once(pixels):
            runs.append(len(pixels))
            if len(runs) > 6:
                raise KeyboardInterrupt
            return run(pixels)

        return module.Runtime(name, once)

    monkeypatch.setattr(module, "quickest_runtime", failing)
    with pytest.raises(KeyboardInterrupt):
        compute_features(model, loader(dataset))
    monkeypatch.setattr(module, "quickest_runtime", quickest)
    found = compute_features(model, loader(dataset))
    assert found.computed == 72 - 30
    whole = compute_features(model, loader(dataset), cache=False)
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-4, atol=1e-6)


def test_pictures_without_digests_are_not_stored(dataset, empty_cache):
    bare = dataclasses.replace(dataset, table=dataset.table.drop_columns("digest"))
    assert compute_features(extractor(), loader(bare)).computed == 72
    assert not list(empty_cache.rglob("*.arrow"))


def test_features_that_were_not_used_for_longest_make_room(dataset, empty_cache, monkeypatch):
    # One fits: 72 pictures of 4 floats and a digest.
    monkeypatch.setattr(feature_store, "_LIMIT", 3000)
    compute_features(extractor(0), loader(dataset))
    (old,) = (empty_cache / "features").iterdir()
    compute_features(extractor(1), loader(dataset))
    (kept,) = (empty_cache / "features").iterdir()
    assert kept != old


def test_features_that_another_process_removes_meanwhile_do_no_harm(empty_cache):
    store = Store("key", (1,))
    (empty_cache / "features").mkdir(parents=True)
    (empty_cache / "features" / "gone").symlink_to(empty_cache / "nowhere")  # listed, and not there
    store.add(["a"], np.ones((1, 1), np.float32))
    assert store.fetch(["a"], np.zeros((1, 1), np.float32)).size == 0


def test_a_feature_loader_has_the_order_and_targets_of_the_pictures(dataset):
    training = loader(dataset, shuffle=True)
    features = np.stack([np.arange(72), 100 + np.arange(72)]).astype(np.float32)[..., None]
    fed = FeatureLoader(training, features)
    assert fed.steps_per_epoch == training.steps_per_epoch == 11
    for step in (0, 10, 15, 23):  # 10 and 20 lie across two epochs
        rows, positions = training.rows(step)
        batch, of_pictures = fed.batch(step), training.batch(step)
        expected = rows + 100 * (positions // 72 % 2)
        np.testing.assert_array_equal(batch.images[:, 0], expected)
        np.testing.assert_array_equal(batch.targets["label"], of_pictures.targets["label"])
        np.testing.assert_array_equal(batch.weights["label"], of_pictures.weights["label"])
    judged = FeatureLoader(loader(dataset), features[:1])
    assert judged.batch(10).weights["label"].tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_the_store_keeps_features_of_any_shape(tmp_path):
    store = Store("key", (2, 3))
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    store.add(["a", "b"], values)
    found = np.zeros((3, 2, 3), np.float32)
    assert store.fetch(["b", "x", "a"], found).tolist() == [1]
    np.testing.assert_array_equal(found[[2, 0]], values)
    assert pa.types.is_string(pa.ipc.open_file(next(tmp_path.rglob("*.arrow"))).schema.types[0])
