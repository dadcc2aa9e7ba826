"""How far off a number may be, by drawing the pictures anew: whole groups of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.special
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray[np.float32]], NDArray[np.floating]]
"""From weights `[draws, pictures]` to one or more numbers for each draw, `[draws, ...]`."""

_CELLS = 2**22
"""Weights that are made at a time: 32 MiB."""


class Resampling:
    """Draws of pictures with replacement (the bootstrap of Efron 1979), the same in every process.

    What is drawn is a unit: a picture, or a whole group of those that belong together (same patient,
    same burst), as they are no independent witnesses. Of n units n - 1 are drawn, and count n / (n - 1)
    times (Rao and Wu 1988, JASA 83:231): else the spread would be too small by that much, half of it
    for two pictures. They are drawn regardless of their class, see decisions/0012.

    Example:
        >>> right = np.array([1, 1, 0, 1, 1, 0, 1, 1, 1, 1], np.float32)
        >>> Resampling(len(right)).interval(lambda weights: weights @ right / len(right))
        (array(0.5...), array(1...))
    """

    def __init__(
        self,
        pictures: int,
        units: ArrayLike | None = None,
        *,
        draws: int = 1000,
        seed: int = 0,
    ) -> None:
        """Note what is drawn.

        Args:
            pictures: how many there are.
            units: what names the group of each picture, numbers or words, `[pictures]`; `None` where
                each stands for itself.
            draws: how often all are drawn.
            seed: of the draws.
        """
        self.pictures, self.draws, self._seed = pictures, draws, seed
        self._unit: NDArray[np.int64] | None = None
        self.units = pictures
        if units is not None:
            names, self._unit = np.unique(np.asarray(units), return_inverse=True)
            self.units = len(names)
        self.degrees_of_freedom = self.units - 1
        self.block = int(np.clip(_CELLS // max(1, pictures), 1, 1024))

    def weights(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return how much each picture counts in some of the draws: `[stop - start, pictures]`."""
        blocks = range(start // self.block, -(-stop // self.block))
        parts = [
            self._block(i)[max(0, start - i * self.block) : stop - i * self.block] for i in blocks
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def interval(self, statistic: Statistic) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return lower and upper end of the 95 % interval of a statistic, each `[...]`.

        Memory is bounded: the statistic is asked about some of the draws at a time.
        """
        return self.quantiles(self.values(statistic))

    def values(self, statistic: Statistic) -> NDArray[np.floating]:
        """Return the statistic in every draw, `[draws, ...]`."""
        starts = range(0, self.draws, self.block)
        return np.concatenate(
            [
                np.asarray(statistic(self.weights(i, min(self.draws, i + self.block))))
                for i in starts
            ]
        )

    def quantiles(
        self, values: NDArray[np.floating]
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the ends of the middle 95 % of values `[draws, ...]`; NaN of fewer than two units.

        Of few units a little more than 95 %, as Student's t is wider than the normal distribution
        (Hesterberg 2015, The American Statistician 69:371). Draws without a number do not count.
        """
        if self.degrees_of_freedom < 1:
            nothing = np.full(values.shape[1:], np.nan)
            return nothing, nothing.copy()
        tail = scipy.special.ndtr(scipy.special.stdtrit(self.degrees_of_freedom, 0.025))
        if np.isnan(values).any():
            return _without_nan(values, tail)
        low, high = np.quantile(values, [tail, 1 - tail], axis=0)
        return low, high

    def _block(self, number: int) -> NDArray[np.float32]:
        """Return a block of draws; each has a generator of its own, so that any can be had alone."""
        draws = min(self.block, self.draws - number * self.block)
        if self.degrees_of_freedom < 1:
            return np.ones((draws, self.pictures), np.float32)
        rng = np.random.default_rng((self._seed, number))
        places = rng.random((draws, self.units - 1))
        places *= self.units
        drawn = places.astype(np.int64)
        drawn += np.arange(draws)[:, None] * self.units
        counts = np.bincount(drawn.ravel(), minlength=draws * self.units)
        weights = counts.reshape(draws, self.units) * np.float32(self.units / (self.units - 1))
        return weights if self._unit is None else weights[:, self._unit]


def _without_nan(
    values: NDArray[np.floating], tail: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the same of those draws that have a number; NaN of none."""
    shape = values.shape[1:]
    columns = values.reshape(len(values), -1).T
    ends = np.full((2, len(columns)), np.nan)
    for i, column in enumerate(columns):
        numbers = column[~np.isnan(column)]
        if len(numbers):
            ends[:, i] = np.quantile(numbers, [tail, 1 - tail])
    return ends[0].reshape(shape), ends[1].reshape(shape)
