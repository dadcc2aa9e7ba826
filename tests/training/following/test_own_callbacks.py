"""A recipe's callbacks are told what Keras tells, in plain numbers; their errors name the recipe."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hornbeam.errors import ConfigError, LostPeerError
from hornbeam.recipe import Recipe
from hornbeam.training.following.own_callbacks import OwnCallbacks
from hornbeam.world import world


class Recorder(keras.callbacks.Callback):
    """Notes everything that it is told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            return lambda *words, **logs: self.told.append(
                (name, *[dict(x or {}) if x is None or isinstance(x, dict) else x
                         for x in (*words, *logs.values())])
            )  # fmt: skip
        return super().__getattribute__(name)


def fit(*callbacks):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", jit_compile=False)
    x, y = np.ones((8, 3)), np.ones((8, 1))
    model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), callbacks=list(callbacks), verbose=0)  # fmt: skip
    return model


def test_they_are_told_what_keras_tells():
    class Listening(Recorder):
        def on_train_batch_end(self, batch, logs=None):
            """Has to be there to be told."""

        on_test_batch_begin = on_train_batch_end

    plain, passed = Listening(), Listening()
    fit(plain)
    model = fit(OwnCallbacks([passed], str))
    assert passed.told == plain.told
    assert len(plain.told) > 20
    assert passed.model is model
    assert passed.params == plain.params


def test_a_callback_that_does_nothing_at_batches_is_not_told_of_them():
    class Quiet(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.last = logs

    own = OwnCallbacks([Quiet()], str)
    own.on_train_batch_end(0, {"loss": Untouchable()})  # waiting for the device would cost time
    loud = OwnCallbacks([Listening()], str)
    with pytest.raises(AssertionError, match="touched"):
        loud.on_train_batch_end(0, {"loss": Untouchable()})


class Listening(keras.callbacks.Callback):
    def on_batch_end(self, batch, logs=None):
        pass


class Untouchable:
    def __array__(self, *_, **__):
        raise AssertionError("touched")


def test_what_they_add_at_a_validation_goes_on():
    class Adds(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_mine"] = 0.5
            logs["loss"] = 100.0  # what was measured stays

    logs = {"loss": 1.0}
    OwnCallbacks([Adds()], str).on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "val_mine": 0.5}


def test_they_can_stop_the_training():
    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    seen = Recorder()
    fit(OwnCallbacks([Stops(), seen], str))
    assert [told[0] for told in seen.told].count("on_epoch_end") == 1


def test_states_are_kept_by_place_and_class():
    class Counts(keras.callbacks.Callback):
        count = 0

        def get_state(self):
            return {"count": self.count}

        def set_state(self, state):
            self.count = state["count"]

    first, second = Counts(), Counts()
    first.count, second.count = 3, 4
    state = OwnCallbacks([first, Recorder(), second], str).get_state()
    assert state == {"0 Counts": {"count": 3}, "2 Counts": {"count": 4}}
    fresh = [Counts(), Recorder(), Counts()]
    OwnCallbacks(fresh, str).set_state(state)
    assert (fresh[0].count, fresh[2].count) == (3, 4)


RECIPE = """
import keras


class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.optimizer.learning_rate = {}[
            epoch
        ]


def callbacks():
    return RESULT
"""


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ("[Fails()]", "my.py, line 7: Fails.on_epoch_end(): KeyError: 0."),
        ("Fails()", "my.py, line 7: Fails.on_epoch_end(): KeyError: 0."),
        ("[1]", "my.py: callbacks() should return a list of Keras callbacks (got int)."),
        ("{}", "my.py: callbacks() should return a list of Keras callbacks (got dict)."),
        ("1 / 0", "my.py, line 13: callbacks(): ZeroDivisionError: division by zero."),
        ("None", "my.py: callbacks() returns nothing."),
    ],
)
def test_an_error_names_file_and_line(tmp_path, result, sentence):
    path = tmp_path / "my.py"
    path.write_text(RECIPE.replace("RESULT", result))
    recipe = Recipe.load(path)
    with pytest.raises(ConfigError) as error:
        OwnCallbacks(recipe.make("callbacks"), recipe.where).on_epoch_end(0, {})
    assert str(error.value).endswith(sentence)


def test_another_process_that_is_lost_meanwhile_is_no_fault_of_the_recipe(monkeypatch):
    class Asks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")

    callbacks = OwnCallbacks([Asks()], str)
    with pytest.raises(ConfigError, match=r"Asks\.on_epoch_end"):
        callbacks.on_epoch_end(0, {})
    monkeypatch.setattr(world, "_here", world.World(1, 2, "gpu2"))
    with pytest.raises(LostPeerError, match="Process 1 of 2 on gpu2 lost another one"):
        callbacks.on_epoch_end(0, {})


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_metrics_of_batches_are_numbers_on_each_backend(backend):
    code = """
import keras, numpy as np
from hornbeam.training.following.own_callbacks import OwnCallbacks
kinds = set()
class Looks(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        kinds.update(map(type, logs.values()))
inputs = keras.Input((3,))
model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
model.compile("sgd", "mse", jit_compile=False)
callbacks = [OwnCallbacks([Looks()], str)]
model.fit(np.ones((8, 3)), np.ones((8, 1)), callbacks=callbacks, verbose=0)
OwnCallbacks([Looks()], str).on_train_batch_end(0, {"loss": keras.ops.ones(())})
assert kinds == {float}, kinds
"""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
