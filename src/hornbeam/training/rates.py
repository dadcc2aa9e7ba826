"""Learning rates as functions step → rate: closed forms, in NumPy or in the operations of Keras.

Each takes the steps since the warm-up, which is what `Rates` puts before them. `ops` is `numpy`, for
tables, plots and tests, or `keras.ops`, for the step of a training on its device.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError

_WARMUP_START = 0.01
"""Share of the peak at which a warm-up begins."""

_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = _ONE_CYCLE_START / 1e4
"""Shares of the peak, as in PyTorch's OneCycleLR (div_factor 25, final_div_factor 1e4)."""

Phases = tuple[tuple[float, int], ...]


@dataclasses.dataclass(frozen=True)
class Rates:
    """The rate of every step of a training.

    Attributes:
        schedule: name of one of `SCHEDULES`.
        peak: highest rate; unused with phases.
        total_steps: of the training.
        warmup_steps: steps in which the rate rises linearly from a hundredth to where the schedule
            begins; of one-cycle, those of its own rise.
        end: rate that cosine and polynomial end with.
        decay_factor: of exponential.
        decay_steps: of exponential: steps after which the rate was multiplied by `decay_factor`.
        power: of polynomial.
        phases: rates, and for how many steps each.

    Example:
        >>> rates = Rates("cosine", peak=0.4, total_steps=100, warmup_steps=10)
        >>> rates([0, 10, 100]).round(3)
        array([0.004, 0.4  , 0.   ])
    """

    schedule: str
    peak: float
    total_steps: int
    warmup_steps: int = 0
    end: float = 0.0
    decay_factor: float = 1.0
    decay_steps: float = 1.0
    power: float = 1.0
    phases: Phases = ()

    @classmethod
    def of(cls, options: TrainOptions, total_steps: int, steps_per_epoch: int | None) -> Rates:
        """Make the rates that resolved options ask for.

        Args:
            options: of the training.
            total_steps: of the training.
            steps_per_epoch: batches in which each picture is seen once; `None` if unknown, which
                only exponential minds.

        Raises:
            ConfigError: the warm-up is longer than the training, or the end higher than the peak.
        """
        assert options.warmup is not None  # resolved
        peak = options.learning_rate or options.learning_rate_phases[0][0]
        if options.end_learning_rate > peak:
            raise ConfigError(
                f"--end-learning-rate {options.end_learning_rate:g} is above the learning rate, "
                f"{peak:g}."
            )
        if options.time and (options.schedule in ("exponential", "phases") or options.warmup >= 1):
            raise ConfigError(
                "With --time the rate follows the clock; --warmup is then a share of it, and "
                "--schedule neither exponential nor phases, which count steps."
            )
        if options.schedule == "exponential" and steps_per_epoch is None:
            raise ConfigError(
                "--schedule exponential counts epochs: name DATA, or --epochs-per-decay."
            )
        return cls(
            options.schedule, peak, total_steps, warmup_steps(options.warmup, total_steps),
            end=options.end_learning_rate, decay_factor=options.learning_rate_decay_factor,
            decay_steps=options.epochs_per_decay * (steps_per_epoch or 1),
            power=options.polynomial_power, phases=options.learning_rate_phases or (),
        )  # fmt: skip

    def __call__(self, step: Any, ops: Any = np) -> Any:
        """Return the rate of a step, or of an array of steps, which count from 0."""
        if ops is np:
            step = np.asarray(step, np.float64)
        if self.schedule == "one-cycle":
            return one_cycle(step, self.peak, self.total_steps, self.warmup_steps, ops)
        if self.schedule == "phases":
            # The phases are the user's own steps; a warm-up takes none of them away.
            return warm_up(step, self.warmup_steps, phases(step, self.phases, ops), ops)
        after = ops.maximum(step - self.warmup_steps, 0.0)
        left = max(1, self.total_steps - self.warmup_steps)
        if self.schedule == "cosine":
            rate = cosine(after, self.peak, self.end, left, ops)
        elif self.schedule == "polynomial":
            rate = polynomial(after, self.peak, self.end, left, self.power, ops)
        elif self.schedule == "exponential":
            rate = exponential(after, self.peak, self.decay_factor, self.decay_steps, ops)
        else:
            rate = fixed(after, self.peak)
        return warm_up(step, self.warmup_steps, rate, ops)


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Return a warm-up, which below 1 is a share of all steps, in steps.

    Raises:
        ConfigError: it is longer than the training.
    """
    if 0 < warmup < 1:
        return max(1, round(warmup * total_steps))
    if warmup > total_steps:
        raise ConfigError(
            f"--warmup {warmup:g} is longer than the training of {total_steps} steps; below 1 it is a "
            "share of them."
        )
    return round(warmup)


def warm_up(step: Any, steps: int, rate: Any, ops: Any) -> Any:
    """Return rates that rise linearly from a hundredth of `rate` to it, in as many steps."""
    if not steps:
        return rate
    share = ops.minimum(step / steps, 1.0)
    return rate * (_WARMUP_START + (1 - _WARMUP_START) * share)


def fixed(step: Any, peak: float) -> Any:
    """Return the same rate always."""
    return peak + 0.0 * step


def exponential(step: Any, peak: float, factor: float, every: float, ops: Any) -> Any:
    """Return a rate that is multiplied by `factor` every so many steps, at the nearest whole step."""
    # Half a step more: a device that multiplies by 1 / every must not miss a whole number.
    return peak * ops.power(factor, ops.floor((step + 0.5) / every))


def polynomial(step: Any, peak: float, end: float, steps: int, power: float, ops: Any) -> Any:
    """Return a rate that falls from `peak` to `end` as `(1 - step / steps) ** power`, and stays."""
    return end + (peak - end) * ops.power(1.0 - ops.minimum(step / steps, 1.0), power)


def cosine(step: Any, peak: float, end: float, steps: int, ops: Any) -> Any:
    """Return a rate that falls from `peak` to `end` along half a cosine, and stays.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), without restarts.
    """
    turn = math.pi * ops.minimum(step / steps, 1.0)
    return end + (peak - end) * 0.5 * (1.0 + ops.cos(turn))


def one_cycle(step: Any, peak: float, total_steps: int, rise: int, ops: Any) -> Any:
    """Return a rate that rises to its peak and falls far below where it began, both along cosines.

    Smith and Topin 2018 (arXiv:1708.07120), in the form and with the numbers of PyTorch's OneCycleLR:
    the peak is at step `rise - 1`, the end at the last step. The momentum is left alone.
    """
    top, last = max(0, rise - 1), max(1, total_steps - 1)
    start, end = peak * _ONE_CYCLE_START, peak * _ONE_CYCLE_END
    down = cosine(ops.maximum(step - top, 0.0), peak, end, max(1, last - top), ops)
    up = cosine(ops.minimum(step, float(top)), start, peak, max(1, top), ops)
    return ops.where(step < top, up, down)


def phases(step: Any, pairs: Phases, ops: Any) -> Any:
    """Return the rate of the phase that a step is in; the last one goes on without end."""
    rate = fixed(step, pairs[0][0])
    begin = 0
    for (_, steps), (following, _) in itertools.pairwise(pairs):
        begin += steps
        rate = ops.where(step < begin, rate, following)
    return rate
