"""Budgets, schedules and what the callbacks note."""

import json

import keras
import numpy as np
import pytest

from hornbeam.training.callbacks import Clock, validation_score
from hornbeam.training.checkpoints import Checkpoints, load_checkpoint
from hornbeam.training.fit import Budget


@pytest.mark.parametrize(
    ("epochs", "steps", "total", "interval", "intervals"),
    [(3, None, 30, 10, 3), (None, 25, 25, 10, 3), (None, 4, 4, 4, 1), (1, None, 10, 10, 1)],
)
def test_a_budget_is_epochs_or_steps(epochs, steps, total, interval, intervals):
    budget = Budget.of(10, epochs, steps)
    assert (budget.total_steps, budget.steps_per_interval) == (total, interval)
    assert budget.intervals == intervals


def test_accuracy_decides_and_then_the_loss():
    def logs(accuracy, loss):
        return {"val_accuracy": accuracy, "val_loss": loss, "accuracy": 0.1}

    order = [logs(0.5, 2.0), logs(0.5, 1.0), logs(0.6, 9.0)]
    assert sorted([order[2], order[0], order[1]], key=validation_score) == order
    assert (
        validation_score({"val_a_accuracy": 0.2, "val_b_accuracy": 0.6, "val_loss": 1.0})[0] == 0.4
    )


def test_best_and_last_are_kept_and_nothing_else(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    clock = Clock(total_steps=50, batch_size=1)
    checkpoints = Checkpoints(tmp_path, clock)
    checkpoints.set_model(model)
    for step, accuracy in ((10, 0.5), (20, 0.9), (30, 0.7), (40, 0.9), (50, 0.1)):
        clock.step = step
        model.set_weights([np.full((1, 1), step), np.zeros(1)])
        checkpoints.on_epoch_end(step // 10 - 1, {"val_accuracy": accuracy, "val_loss": 1.0})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"best", "last", "step-00000020", "step-00000050"}
    state = load_checkpoint(model, tmp_path)
    assert state["step"] == 20
    assert model.get_weights()[0].item() == 20
    assert (
        json.loads((tmp_path / "last" / "state.json").read_text())["metrics"]["val_accuracy"] == 0.1
    )
