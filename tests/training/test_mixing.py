"""The device mixes as the host's reference does, and the classifier learns through it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hornbeam.data.pixels import mixing
from hornbeam.data.pixels.mixing import Mixing
from hornbeam.data.tasks import Task
from hornbeam.models.classifier import build_classifier
from hornbeam.models.zoo import ZOO
from hornbeam.training.mixing import MixPictures, mixing_model

RNG = np.random.default_rng(0)
SIZE = (40, 48)


def batch_of(count, channels=3):
    images = RNG.integers(0, 256, (count, *SIZE, channels), np.uint8)
    method = Mixing(mixup=0.4, cutmix=1.0, erasing=0.5)
    mix = np.stack([method.draw(SIZE, np.random.default_rng(i)) for i in range(count)])
    return images, mix


@pytest.mark.parametrize(("count", "channels"), [(8, 3), (7, 1), (1, 4)])
def test_the_device_mixes_as_the_host_does(count, channels):
    images, mix = batch_of(count, channels)
    found = np.asarray(MixPictures()(images, mix))
    assert found.dtype == np.uint8
    expected = mixing.mix_images(images, mix)
    # A half may be rounded either way where a device fuses multiplication and addition.
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert (found == expected).mean() > 0.999


def test_neutral_numbers_change_no_bit():
    images, _ = batch_of(6)
    np.testing.assert_array_equal(MixPictures()(images, mixing.neutral(6)), images)


def test_mixed_training_trains_the_classifier_itself():
    tasks = (Task("label", ("a", "b", "c")),)
    classifier = build_classifier(ZOO["compact"], SIZE, tasks)
    model = mixing_model(classifier)
    images, mix = batch_of(8)
    targets = {"label": np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 8)]}
    before = [w.numpy().copy() for w in classifier.trainable_weights]
    inputs = {"image": images, "mix": mixing.neutral(8)}
    np.testing.assert_allclose(
        model.predict_on_batch(inputs)["label"],
        classifier.predict_on_batch(images)["label"],
        atol=1e-5,
    )
    loss = {"label": keras.losses.CategoricalCrossentropy(from_logits=True)}
    model.compile("sgd", loss, jit_compile=False)
    model.train_on_batch({"image": images, "mix": mix}, targets)
    changed = [
        not np.array_equal(old, new.numpy())
        for old, new in zip(before, classifier.trainable_weights, strict=True)
    ]
    assert all(changed)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_compiled_training_mixes_on_each_backend(backend, tmp_path):
    """With XLA where the backend has it, for two sizes of batch."""
    images, mix = batch_of(6)
    np.savez(tmp_path / "batch.npz", images=images, mix=mix)
    code = f"""
import keras, numpy as np
from hornbeam.training.mixing import MixPictures
batch = np.load({str(tmp_path / "batch.npz")!r})
images = keras.Input((40, 48, 3), dtype="uint8", name="image")
mix = keras.Input((9,), name="mix")
model = keras.Model({{"image": images, "mix": mix}}, MixPictures()(images, mix))
model.compile(jit_compile=True)
for count in (6, 5):
    inputs = {{"image": batch["images"][:count], "mix": batch["mix"][:count]}}
    np.save({str(tmp_path)!r} + f"/{{count}}.npy", model.predict(inputs, batch_size=count, verbose=0))
"""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for count in (6, 5):
        expected = mixing.mix_images(images[:count], mix[:count])
        found = np.load(tmp_path / f"{count}.npy").astype(int)
        assert np.abs(found - expected).max() <= 1
        assert (found == expected).mean() > 0.999


def test_draws_are_what_the_papers_say():
    rng = np.random.default_rng(1)
    drawn = np.stack([Mixing(mixup=0.2, cutmix=1.0, erasing=0.25).draw(SIZE, rng) for _ in range(4000)])  # fmt: skip
    blended = drawn[:, mixing.SHARE] < 1
    patched = drawn[:, mixing.PATCH].any(axis=1)
    assert not (blended & patched).any()
    assert blended.mean() == pytest.approx(0.5, abs=0.05)
    assert patched.mean() == pytest.approx(0.5, abs=0.05)
    top, left, bottom, right = drawn[:, mixing.ERASED].T
    area = (bottom - top) * (right - left) / (SIZE[0] * SIZE[1])
    erased = area > 0
    assert erased.mean() == pytest.approx(0.25, abs=0.03)
    assert area[erased].min() > 0.012
    assert area[erased].max() < 0.36
    shares = mixing.own_shares(drawn, SIZE)
    assert shares.min() >= 0
    # Beta(0.2, 0.2) has the mean 1/2 and the variance 1 / (4 * 1.4).
    beta = drawn[blended, mixing.SHARE]
    assert beta.mean() == pytest.approx(0.5, abs=0.04)
    assert beta.var() == pytest.approx(1 / (4 * 1.4), rel=0.06)


def test_a_label_counts_as_many_pixels_as_are_its_own():
    images = np.zeros((2, *SIZE, 3), np.uint8)
    images[1] = 255
    for seed in range(30):
        mix = np.stack([Mixing(cutmix=1.0).draw(SIZE, np.random.default_rng((seed, i))) for i in range(2)])  # fmt: skip
        mixed = mixing.mix_images(images, mix)
        own = [(mixed[0] == 0).mean(), (mixed[1] == 255).mean()]
        np.testing.assert_allclose(mixing.own_shares(mix, SIZE), own, atol=1e-6)
        targets = mixing.mix_targets(np.eye(2, dtype=np.float32), mixing.own_shares(mix, SIZE))
        np.testing.assert_allclose(targets, [[own[0], 1 - own[0]], [1 - own[1], own[1]]], atol=1e-6)
