"""The learning rate of every step, as Keras' optimisers take it."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
from keras import ops

from hornbeam.config import TrainOptions
from hornbeam.training.rates import Rates


@keras.saving.register_keras_serializable("hornbeam")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The rates of `rates.Rates`, computed on the device from the optimiser's count of steps.

    Args:
        rates: step → rate.
    """

    def __init__(self, rates: Rates) -> None:
        self.rates = rates

    def __call__(self, step: Any) -> Any:
        """Return the rate of a step, a float32 scalar."""
        return ops.cast(self.rates(ops.cast(step, "float32"), ops), "float32")

    def get_config(self) -> dict[str, Any]:
        """Return the numbers that `from_config` makes the schedule of."""
        return dataclasses.asdict(self.rates)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Schedule:
        """Make the schedule of what `get_config` returned."""
        pairs = tuple((float(rate), int(steps)) for rate, steps in config["phases"])
        return cls(Rates(**(config | {"phases": pairs})))


def build_schedule(options: TrainOptions, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Return the schedule that resolved options ask for; see `rates.Rates.of`.

    With a budget of time it is always the highest rate, which `rhythm.FollowTheClock` multiplies.
    """
    rates = Rates.of(options, total_steps, steps_per_epoch)
    return Schedule(Rates("fixed", rates.peak, total_steps) if options.time else rates)
