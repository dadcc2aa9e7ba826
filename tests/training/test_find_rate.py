"""The finder's arithmetic, on known losses; and a real search, on both backends."""

import csv

import keras
import numpy as np
import pytest

from hornbeam import workflow
from hornbeam.config import FindRateOptions
from hornbeam.data.loader import Batch
from hornbeam.errors import ConfigError
from hornbeam.training.find_rate import Tried, rising_rates, smooth, try_rates


def test_each_rate_is_the_same_multiple_of_the_one_before():
    rates = rising_rates(1e-7, 10, 9)
    np.testing.assert_allclose(rates, 10.0 ** np.arange(-7, 2), rtol=1e-12)


def test_losses_are_smoothed_as_fast_ai_does():
    losses = [3.0, 1.0, 2.0]
    # A weighted mean in which each loss counts 0.98 times as much as the one after it.
    expected = [np.average(losses[: n + 1], weights=0.98 ** np.arange(n, -1, -1)) for n in range(3)]
    np.testing.assert_allclose(smooth(losses), expected, rtol=1e-12)


def test_the_steepest_rate_and_a_tenth_of_the_best_are_found():
    rates = rising_rates(1e-6, 1, 601)
    logs = np.log10(rates)
    # Falls about 1e-3, is least at 1e-1.
    losses = 0.2 + 1 / (1 + np.exp(4 * (logs + 3))) + 0.2 * np.maximum(0, logs + 1) ** 2
    tried = Tried(rates, losses, losses)
    assert tried.steepest == pytest.approx(1e-3, rel=0.1)
    assert tried.tenth_of_best == pytest.approx(1e-2, rel=0.2)
    assert tried.falls
    assert not tried.diverged
    assert not Tried(rates, logs, logs).falls


class Parabola(keras.Model):
    """Loss w²/2, whose gradient is w: diverges at rates above 2."""

    def __init__(self):
        super().__init__()
        self.w = self.add_weight(shape=(), initializer="ones", name="w")

    def call(self, x):
        return {"label": 0 * x + self.w}


def batches(count, value=1.0):
    rows = np.full((1, 1), value, np.float32)
    for _ in range(count):
        yield Batch(
            rows, {"label": np.zeros((1, 1), np.float32)}, {"label": np.ones(1, np.float32)}
        )


def parabola():
    model = Parabola()
    loss = {"label": lambda y_true, y_pred: (y_true - y_pred) ** 2 / 2}
    model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    return model


def test_each_batch_is_one_step_at_its_rate():
    rates = rising_rates(1e-3, 0.5, 20)
    tried = try_rates(parabola(), batches(20), rates)
    weights = np.cumprod([1.0, *(1 - rates[:-1])])
    np.testing.assert_allclose(tried.losses, weights**2 / 2, rtol=1e-4)
    np.testing.assert_array_equal(tried.rates, rates)


def test_the_search_ends_when_the_loss_explodes():
    rates = rising_rates(1e-2, 1e3, 100)
    tried = try_rates(parabola(), batches(100), rates)
    assert tried.diverged
    assert len(tried.losses) < 100
    assert tried.smoothed[-1] > 4 * tried.smoothed.min()
    assert tried.smoothed[-2] <= 4 * tried.smoothed[:-1].min()
    assert tried.tenth_of_best < 2


def test_a_loss_that_is_no_number_ends_it_and_leaves_suggestions():
    def spoilt():
        yield from batches(30)
        yield from batches(70, np.nan)

    tried = try_rates(parabola(), spoilt(), rising_rates(1e-4, 1, 100))
    assert len(tried.losses) == 31
    assert np.isnan(tried.losses[-1])
    assert tried.diverged
    assert np.isfinite([tried.steepest, tried.tenth_of_best]).all()


def test_a_loss_that_explodes_at_once_suggests_nothing():
    tried = try_rates(parabola(), batches(5, np.nan), rising_rates(1e-4, 1, 5))
    assert len(tried.losses) == 1
    assert not tried.falls


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_find_lr_suggests_a_rate_and_writes_no_run(hornbeam, shapes, tmp_path, backend):
    words = (
        "find-lr", shapes, "--steps", 30, "--lowest-rate", 1e-4, "--batch-size", 8, "--image-size", 32,
        "--augment", "none", "--plot", "rates.png", "--csv", "rates.csv", "--mixup", 0.2,
    )  # fmt: skip
    done = hornbeam(*words, cwd=tmp_path, backend=backend, JAX_PLATFORMS="cpu")
    assert done.code == 0, done.err
    assert "Try --learning-rate" in done.out or "nothing is suggested" in done.out
    assert {path.name for path in tmp_path.iterdir()} == {"rates.png", "rates.csv"}
    with (tmp_path / "rates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-4)
    assert 1.0 < float(rows[0]["loss"]) < 5.0


def test_find_lr_leaves_bad_pictures_out_where_train_would(hornbeam_here, folders):
    root = folders({f"train/{c}/{i}.png": 20 * i for c in ("cat", "dog") for i in range(6)})
    folders(
        {"train/cat/bad.jpg": b"no", "validation/cat/1.png": 3, "validation/dog/1.png": 9}, root
    )
    words = ("find-lr", root, "--steps", 10, "--batch-size", 4, "--image-size", 32)
    assert "cat/bad.jpg" in hornbeam_here(*words).err
    done = hornbeam_here(*words, "--on-bad", "skip")
    assert done.code == 0, done.err
    assert "1 bad picture was skipped" in done.err


def test_the_range_is_checked():
    with pytest.raises(ConfigError, match="--lowest-rate should be below --highest-rate"):
        FindRateOptions(data="d", lowest_rate=1.0, highest_rate=0.5)


def test_diverging_from_the_first_rate_is_told(shapes, capsys):
    options = {
        "image_size": 32,
        "batch_size": 8,
        "steps": 12,
        "lowest_rate": 1e6,
        "highest_rate": 1e9,
    }
    workflow.find_learning_rate(FindRateOptions(data=str(shapes), optimizer="sgd", **options))
    assert capsys.readouterr().out
