"""Which pictures are independent witnesses: each, or whole groups of those that belong together.

Ten pictures of one patient are all right or all wrong more often than ten of ten patients; an interval
that takes each for a witness is too short.
"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.special
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.evaluation.scoring.shares import SLACK, Z95, Estimated, Share

Rows = NDArray[np.integer] | slice
EVERY = slice(None)


class Units:
    """What is independent among some pictures.

    Attributes:
        pictures: how many there are.
        codes: number of the group of each picture, int64 `[pictures]`; `None` where each stands alone.
        count: of groups, or of pictures.
    """

    def __init__(self, pictures: int, codes: NDArray[np.int64] | None = None) -> None:
        """Note the groups.

        Args:
            pictures: how many there are.
            codes: what tells their groups apart.
        """
        self.pictures, self.codes, self.count = pictures, codes, pictures
        if codes is not None:
            names, self.codes = np.unique(codes, return_inverse=True)
            self.count = len(names)

    @classmethod
    def of(cls, dataset: Dataset) -> Units:
        """Return those of a dataset: of its `group` column; a picture without a group stands alone."""
        if "group" not in dataset.table.column_names:
            return cls(len(dataset))
        # A cell of a CSV file that holds nothing is an empty text.
        column = pc.fill_null(dataset.table["group"].combine_chunks().cast(pa.string()), "")
        codes = pc.dictionary_encode(column).indices.cast(pa.int64())
        alone = np.flatnonzero(pc.equal(column, "").to_numpy(zero_copy_only=False))
        values = codes.to_numpy(zero_copy_only=False).copy()
        values[alone] = len(dataset) + alone
        return cls(len(dataset), values)

    @property
    def grouped(self) -> bool:
        """Whether pictures belong together."""
        return self.codes is not None

    @property
    def reach(self) -> float:
        """Standard deviations to either side: Student's t of few groups; infinite of one.

        Groups of unequal size tell as much as fewer of equal size (Carter, Schnepel and Steigerwald
        2017, Review of Economics and Statistics 99:698).
        """
        return reach(self.independent()) if self.grouped else Z95

    def take(self, rows: NDArray[np.integer]) -> Units:
        """Return those of the pictures at these rows."""
        return Units(len(rows), None if self.codes is None else self.codes[rows])

    def variance(self, influence: NDArray[np.floating]) -> float:
        """Return the variance of a number to which the pictures add so much, `[pictures]`, sum 0.

        Without groups that is the infinitesimal jackknife (Efron 1982); with them, the linearisation
        of surveys: whole groups are added up first.
        """
        if self.codes is not None:
            influence = self._sums(influence)
        return float(influence @ influence) * self.count / max(1, self.count - 1)

    def _sums(self, influence: NDArray[np.floating]) -> NDArray[np.float64]:
        """Add up whole groups."""
        assert self.codes is not None
        return np.asarray(np.bincount(self.codes, influence, self.count), np.float64)

    def independent(self, rows: Rows = EVERY) -> float:
        """Return how many pictures tell as much, if those of a group were all alike (Kish 1965)."""
        if self.codes is None:
            return float(self.count if isinstance(rows, slice) else len(rows))
        sizes = np.bincount(self.codes[rows]).astype(np.float64)
        return float(sizes.sum() ** 2 / max(1.0, (sizes**2).sum()))

    def share(self, marks: NDArray[np.bool_], rows: Rows = EVERY) -> Share:
        """Return the share of marked pictures.

        Args:
            marks: bool `[len(rows)]`.
            rows: of the pictures that count; each group's are one witness.
        """
        successes, trials = int(np.count_nonzero(marks)), len(marks)
        if self.codes is None or not trials:
            return Share(successes, trials)
        codes = self.codes[rows]
        value = successes / trials
        sums = np.bincount(codes, marks - value, self.count)
        groups = int(np.count_nonzero(np.bincount(codes, minlength=self.count)))
        variance = float(sums @ sums) / trials**2 * groups / max(1, groups - 1)
        effective = self.independent(rows)
        if variance > 0:
            # As in `bounded`: what few groups show varies, and may show less than there is.
            effective = value * (1 - value) / (variance + SLACK * value * (1 - value) / effective)
        return Share(successes, trials, min(float(trials), effective), reach(groups))

    def mean(self, values: NDArray[np.floating]) -> Estimated:
        """Return the mean of values that may be skewed, such as losses, with its interval.

        Rare large losses make the mean skewed; Hall's (1992, JRSS B 54:221) transformation of
        Student's t takes that into account.
        """
        if not len(values):
            return Estimated(math.nan)
        mean = float(values.mean(dtype=np.float64))
        if self.count < 2:
            return Estimated(mean)
        influence = (values - mean) / len(values)
        if self.codes is not None:
            # As the mean is drawn towards a group by its size (the jackknife's estimate).
            influence = self._sums(influence) / (1 - np.bincount(self.codes) / len(values))
        variance = float(influence @ influence)
        if variance == 0:
            return Estimated(mean, (mean, mean))
        skewness = float((influence**3).sum()) / variance**1.5
        error = math.sqrt(variance * self.count / (self.count - 1))
        far = reach(self.independent())
        low, high = (mean - error * _unskewed(side * far, skewness) for side in (1, -1))
        return Estimated(mean, (low if values.min() < 0 else max(0.0, low), high))


def reach(units: float) -> float:
    """Return how many standard errors hold 95 %: Student's t of so many units."""
    return float(-scipy.special.stdtrit(units - 1, 0.025)) if units > 1 else math.inf


def _unskewed(t: float, skewness: float) -> float:
    """Return the studentised mean whose transformed value is `t`."""
    third = skewness / 3
    if abs(third) < 1e-6:
        return t
    return float(np.cbrt(1 + 3 * third * (t - skewness / 6)) - 1) / third
