"""Which learning rate to begin with: train on a few batches at rising rates, and watch the loss.

Smith 2015 (arXiv:1506.01186), section 3.3, with the smoothing and the suggestions of fast.ai.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from hornbeam.data.loader import Batch

_SMOOTHING = 0.98
_DIVERGED = 4.0
_SKIPPED_FIRST, _SKIPPED_LAST = 0.1, 0.05
"""All as in fast.ai's finder: decay of the running mean, multiple of the least loss at which it ends,
and shares of the losses, at either end, that suggest nothing."""

_WINDOW = 0.1
"""Share of the losses over which a slope is told; from one to the next, noise of batches decides."""

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Tried:
    """Rates that were tried, and what came of them.

    Attributes:
        rates: of each batch, rising, `[batches]`.
        losses: of each batch before its step, `[batches]`; the last one may be infinite or no number.
        smoothed: means of the losses so far, the later the heavier, `[batches]`.
    """

    rates: Floats
    losses: Floats
    smoothed: Floats

    @property
    def steepest(self) -> float:
        """The rate about which the smoothed loss falls most steeply, over the logarithm of the rate."""
        inner = self._inner()
        rates, smoothed = self.rates[inner], self.smoothed[inner]
        width = max(1, round(_WINDOW * len(rates)))
        falls = (smoothed[:-width] - smoothed[width:]) / np.log(rates[width:] / rates[:-width])
        return float(rates[falls.argmax() + width // 2])

    @property
    def tenth_of_best(self) -> float:
        """A tenth of the rate at which the smoothed loss is least."""
        inner = self._inner()
        return float(self.rates[inner][self.smoothed[inner].argmin()] / 10)

    @property
    def falls(self) -> bool:
        """Whether the smoothed loss falls anywhere, as without that nothing is suggested."""
        inner = self._inner()
        return bool((np.diff(self.smoothed[inner]) < 0).any())

    @property
    def diverged(self) -> bool:
        """Whether the rates were high enough for the loss to explode."""
        return diverges(self.smoothed)

    def _inner(self) -> slice:
        count = int(np.isfinite(self.smoothed).sum())
        # At least two losses, of which a slope can be told.
        first = min(round(_SKIPPED_FIRST * count), max(0, count - 2))
        return slice(first, max(count - round(_SKIPPED_LAST * count), first + 2))


def rising_rates(lowest: float, highest: float, count: int) -> Floats:
    """Return as many rates, each the same multiple of the one before it."""
    return np.geomspace(lowest, highest, count)


def smooth(losses: Sequence[float]) -> Floats:
    """Return exponential means of the losses so far, freed of the zero that they start from."""
    mean, result = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        result.append(mean / (1 - _SMOOTHING**number))
    return np.array(result)


def diverges(smoothed: Floats) -> bool:
    """Whether the last of some smoothed losses is no number, or far above the least of them."""
    last = smoothed[-1]
    return not math.isfinite(last) or bool(last > _DIVERGED * np.nanmin(smoothed))


def try_rates(
    model: keras.Model,
    batches: Iterable[Batch],
    rates: Floats,
    on_step: Callable[[float, float], None] | None = None,
) -> Tried:
    """Train a compiled model on one batch at each rate, until the loss explodes.

    The model is spoilt by it.

    Args:
        model: compiled with a fixed learning rate, which is set anew for each batch.
        batches: as many as there are rates, or more.
        rates: rising, `[batches]`.
        on_step: is told of each rate and its loss.
    """
    losses: list[float] = []
    for rate, batch in zip(rates, batches, strict=False):
        model.optimizer.learning_rate = rate
        logs = model.train_on_batch(batch.inputs, batch.targets, batch.weights, return_dict=True)
        losses.append(float(logs["loss"]))
        if on_step:
            on_step(float(rate), losses[-1])
        if diverges(smooth(losses)):
            break
    return Tried(rates[: len(losses)], np.array(losses), smooth(losses))
