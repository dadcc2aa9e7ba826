"""The averages of batch normalisation are means of what the batches had, on both backends."""

import contextlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

PRELUDE = """
import contextlib, sys, json
import keras, numpy as np
from hornbeam.training.batch_norm import WarmUpBatchNorm, learning_layers, recompute_averages
from hornbeam.training.callbacks import Clock

MOMENTUM = 0.9
rng = np.random.default_rng(0)
x = (rng.normal(3, 2, (40, 6)) * [1, 2, 3, 4, 5, 6] + [0, 5, -5, 1, 2, 3]).astype(np.float32)
y = np.zeros((40, 2), np.float32)

def network(frozen=False):
    inputs = keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(momentum=MOMENTUM, name="first")], name="inner")
    hidden = keras.layers.Dropout(0.0)(inner(inputs))
    outputs = keras.layers.BatchNormalization(momentum=0.5, name="second")(keras.layers.Dense(2)(hidden))
    model = keras.Model(inputs, outputs)
    inner.trainable = not frozen
    return model

def first(model):
    layer = model.get_layer("inner").get_layer("first")
    return [np.array(keras.ops.convert_to_numpy(v), float).tolist() for v in (layer.moving_mean, layer.moving_variance)]

class Watch(keras.callbacks.Callback):
    def __init__(self, warm=None):
        super().__init__(); self.saved, self.validated, self.warm = [], [], warm
    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append(first(self.model))
    def on_epoch_end(self, epoch, logs=None):
        self.weights = self.model.get_weights()  # as it learns
        with self.warm.as_if(True) if self.warm else contextlib.nullcontext():
            self.saved.append(first(self.model))

def fit(model, epochs=3, start=0, warm=True):
    clock = Clock(10**6, 8)
    clock.step = start
    warmup = WarmUpBatchNorm(clock) if warm else None
    watch = Watch(warmup)
    callbacks = [clock, warmup, watch] if warm else [clock, watch]
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile="auto" if keras.config.backend() == "jax" else False)
    # Two steps an epoch: each step has a batch of its own.
    for epoch in range(1):
        model.fit(x[:16], y[:16], batch_size=8, epochs=epochs, shuffle=False, validation_data=(x[16:24], y[16:24]), validation_batch_size=8, callbacks=callbacks, verbose=0)
    return watch
"""


def run(code, backend):
    """Return what the last line says that the code prints; TensorFlow is in this process already."""
    if backend == "tensorflow":
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(PRELUDE + code, {"__name__": "code"})
        return json.loads(printed.getvalue().splitlines()[-1])
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", PRELUDE + code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def pictures():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (40, 6)) * [1, 2, 3, 4, 5, 6] + [0, 5, -5, 1, 2, 3]
    return x.astype(np.float32).astype(np.float64)


def warmed(steps, momentum=0.9):
    """The averages with a momentum that rises from 0, step by step: mean and variance."""
    x = pictures()
    mean, variance = np.zeros(6), np.zeros(6)
    for t in range(steps):
        batch = x[(t % 2) * 8 : (t % 2) * 8 + 8]
        m = momentum * (1 - momentum**t) / (1 - momentum ** (t + 1))
        mean = m * mean + (1 - m) * batch.mean(0)
        variance = m * variance + (1 - m) * batch.var(0)
    return mean, variance


def test_the_momentum_that_is_meant_rises_from_nothing_to_its_value():
    m = 0.99
    rising = [m * (1 - m**t) / (1 - m ** (t + 1)) for t in range(2000)]
    np.testing.assert_allclose(rising[:4], [0, 1 / 2, 2 / 3, 3 / 4], atol=0.01)
    assert np.all(np.diff(rising) > -1e-12)
    assert rising[-1] == pytest.approx(m)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_averages_are_what_a_rising_momentum_gives_while_validating_and_saving(backend):
    found = run(
        """
model = network()
watch = fit(model)
print(json.dumps([watch.validated, watch.saved, first(model)]))
""",
        backend,
    )
    validated, saved, last = found
    for epoch in range(3):
        expected = warmed(2 * (epoch + 1))
        np.testing.assert_allclose(validated[epoch], expected, rtol=2e-4)
        np.testing.assert_allclose(saved[epoch], expected, rtol=2e-4)
    np.testing.assert_allclose(last, warmed(6), rtol=2e-4)


def test_without_it_averages_remember_the_first_values():
    found = run(
        "model = network()\nwatch = fit(model, warm=False)\nprint(json.dumps(watch.saved))",
        "tensorflow",
    )
    mean, variance = np.array(warmed(2)) * (1 - 0.9**2)
    np.testing.assert_allclose(found[0], [mean, variance + 0.9**2], rtol=2e-4)


def test_a_training_may_go_on_from_the_weights_as_they_learn():
    found = run(
        """
model = network()
watch = fit(model, epochs=2)
again = network()
again.set_weights(watch.weights)
fit(again, epochs=3, start=4)
print(json.dumps(first(again)))
""",
        "tensorflow",
    )
    np.testing.assert_allclose(found, warmed(10), rtol=2e-4)


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_frozen_layers_keep_their_averages(backend):
    found = run(
        """
model = network(frozen=True)
before = first(model)
fit(model, epochs=2)
count = recompute_averages(model, [x[:8], x[8:16]])
print(json.dumps([before, first(model), count]))
""",
        backend,
    )
    assert found[0] == found[1]
    assert found[2] == 1  # the second layer learns


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_nothing_is_left_in_the_model(backend, tmp_path):
    file = tmp_path / "model.keras"
    found = run(
        f"""
model = network()
before = [v.path for v in model.variables if "seed" not in v.path]
fit(model)
recompute_averages(model, [x[:8], x[8:16]])
after = [v.path for v in model.variables if "seed" not in v.path]
model.save({str(file)!r})
again = keras.saving.load_model({str(file)!r}, compile=False)
kinds = [type(l).__module__ + type(l).__name__ for l in again._flatten_layers()]
same = np.allclose(model.predict(x, verbose=0), again.predict(x, verbose=0), atol=1e-6)
momenta = [l.momentum for l in learning_layers(again)]
print(json.dumps([before == after, bool(same), momenta, [k for k in kinds if "hornbeam" in k]]))
""",
        backend,
    )
    assert found == [True, True, [0.9, 0.5], []]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_precise_averages_are_those_of_all_batches_as_one(backend):
    found = run(
        """
model = network()
weights = [keras.ops.convert_to_numpy(w).copy() for w in model.trainable_weights]
count = recompute_averages(model, (x[i : i + 8] for i in range(0, 40, 8)))
same = all(np.array_equal(a, keras.ops.convert_to_numpy(b)) for a, b in zip(weights, model.trainable_weights))
second = model.get_layer("second")
# What the second layer sees: each batch normalised by itself, then multiplied.
seen = []
kernel, bias = (keras.ops.convert_to_numpy(w) for w in [l for l in model.layers if isinstance(l, keras.layers.Dense)][0].weights)
for i in range(0, 40, 8):
    b = x[i : i + 8].astype(np.float64)
    seen.append((b - b.mean(0)) / np.sqrt(b.var(0) + 1e-3) @ kernel + bias)
seen = np.concatenate(seen)
close = np.allclose(keras.ops.convert_to_numpy(second.moving_variance), seen.var(0), rtol=1e-4) and np.allclose(keras.ops.convert_to_numpy(second.moving_mean), seen.mean(0), atol=1e-5)
print(json.dumps([first(model), bool(same), bool(close), count, second.momentum]))
""",
        backend,
    )
    x = pictures()
    np.testing.assert_allclose(found[0], [x.mean(0), x.var(0)], rtol=1e-4)
    assert found[1:] == [True, True, 2, 0.5]


@pytest.mark.slow
def test_a_training_may_use_both(shapes, tmp_path, capsys):
    from hornbeam import workflow
    from hornbeam.config import TrainOptions

    options = {"data": str(shapes), "epochs": 1, "image_size": 32, "batch_size": 8, "mixup": 0.2}
    both = {"batch_norm_warmup": True, "precise_batch_norm": 3}
    models = [
        workflow.train(TrainOptions(run=tmp_path / name, **options, **more)).load_model()
        for name, more in (("plain", {}), ("both", both), ("warm", {"batch_norm_warmup": True}))
    ]
    assert "averaged over 3 batches" in capsys.readouterr().out
    plain, both, warm = ({v.path.partition("/")[2] + str(i): np.asarray(v) for i, v in enumerate(m.weights)} for m in models)  # fmt: skip
    for path in plain:
        if "moving" in path:
            assert not np.allclose(plain[path], warm[path])
            assert not np.allclose(both[path], warm[path])
        else:  # nothing else is touched
            np.testing.assert_array_equal(plain[path], warm[path])
            np.testing.assert_array_equal(plain[path], both[path])
