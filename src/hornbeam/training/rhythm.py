"""When a training validates, when it saves, and when it ends."""

from __future__ import annotations

import dataclasses
import math

import keras

from hornbeam.config import TrainOptions
from hornbeam.durations import Duration
from hornbeam.training.callbacks import Clock, Logs
from hornbeam.training.rates import Rates

_TICKS = 500
_TICK = 1.0
"""Changes of a rate that follows the clock, at least; and the most seconds between two of them."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to train: one of the two.

    Attributes:
        steps: batches in all; 0 trains nothing.
        seconds: of training and validation.
    """

    steps: int | None
    seconds: float | None = None

    @classmethod
    def of(cls, options: TrainOptions, steps_per_epoch: int) -> Budget:
        """Return what planned options say; without any budget, none.

        Groups of batches whose gradients are averaged are whole: the steps are rounded up to them.
        """
        if options.time:
            return cls(None, Duration.parse(options.time).amount)
        total = options.steps or steps_per_epoch * (options.epochs or 0)
        return cls(-(-total // options.accumulate) * options.accumulate)


@dataclasses.dataclass(frozen=True)
class Every:
    """Something that comes again: one of the two.

    Attributes:
        steps: it comes at the multiples of this number of steps.
        seconds: between one and the next.
    """

    steps: int | None
    seconds: float | None = None

    @classmethod
    def of(cls, text: str, steps_per_epoch: int, batch_size: int) -> Every:
        """Return what a `Duration`, as text, means for a training."""
        duration = Duration.parse(text)
        steps = duration.in_steps(steps_per_epoch, batch_size)
        return cls(steps, duration.amount if steps is None else None)

    def due(self, step: int, seconds: float) -> bool:
        """Whether it comes now.

        Args:
            step: that was just taken.
            seconds: since it came last.
        """
        if self.steps is not None:
            return step % self.steps == 0
        return self.seconds is not None and seconds >= self.seconds


class Rhythm(keras.callbacks.Callback):  # type: ignore[misc]
    """End an interval, and so let Keras validate, when that is due; end the training when it is over.

    It comes after all callbacks that may stop the training, and before the one that saves.

    Args:
        clock: knows step and seconds.
        every: when to validate.
    """

    def __init__(self, clock: Clock, every: Every) -> None:
        super().__init__()
        self._clock = clock
        self._every = every
        self._last = 0.0

    def get_state(self) -> dict[str, float]:
        """Return when the last interval ended."""
        return {"last": self._last}

    def set_state(self, state: dict[str, float]) -> None:
        """Count on from there."""
        self._last = state["last"]

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """End the interval where it is due, or where somebody else asks for it."""
        # Not `self.model`, for which JAX would copy its whole state to the variables each time.
        clock, model = self._clock, self._model
        if model.stop_training:
            clock.stop("a callback stopped it")
        if clock.over or self._every.due(clock.step, clock.seconds - self._last):
            model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Go on, or not."""
        self._last = self._clock.seconds
        if self.model.stop_training:
            self._clock.stop("a callback stopped it")
        self.model.stop_training = self._clock.over


class FollowTheClock(keras.callbacks.Callback):  # type: ignore[misc]
    """Set the learning rate by the share of the time that is over, once a second or more often.

    The optimiser has the highest rate, and a factor on it.

    Args:
        clock: knows the share.
        rates: over as many steps as it likes to divide the time into.
    """

    def __init__(self, clock: Clock, rates: Rates) -> None:
        super().__init__()
        self._clock = clock
        self._rates = rates
        self._set = -math.inf
        self._tick = min(_TICK, (clock.total_seconds or 0) / _TICKS)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Set the first rate."""
        self._follow()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Follow."""
        if self._clock.seconds - self._set >= self._tick:
            sync(self.model)
            self._follow()

    def _follow(self) -> None:
        self._set = self._clock.seconds
        rate = float(self._rates(self._clock.share * self._rates.total_steps))
        self._clock.set_factor("clock", rate / self._rates.peak)


def sync(model: keras.Model) -> None:
    """Let the variables of a model that is being fitted have their values, in the midst of an epoch.

    JAX keeps them elsewhere meanwhile. What is assigned after this counts in the next step.
    """
    if keras.config.backend() == "jax":
        model.jax_state_sync()
