"""When to say nothing: a threshold on the probability of an answer, with a promise."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from hornbeam.evaluation.scoring.shares import Share
from hornbeam.evaluation.scoring.units import Units

CONFIDENCE = 0.9
"""Of a promised precision: in so many of a hundred choices of the pictures it holds."""

_STEPS = 100
"""Coverages that are tried, at most: 1 %, 2 %, … of the pictures."""

_ERRORS = 2
"""Among the surest answers with which the sequence of tests may still begin."""


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A probability below which an answer is not to be relied upon.

    Attributes:
        wanted: `precision` or `coverage`.
        level: of that, in (0, 1].
        probability: the threshold: answers of at least it are sure ones; `None` if what is wanted
            cannot be had.
        coverage: share of the pictures that it was chosen on whose answers are sure.
        precision: share of those that are right.
        sentence: what it promises, or why there is none.
    """

    wanted: str
    level: float
    probability: float | None
    coverage: Share
    precision: Share
    sentence: str

    def sure(self, claims: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which answers are sure, of their probabilities; none, where no threshold will do."""
        return np.asarray(claims >= (np.inf if self.probability is None else self.probability))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; `from_json` takes them."""
        values = dataclasses.asdict(self)
        for name in ("coverage", "precision"):
            if math.isinf(values[name]["reach"]):
                values[name]["reach"] = None  # of a single group; JSON knows no infinity
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Threshold:
        """Return what `to_json` wrote."""
        shares = {}
        for name in ("coverage", "precision"):
            reach = values[name]["reach"]
            shares[name] = Share(**{**values[name], "reach": math.inf if reach is None else reach})
        return cls(**{**values, **shares})


def threshold_for_precision(
    claims: NDArray[np.floating], right: NDArray[np.bool_], level: float, units: Units
) -> Threshold:
    """Return the lowest threshold above which a share `level` of all answers to come is right.

    That holds with 90 % confidence: in at most 10 of 100 choices of the pictures the true precision
    is lower. Thresholds at 1 %, 2 %, … of the pictures are tested, from few answers to many, by an
    exact binomial test of the number of errors, until one fails: fixed-sequence testing
    (Angelopoulos et al. 2021, Learn then Test, section 3; the bound for one threshold is that of
    Geifman and El-Yaniv 2017). The few surest answers show nothing, so the tests begin where two
    errors are allowed, or at a third of the pictures where that is earlier.

    Args:
        claims: calibrated probability of each answer, `[pictures]`.
        right: whether it was right, `[pictures]`.
        level: the wanted precision, in (0, 1).
        units: of these pictures. Those of a group count as if they were all alike, which is on the
            safe side: equal groups are one witness each, unequal ones fewer.
    """
    order = np.argsort(-claims, kind="stable")
    ordered, count = claims[order].astype(np.float64), len(claims)
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)[:count])
    if not count or level >= 1:
        why = "No labelled picture" if not count else "No number of pictures"
        return _none("precision", level, right, f"{why} can show a precision of {level:.4g}.")
    wanted = np.ceil(np.arange(1, _STEPS + 1) / _STEPS * count) - 1
    tried = np.unique(ends[np.searchsorted(ends, wanted)])  # last of each set, ties whole
    hits = np.cumsum(right[order])[tried]
    witnesses = np.array([_witnesses(units, order[: end + 1]) for end in tried])
    errors = np.ceil((1 - hits / (tried + 1)) * witnesses - 1e-9)
    tails = scipy.stats.binom.cdf(errors, witnesses, 1 - level)
    alone, most = _fewest(level, 0), int(witnesses.max())
    start = max(alone, min(_fewest(level, _ERRORS), count // 3, most))
    passed = -1
    # A large group among the next answers makes witnesses fewer, so they need not rise.
    first = int(np.argmax(witnesses >= start)) if most >= start else len(tried)
    for place in range(first, len(tried)):
        if tails[place] > 1 - CONFIDENCE:
            break
        passed = place
    if passed < 0:
        needed = (
            f" It takes at least {alone} right answers without an error to show it."
            if most < alone else ""
        )  # fmt: skip
        return _none(
            "precision", level, right,
            f"No threshold gives a precision of {level:.4g} that {count} pictures could show with "
            f"{CONFIDENCE:.0%} confidence.{needed}",
        )  # fmt: skip
    return _threshold(
        "precision", level, ordered[tried[passed]], claims, right, units,
        f"at least {level:.4g} of the sure answers are right (with {CONFIDENCE:.0%} confidence)",
    )  # fmt: skip


def threshold_for_coverage(
    claims: NDArray[np.floating], right: NDArray[np.bool_], level: float, units: Units
) -> Threshold:
    """Return the threshold that a share `level` of the answers reach, more where some are equal.

    Args:
        claims: see `threshold_for_precision`, as the others.
        right: the same.
        level: the wanted coverage, in (0, 1].
        units: the same.
    """
    if not len(claims):
        return _none("coverage", level, right, "There is no labelled picture to choose one on.")
    place = min(len(claims), math.ceil(level * len(claims) - 1e-9)) - 1
    return _threshold(
        "coverage", level, float(np.sort(claims.astype(np.float64))[::-1][max(0, place)]), claims, right,
        units, f"about {level:.4g} of all answers are sure",
    )  # fmt: skip


def _threshold(
    wanted: str, level: float, probability: float, claims: NDArray[np.floating],
    right: NDArray[np.bool_], units: Units, promise: str,
) -> Threshold:  # fmt: skip
    # Whoever compares has float32: a threshold that is rounded up would leave its own picture out.
    value = float(np.float32(probability))
    if value > probability:
        value = float(np.nextafter(np.float32(probability), np.float32(0)))
    sure = claims.astype(np.float64) >= value
    rows = np.flatnonzero(sure)
    coverage, precision = units.share(sure), units.share(right[sure], rows)
    sentence = (
        f"Answers of a probability from {value:.4g} on are sure: {promise}; of {len(claims)} pictures "
        f"{coverage.value:.1%} were sure and {precision.value:.1%} of those right."
    )
    return Threshold(wanted, level, value, coverage, precision, sentence)


def _none(wanted: str, level: float, right: NDArray[np.bool_], sentence: str) -> Threshold:
    return Threshold(wanted, level, None, Share(0, len(right)), Share(0, 0), sentence)


def _fewest(level: float, errors: int) -> int:
    """Return of how many answers so many errors still show a precision of `level`."""
    low, high = errors, errors + 1
    while scipy.stats.binom.cdf(errors, high, 1 - level) > 1 - CONFIDENCE:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        shown = scipy.stats.binom.cdf(errors, middle, 1 - level) <= 1 - CONFIDENCE
        low, high = (low, middle) if shown else (middle, high)
    return high


def _witnesses(units: Units, rows: NDArray[np.int64]) -> int:
    """Return how many of the pictures at these rows are independent, rounded down.

    The share of wrong answers is one of pictures, which a few large groups can decide alone. Where
    there are such groups, they count for answers surer than theirs, too: else a threshold just above
    the large groups that were drawn would promise what those to come will break.
    """
    if units.codes is None:
        return len(rows)
    among = len(np.unique(units.codes[rows])) * units.independent() / units.count
    return math.floor(min(units.independent(rows), among) + 1e-9)
