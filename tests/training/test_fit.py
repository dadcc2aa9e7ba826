"""Budgets, rhythm, patience, and which checkpoints are kept."""

import json

import keras
import numpy as np
import pytest

from hornbeam.config import TrainOptions
from hornbeam.durations import Duration
from hornbeam.errors import ConfigError
from hornbeam.training.callbacks import Clock, Progress, validation_score
from hornbeam.training.checkpoints import Checkpoints
from hornbeam.training.fit import budget_of
from hornbeam.training.patience import EarlyStopping, Monitor, Plateau
from hornbeam.training.rhythm import Budget, Every, Rhythm
from hornbeam.training.saved import load_checkpoint, newest


@pytest.mark.parametrize(
    ("text", "amount", "unit", "shown"),
    [
        ("500steps", 500, "steps", "500steps"),
        ("500", 500, "steps", "500steps"),
        ("1 epoch", 1, "epochs", "1epoch"),
        ("1.5epochs", 1.5, "epochs", "1.5epochs"),
        ("1e6examples", 1e6, "examples", "1000000examples"),
        ("90s", 90, "seconds", "90s"),
        ("10min", 600, "seconds", "10min"),
        ("2h", 7200, "seconds", "2h"),
        ("1d", 86400, "seconds", "24h"),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text, amount, unit, shown):
    duration = Duration.parse(text)
    assert (duration.amount, duration.unit, str(duration)) == (amount, unit, shown)
    assert Duration.parse(str(duration)) == duration


@pytest.mark.parametrize("text", ["", "steps", "0steps", "-1epoch", "1.2.3h", "5 parsecs", "inf"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="a number above 0 and its unit"):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "steps"),
    [("7steps", 7), ("1epoch", 10), ("0.25epochs", 2), ("0.001epochs", 1), ("65examples", 9)],
)
def test_a_duration_is_steps_of_a_training(text, steps):
    assert Duration.parse(text).in_steps(steps_per_epoch=10, batch_size=8) == steps
    assert Duration.parse("1h").in_steps(10, 8) is None


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ({"epochs": 3}, Budget(30)),
        ({"steps": 25}, Budget(25)),
        ({"steps": 25, "accumulate": 4}, Budget(28)),
        ({"examples": "1e3", "batch_size": 32}, Budget(32)),
        ({"time": "2min"}, Budget(None, 120.0)),
        ({"time": 90}, Budget(None, 90.0)),
    ],
)
def test_a_budget_is_one_of_four(given, budget):
    options = TrainOptions(data="x", **given).resolved().planned(1000)
    assert Budget.of(options, steps_per_epoch=10) == budget


def test_a_time_is_no_budget_of_a_head_on_what_was_computed_once():
    options = TrainOptions(
        data="x", weights="file.h5", freeze="backbone", precompute="on", time="1h"
    ).resolved()
    with pytest.raises(ConfigError, match=r"--time: .* give --epochs, or --precompute off"):
        budget_of(options.planned(1000), None, with_head=True)


def test_two_budgets_are_refused_by_name():
    with pytest.raises(ConfigError, match="--epochs and --time exclude each other"):
        TrainOptions(data="x", epochs=3, time="1h")


def test_the_live_line_goes_back_with_the_training():
    clock, moved = Clock(100, 4), []
    progress = Progress(clock, None, lambda count, text="": moved.append(count))
    progress.on_train_begin()
    for clock.step in range(1, 9):
        progress.on_train_batch_end(0)
    clock.step = 3  # to a checkpoint, as after a loss that is no number
    progress.on_train_begin()
    assert sum(moved) == 3


def test_going_back_gives_no_time_back():
    clock = Clock(None, 4, seconds=100.0)
    saved = clock.get_state()
    clock.count_as_spent(60.0)
    spent = clock.seconds
    clock.set_state(saved)
    assert clock.share < 0.5  # what a resumed training is to have had
    clock.count_as_spent(spent)
    assert clock.step == 0
    assert 0.6 <= clock.share < 1
    clock.count_as_spent(100.0)
    assert clock.over


def test_something_that_comes_again_comes_at_multiples_or_after_a_time():
    assert [s for s in range(1, 13) if Every(4).due(s, 1e9)] == [4, 8, 12]
    every = Every(None, 10.0)
    assert not every.due(4, 9.9)
    assert every.due(5, 10.0)


def test_accuracy_decides_and_then_the_loss():
    def logs(accuracy, loss):
        return {"val_accuracy": accuracy, "val_loss": loss, "accuracy": 0.1}

    order = [logs(0.5, 2.0), logs(0.5, 1.0), logs(0.6, 9.0)]
    assert sorted([order[2], order[0], order[1]], key=validation_score) == order
    assert (
        validation_score({"val_a_accuracy": 0.2, "val_b_accuracy": 0.6, "val_loss": 1.0})[0] == 0.4
    )


@pytest.mark.parametrize(
    ("name", "mode", "better", "worse"),
    [
        ("val_loss", "auto", 0.1, 0.2),
        ("val_cross_entropy", "auto", 0.1, 0.2),
        ("val_macro_f1", "auto", 0.2, 0.1),
        ("val_macro_f1", "min", 0.1, 0.2),
        ("val_loss", "max", 0.2, 0.1),
        ("val_loss", "auto", 0.2, float("nan")),
        ("val_recall:glossy", "auto", 0.2, 0.1),
    ],
)
def test_any_metric_says_what_is_better(name, mode, better, worse):
    monitor = Monitor(name, mode)
    assert monitor.score({name: better}) > monitor.score({name: worse})


def test_a_metric_that_is_not_there_is_refused_with_the_nearest():
    options = TrainOptions(data="x", monitor="val_acuracy")
    with pytest.raises(ConfigError, match="Did you mean 'val_accuracy'"):
        Monitor.of(options, ["accuracy", "macro_f1"])
    assert Monitor.of(options.model_copy(update={"monitor": "macro_f1"}), ["macro_f1"]).name == (
        "val_macro_f1"
    )


def small():
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def saving(tmp_path, model, clock, **options):
    checkpoints = Checkpoints(tmp_path, clock, model, monitor=Monitor(), **options)
    checkpoints.set_model(model)
    return checkpoints


def validate(checkpoints, model, clock, step, accuracy):
    clock.step = step
    model.set_weights([np.full((1, 1), step), np.zeros(1)])
    checkpoints.on_epoch_end(step // 10 - 1, {"val_accuracy": accuracy, "val_loss": 1.0})


@pytest.mark.parametrize(
    ("keep", "left"), [(1, [20, 50]), (2, [20, 40, 50]), (9, [10, 20, 30, 40, 50])]
)
def test_the_best_and_the_newest_are_kept_and_nothing_else(tmp_path, keep, left):
    model, clock = small(), Clock(50, 1)
    checkpoints = saving(tmp_path, model, clock, keep=keep)
    for step, accuracy in ((10, 0.5), (20, 0.9), (30, 0.7), (40, 0.9), (50, 0.1)):
        validate(checkpoints, model, clock, step, accuracy)
    checkpoints.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best", "last", *(f"step-{step:08}" for step in left)}
    state = load_checkpoint(model, tmp_path)
    assert state["step"] == 20
    assert model.get_weights()[0].item() == 20
    last = json.loads((tmp_path / "last" / "state.json").read_text())
    assert last["metrics"]["val_accuracy"] == 0.1


def test_what_was_half_written_or_half_replaced_is_tidied(tmp_path):
    model, clock = small(), Clock(50, 1)
    checkpoints = saving(tmp_path, model, clock, keep=5)
    validate(checkpoints, model, clock, 10, 0.5)
    validate(checkpoints, model, clock, 20, 0.6)
    checkpoints.close()
    (tmp_path / ".part-step-00000030-x").mkdir()
    (tmp_path / "step-00000020").rename(tmp_path / ".earlier-step-00000020")
    (tmp_path / ".earlier-step-00000010").mkdir()
    found, state, _ = newest(tmp_path)
    assert (found.name, state["step"]) == ("step-00000020", 20)
    assert {p.name for p in tmp_path.iterdir()} == {
        "best",
        "last",
        "step-00000010",
        "step-00000020",
    }


def test_plain_keras_loads_a_checkpoint(tmp_path):
    model, clock = small(), Clock(50, 1)
    checkpoints = saving(tmp_path, model, clock)
    validate(checkpoints, model, clock, 10, 0.5)
    checkpoints.close()
    plain = keras.models.model_from_json((tmp_path / "last" / "model.json").read_text())
    plain.load_weights(tmp_path / "last" / "model.weights.h5")
    np.testing.assert_array_equal(plain.predict(np.ones((1, 1)), verbose=0), [[10.0]])


class Optimizer:
    """Notes the factor on the rate."""

    def __init__(self):
        self.rate_scale = self
        self.factor = 1.0

    def assign(self, factor):
        self.factor = factor


class Network:
    """Has an optimiser, and may be stopped."""

    def __init__(self):
        self.optimizer, self.stop_training = Optimizer(), False


def patient(kind, **options):
    clock, model = Clock(1000, 1), Network()
    callback = kind(clock, Monitor("val_loss"), **options)
    clock.set_model(model)
    callback.set_model(model)
    return clock, model, callback


def feed_losses(callback, losses):
    for epoch, loss in enumerate(losses):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_loss": loss})


def test_early_stopping_waits_for_as_many_as_it_is_told():
    clock, _, callback = patient(EarlyStopping, patience=2)
    feed_losses(callback, [3, 2, 2.5, 1.9, 1.9])
    assert not clock.over
    feed_losses(callback, [2.0])
    assert clock.over
    assert "2 validations without a better one" in clock.stopped


def test_a_plateau_drops_the_rate_goes_back_and_at_last_stops():
    back = []
    clock, model, callback = patient(
        Plateau, patience=2, factor=0.1, max_decays=2, go_back=lambda: back.append(1)
    )
    feed_losses(callback, [3, 3.1])
    assert model.optimizer.factor == 1.0
    feed_losses(callback, [3.0])
    assert (model.optimizer.factor, len(back)) == (pytest.approx(0.1), 0)  # only when it goes on
    feed_losses(callback, [2.0])
    assert len(back) == 1
    feed_losses(callback, [2.1, 2.1])
    assert model.optimizer.factor == pytest.approx(0.01)
    assert not clock.over
    feed_losses(callback, [2.1, 2.1])
    assert clock.over
    assert len(back) == 2


@pytest.mark.parametrize("cut", range(1, 8))
def test_patience_survives_in_its_state(cut):
    losses = [3, 3.1, 3.2, 2.0, 2.1, 2.2, 2.3, 2.4]

    def made():
        return patient(Plateau, patience=2, factor=0.5, max_decays=2, go_back=lambda: None)

    clock, _, whole = made()
    feed_losses(whole, losses)
    _, _, first = made()
    feed_losses(first, losses[:cut])
    state = json.loads(json.dumps(first.get_state()))
    resumed_clock, _, second = made()
    second.set_state(state)
    feed_losses(second, losses[cut:])
    assert second.get_state() == whole.get_state()
    assert resumed_clock.stopped == clock.stopped


def test_an_interval_ends_when_it_is_due_and_a_callback_may_stop_all():
    clock, model = Clock(10, 1), Network()
    rhythm = Rhythm(clock, Every(4))
    clock.set_model(model)
    rhythm.set_model(model)
    ended = []
    for step in range(1, 11):
        clock.step = step
        rhythm.on_train_batch_end(step)
        if model.stop_training:
            ended.append(step)
            clock.on_epoch_end(0)
            rhythm.on_epoch_end(0)
    assert ended == [4, 8, 10]
    assert model.stop_training
    clock, model = Clock(10, 1), Network()
    rhythm = Rhythm(clock, Every(4))
    clock.set_model(model)
    rhythm.set_model(model)
    clock.step, model.stop_training = 2, True  # a user's callback
    rhythm.on_train_batch_end(2)
    assert clock.stopped == "a callback stopped it"
