"""Bundles of a tiny network with random weights, for tests of what asks them."""

import dataclasses
import hashlib
import io
import shutil

import numpy as np
from PIL import Image

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.archive import sha256_of
from hornbeam.deployment.bundle.manifest import Artifact, Golden, Manifest
from hornbeam.deployment.bundle.verifying import files_of

CLASSES = ("ash", "birch", "cedar")
SIDE = 32
BELOW, ABOVE = 0.5, 0.6


def network(features=0, side=SIDE):
    """Pixels (and numbers) to probabilities of three classes and a score of the unknown."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((side, side, 3), dtype="uint8", name="image")
    inputs = image
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(image)
    for filters in (8, 16):
        x = keras.layers.Conv2D(
            filters, 3, 2, activation="relu", kernel_initializer="he_normal", padding="same"
        )(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    if features:
        numbers = keras.Input((features,), dtype="float32", name="features")
        inputs = {"image": image, "features": numbers}
        x = keras.layers.Concatenate()([x, numbers])
    large = keras.initializers.RandomNormal(stddev=3.0, seed=2)
    logits = keras.layers.Dense(3, kernel_initializer=large)(x)
    score = keras.layers.Dense(1, activation="sigmoid", kernel_initializer=large)(x)
    outputs = {
        "label": keras.layers.Activation("softmax", name="label_probabilities")(logits),
        "unknown": keras.layers.Activation("linear", name="unknown")(score),
    }
    return keras.Model(inputs, outputs)


def coloured(count, side=SIDE, seed=0):
    """Smooth pictures of many colours, uint8 `[count, side, side, 3]`."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((side, side), 2)) for c in coarse])


def encoded(pixels, format="PNG", **options):
    """The bytes of a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def make_small_bundle(directory, formats, *, features=()):
    """Write a bundle of `network`, with two golden pictures, and return its model."""
    from hornbeam.deployment.conversion.job import Job
    from hornbeam.deployment.conversion.parent import convert

    (directory / "golden").mkdir(parents=True)
    model = network(len(features))
    saved = directory.with_name(f"{directory.name}.keras")
    model.save(saved)
    job = Job(str(saved), None, tuple(formats), str(directory), ("label", "unknown"), len(features))
    artifacts = {}
    for name, made in convert(job).items():
        assert made.error is None, made.error
        empty = Artifact(name, made.file, 0, "", made.inputs, made.outputs)
        files = files_of(directory, empty)
        artifacts[name] = Artifact(
            name, made.file, sum(f.stat().st_size for f in files), sha256_of(files),
            made.inputs, made.outputs, golden_tolerance=1e-4,
        )  # fmt: skip
    golden = [_golden(directory, n, model, features, formats) for n in range(2)]
    Manifest(
        name="trees", created="2026-11-21T00:00:00+00:00", image_size=(SIDE, SIDE, 3),
        resize_mode="crop", max_pixels=10**7, preprocess=None, features=tuple(features),
        tasks=(Task("label", CLASSES),), calibration={},
        abstain={"label": {"below": BELOW, "meaning": ""}},
        unknown={"above": ABOVE, "kind": "energy", "meaning": ""}, groups={}, versions={},
        fingerprints={}, artifacts=artifacts, golden=tuple(golden),
    ).save(directory)  # fmt: skip
    return model


def _golden(directory, number, model, features, formats):
    pixels = coloured(1, seed=100 + number)[0]
    content = encoded(pixels)
    path = f"golden/{number}.png"
    (directory / path).write_bytes(content)
    beside = tuple(0.5 for _ in features)
    said = asked(model, pixels[None], np.array([beside], np.float32) if features else None)
    answers = {name: tuple(map(float, values[0])) for name, values in said.items()}
    return Golden(
        path, hashlib.sha256(content).hexdigest(), beside, answers, dict.fromkeys(formats, answers)
    )


def asked(model, image, features=None):
    """What the model itself says."""
    from hornbeam.deployment.answering import named_outputs

    inputs = image if features is None else {"image": image, "features": features}
    return named_outputs(model.predict_on_batch(inputs), ("label", "unknown"))


def changed(bundle, directory, **changes):
    """Copy a bundle, and say something else of it."""
    shutil.copytree(bundle, directory)
    dataclasses.replace(Manifest.load(bundle), **changes).save(directory)
    return directory
