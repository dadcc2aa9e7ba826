"""Two models on the same pictures: is a difference shown, how large is it, how many pictures show it?

Pictures that both name right, or both wrong, tell nothing about a difference; those that one alone
names right do. Everything here is computed from these, and whole groups of pictures (of a patient, of
a burst) may count as one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.signal
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from hornbeam.evaluation.scoring.power import pictures_needed
from hornbeam.evaluation.scoring.shares import Z95

LEVEL = 0.05
"""Share of cases in which equal models are called different."""


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Whether chance alone explains a difference of two models.

    Attributes:
        exact: probability of a difference as large as this or larger, either way, of equal models.
        mid_p: the same, but this difference itself counts half. The exact test calls equal models
            different in less than 5 % of cases, often in 1 or 2 %; this one in about 5 %
            (Fagerlund, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91).
    """

    exact: float
    mid_p: float


@dataclasses.dataclass(frozen=True)
class Paired:
    """Right answers of two models to the same pictures.

    Attributes:
        pictures: that both were asked about.
        gained: that the second alone names right.
        lost: that the first alone names right.
        effect: how many times as many pictures tell as much as these do, as those of a group are
            alike (Kish's design effect of the difference); 1 of single pictures.
        units: independent ones: groups, or pictures.
        differences: int64 `[units]`: right answers of the second less those of the first.
    """

    pictures: int
    gained: int
    lost: int
    effect: float
    units: int
    differences: NDArray[np.int64]

    @classmethod
    def of(
        cls, first: NDArray[np.bool_], second: NDArray[np.bool_], groups: NDArray[np.int64] | None = None
    ) -> Paired:  # fmt: skip
        """Count.

        Args:
            first: which pictures the first model names right, `[pictures]`.
            second: which ones the second does.
            groups: what belongs together, numbers; `None` where each picture stands alone.
        """
        change = second.astype(np.int64) - first
        pictures, gained, lost = len(change), int((change > 0).sum()), int((change < 0).sum())
        if groups is None or not pictures:
            return cls(pictures, gained, lost, 1.0, pictures, change)
        group = np.unique(groups, return_inverse=True)[1]
        sizes = np.bincount(group)
        sums = np.bincount(group, change).astype(np.int64)
        effect = _design_effect(sums, sizes, gained + lost)
        return cls(pictures, gained, lost, effect, len(sizes), sums)

    @property
    def value(self) -> float:
        """Share of right answers of the second, less that of the first; NaN of no pictures."""
        return (self.gained - self.lost) / self.pictures if self.pictures else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference; see `score_interval`."""
        if not self.pictures:
            return -1.0, 1.0
        z = Z95
        if self.units < self.pictures:  # of groups: their variance is estimated from few
            z = float(scipy.stats.t.ppf(1 - LEVEL / 2, max(1, self.units - 1)))
        gained, lost, pictures = (n / self.effect for n in (self.gained, self.lost, self.pictures))
        return score_interval(gained, lost, pictures, z)

    @property
    def test(self) -> PairedTest:
        """Whether chance alone explains the difference; see `sign_flip`."""
        return sign_flip(self.differences)

    @property
    def needed(self) -> int | None:
        """Pictures that would show the observed difference in 80 % of cases; `None` if there is none.

        For McNemar's test, from the observed shares; see `pictures_needed`.
        """
        if not self.value or math.isnan(self.value):
            return None
        changed = (self.gained + self.lost) / self.pictures
        return math.ceil(self.effect * pictures_needed(abs(self.value), changed))


def score_interval(
    gained: float, lost: float, pictures: float, z: float = Z95
) -> tuple[float, float]:
    """Return the interval of a difference of two paired shares, by Tango's score.

    These are the differences that McNemar's test (its asymptotic form) does not reject, so interval and
    test hardly ever disagree; and it has a width where nothing changed (Tango 1998, Statistics in
    Medicine 17:891; recommended by Fagerlund, Lydersen and Laake 2014, Statistics in Medicine 33:2850).

    Args:
        gained: pictures that the second alone names right; need not be whole.
        lost: pictures that the first alone names right.
        pictures: all.
        z: standard deviations either way.
    """

    def score(difference: float) -> float:
        a = 2 * pictures
        b = -gained - lost + (2 * pictures - gained + lost) * difference
        c = -lost * difference * (1 - difference)
        least = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = pictures * (2 * least + difference * (1 - difference))
        distance = gained - lost - pictures * difference
        return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance)

    value = (gained - lost) / pictures

    def end(outermost: float, wanted: float) -> float:
        inner, outer = value, outermost
        for _ in range(60):
            middle = (inner + outer) / 2
            if abs(score(middle)) < wanted:
                inner = middle
            else:
                outer = middle
        return (inner + outer) / 2

    return end(-1.0, z), end(1.0, z)


def sign_flip(differences: NDArray[np.int64]) -> PairedTest:
    """Test whether differences are as often above 0 as below, exactly.

    If the models are equal, each unit's difference could as well have the other sign. Of all
    assignments of signs, equally likely, it counts those whose sum is as far from 0 as the observed
    one. Of single pictures that is McNemar's exact test; of groups it is the exact form of Obuchowski's
    (1998, Statistics in Medicine 17:1495).

    Args:
        differences: int64 `[units]`.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    if not len(sizes):
        return PairedTest(1.0, 1.0)
    step = int(np.gcd.reduce(sizes))
    observed = abs(int(differences.sum()))
    if len(sizes) == 1:  # the tail of a binomial distribution, exact however small
        trials = int(counts[0])
        more = (trials + observed // step) // 2
        tail = 2 * float(scipy.stats.binom.sf(more - 1, trials, 0.5))
        same = 2 * float(scipy.stats.binom.pmf(more, trials, 0.5))
        if not observed:
            return PairedTest(1.0, 1.0)
        return PairedTest(min(1.0, tail), min(1.0, tail - same / 2))
    chances = np.ones(1)
    for size, count in zip((sizes // step).tolist(), counts.tolist(), strict=True):
        # Of `count` units of one size: size times the number of heads, which lies 2 size apart.
        heads = np.zeros(size * count + 1)
        heads[::size] = scipy.stats.binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.maximum(scipy.signal.convolve(chances, heads), 0)
    total = int((sizes // step) @ counts)
    sums = np.abs(2 * np.arange(len(chances)) - total)
    if not observed:
        return PairedTest(1.0, 1.0)
    beyond = float(chances[sums > observed // step].sum())
    same = float(chances[sums == observed // step].sum())
    return PairedTest(min(1.0, beyond + same), min(1.0, beyond + same / 2))


def holm(p_values: Sequence[float] | ArrayLike) -> NDArray[np.float64]:
    """Return p values corrected for being several (Holm 1979): float64 `[tests]`.

    Each may be compared with 0.05 then, and in all but 5 % of cases no equal pair is called different.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    result = np.empty_like(values)
    result[order] = np.minimum(1, np.maximum.accumulate(values[order] * factors))
    return result


def _design_effect(sums: NDArray[np.int64], sizes: NDArray[np.int64], changed: int) -> float:
    """Return by what groups make the variance of the difference larger; at least 1."""
    pictures, units = int(sizes.sum()), len(sizes)
    whole = float((sizes**2).sum() / pictures)  # if all pictures of a group were the same
    alone = changed - sums.sum() ** 2 / pictures
    if units < 2 or alone <= 0:
        return whole
    residuals = sums - sizes * (sums.sum() / pictures)
    together = float((residuals**2).sum()) * units / (units - 1)
    return min(max(1.0, together / float(alone)), max(1.0, whole))
