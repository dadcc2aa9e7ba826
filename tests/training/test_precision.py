"""Which arithmetic is chosen, that the choice changes it, and that trying leaves no trace."""

import keras
import numpy as np
import pytest

from hornbeam import assembly, backend
from hornbeam.config import TrainOptions
from hornbeam.data import sources
from hornbeam.data.loader import Loader
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.recipe import Recipe
from hornbeam.training import precision
from hornbeam.training.fit import compile_classifier
from hornbeam.training.objective import losses_of, metrics_of


@pytest.fixture(scope="module")
def loader(shapes):
    dataset = sources.open_dataset(str(shapes), TrainOptions(data=str(shapes)))
    return Loader(dataset, batch_size=8, image_size=(32, 32), shuffle=True)


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    for _ in range(2):
        x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, {"label": keras.layers.Dense(6)(x)})


TASKS = (Task("label", tuple("abcdef")),)


def compiled(model, optimizer=None):
    """Compile as `train` does."""
    options = TrainOptions(data="d").resolved()
    losses = losses_of(TASKS, options, {}, 72)
    optimizer = optimizer or keras.optimizers.SGD()
    compile_classifier(model, optimizer, losses, metrics_of(TASKS, losses))
    return model


needs_bfloat16 = pytest.mark.skipif(
    not backend.multiplies_bfloat16(), reason="this CPU has no instructions for bfloat16"
)


@needs_bfloat16
def test_in_the_block_a_traced_function_computes_in_bfloat16_and_after_it_in_float32():
    model = compiled(network())
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    exact = model.predict_on_batch(pixels)["label"]
    with backend.graph_bfloat16(True):
        rounded = model.predict_on_batch(pixels)["label"]
    again = model.predict_on_batch(pixels)["label"]
    np.testing.assert_array_equal(exact, again)
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_trying_leaves_weights_and_chance_as_they_were(loader, monkeypatch):
    monkeypatch.setattr(precision, "_WORTH", 1)

    def trained(tried):
        model = compiled(network())
        if tried:
            chosen, said = precision.quickest_precision(model, compiled, loader, steps=10)
            assert chosen in ("float32", "graph_bfloat16")
            assert "ms in float32" in said
        batch = loader.batch(0)
        model.train_on_batch(batch.inputs, batch.targets, batch.weights)
        return model.get_weights()

    for a, b in zip(trained(tried=True), trained(tried=False), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("slow", "chosen"), [(None, "float32"), (False, "graph_bfloat16"), (True, "float32")]
)
def test_bfloat16_is_chosen_only_where_it_is_clearly_quicker(loader, monkeypatch, slow, chosen):
    monkeypatch.setattr(precision, "_WORTH", 1)
    now = [0.0]
    mode = [False]
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])

    class Timed:
        def train_on_batch(self, *_):
            now[0] += 2.0 if mode[0] is slow else 1.0

    class Block:
        def __init__(self, reduced):
            mode[0] = reduced

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(precision, "graph_bfloat16", Block)
    monkeypatch.setattr(precision.keras.models, "clone_model", lambda _: Timed())
    found, _ = precision.quickest_precision(network(), lambda *_: None, loader, steps=10)
    assert found == chosen


class Uncopied(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def test_a_network_that_cannot_be_copied_stays_in_float32_and_says_so(loader, monkeypatch):
    monkeypatch.setattr(precision, "_WORTH", 1)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.GlobalAveragePooling2D()(Uncopied(lambda x: x)(inputs))
    model = compiled(keras.Model(inputs, {"label": keras.layers.Dense(6)(x)}))
    found, said = precision.quickest_precision(model, compiled, loader, steps=10)
    assert found == "float32"
    assert "bfloat16 was not tried" in said


def test_a_short_training_is_not_worth_trying(loader, monkeypatch):
    monkeypatch.setattr(precision.keras.models, "clone_model", lambda _: pytest.fail("tried"))
    assert precision.quickest_precision(None, compiled, loader, steps=100) == ("float32", "")


def test_auto_stays_open_only_where_trying_can_tell(monkeypatch):
    monkeypatch.setattr(backend, "multiplies_bfloat16", lambda: True)
    assert backend.resolve_precision("auto") == "auto"
    monkeypatch.setattr(backend, "multiplies_bfloat16", lambda: False)
    assert backend.resolve_precision("auto") == "float32"
    monkeypatch.setattr(backend, "device_kind", lambda: "gpu")
    assert backend.resolve_precision("auto") == "mixed_bfloat16"
    with pytest.raises(ConfigError, match="for TensorFlow on a CPU"):
        backend.resolve_precision("graph_bfloat16")


def test_what_must_come_out_alike_each_time_is_not_chosen_by_the_clock(loader, monkeypatch):
    monkeypatch.setattr(
        precision, "quickest_precision", lambda *_: (backend.GRAPH_BFLOAT16, "it was quicker")
    )
    for deterministic, expected in ((False, backend.GRAPH_BFLOAT16), (True, "float32")):
        options = TrainOptions(data="d", deterministic=deterministic)
        chosen = assembly.with_quickest_precision(
            options, network(), loader, loader.dataset, Recipe.none(), steps=10_000
        )
        assert chosen.precision == expected
