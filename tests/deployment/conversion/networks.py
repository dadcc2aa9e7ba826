"""Small networks to convert, which are not alike in anything that a converter could mix up."""

import keras
import numpy as np

from hornbeam.deployment.conversion.job import Job

SIZE = 32


def pictures(count=6, channels=3, size=SIZE):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def network(outputs=None, *, channels=3, features=0, body=None):
    """From pixels to probabilities by task; `body` is what stands between the pixels and the pooling."""
    keras.utils.set_random_seed(0)
    outputs = outputs or {"kind": 3}
    image = keras.Input((SIZE, SIZE, channels), dtype="uint8", name="image")
    found = keras.layers.Rescaling(1 / 127.5, -1.0, dtype="float32")(image)
    for layer in body or [keras.layers.Conv2D(8, 3, strides=2), keras.layers.BatchNormalization()]:
        found = layer(found)
    found = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation("relu")(found))
    given = image
    if features:
        numbers = keras.Input((features,), name="features")
        found, given = keras.layers.Concatenate()([found, numbers]), {"image": image}
        given["features"] = numbers
    made = {
        name: keras.layers.Dense(
            classes,
            "softmax",
            dtype="float32",
            kernel_initializer=keras.initializers.RandomNormal(0, 2),
        )(found)
        for name, classes in outputs.items()
    }
    model = keras.Model(given, made)
    rng = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.2, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
    return model


def job_of(model, out="", **more):
    """What is asked for, with classes by task."""
    tasks = {name: [f"{name} {i}" for i in range(t.shape[1])] for name, t in model.output.items()}
    more = {"description": {"name": "things", "version": "1.2", "tasks": tasks}, **more}
    return Job("", None, (), str(out), tuple(model.output), **more)


def answers_of(path, made, inputs, formats=None):
    """What a runtime answers, through the manifest's words alone: by output, float32."""
    from hornbeam.deployment.bundle.manifest import Artifact
    from hornbeam.deployment.runtimes.runtime import open_runtime

    artifact = Artifact(made.format, path.name, 0, "", made.inputs, made.outputs)
    runtime = open_runtime(path.parent, artifact, 1, trust=True)
    if isinstance(inputs, dict):
        return runtime.run(inputs["image"], inputs["features"])
    return runtime.run(inputs)


def assert_same(found, model, inputs, atol=1e-5):
    """Every output is that of the model, by name."""
    expected = model.predict_on_batch(inputs)
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=atol, err_msg=name)
