"""Whether answers are right as often as they claim to be, and what is gained by leaving some out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from hornbeam.evaluation.scoring.bootstrap import Resampling
from hornbeam.evaluation.scoring.shares import Estimated, Share
from hornbeam.evaluation.scoring.units import Units

BINS = 15
"""As in Guo et al. 2017."""

_POINTS = 200
"""Of a curve, at most."""

_MOST_CELLS = 20_000_000
"""Pictures times classes up to which the error of all classes is computed."""

_HALVINGS = 30

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Bin:
    """Answers of about the same claim.

    Attributes:
        low: least probability, which itself belongs to the bin before.
        high: largest.
        claimed: mean probability of the answers; NaN of none.
        right: share of them that were right, with Wilson's interval.
    """

    low: float
    high: float
    claimed: float
    right: Share


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How far claims and truth are apart: what a reliability diagram shows.

    An answer is the most probable class of a picture, and its claim the probability of it. Of a
    multi-label task each class of each picture is an answer, its claim the probability that it is
    there, and right means that it is.

    Attributes:
        bins: 15 of equal width.
        accuracy: share of right answers.
        claimed: mean probability of the answers.
        gap: `claimed` minus the accuracy, with a bootstrap interval: above 0, the model is too sure.
        error: expected calibration error (ECE; Naeini et al. 2015, Guo et al. 2017) over `bins`. Chance
            adds to it: a perfect model has 0.04 on 700 pictures.
        corrected: the same without what chance adds, and its 95 % interval; see `without_chance`.
        even_error: the error over 15 bins of equally many answers (Nguyen and O'Connor 2015).
        of_classes: mean of the errors of all classes' probabilities (static calibration error, Nixon
            et al. 2019); NaN where there are too many pictures and classes, or of a multi-label task.
        curve: what is gained by leaving answers out; `None` of a multi-label task.
    """

    bins: tuple[Bin, ...]
    accuracy: Share
    claimed: float
    gap: Estimated
    error: float
    corrected: Estimated
    even_error: float
    of_classes: float
    curve: CoverageCurve | None


@dataclasses.dataclass(frozen=True)
class CoverageCurve:
    """Accuracy of the surest answers, by how many of them are given (El-Yaniv and Wiener 2010).

    Each attribute but the last is a list of up to 200 points, from the surest answers to all.

    Attributes:
        coverage: share of the pictures that get an answer.
        accuracy: share of those answers that are right.
        low: lower end of Wilson's 95 % interval of it.
        high: upper end.
        threshold: least probability among those answers.
        risk_area: area under the curve of 1 minus accuracy (AURC; Geifman et al. 2019), with a bootstrap
            interval; 0 is best.
    """

    coverage: tuple[float, ...]
    accuracy: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    threshold: tuple[float, ...]
    risk_area: Estimated


def reliability_of_answers(
    probabilities: Floats, labels: NDArray[np.integer], units: Units
) -> Reliability:
    """Compare the claims of answers, one class a picture, with the labels.

    Args:
        probabilities: `[pictures, classes]`.
        labels: class indices `[pictures]`, all known.
        units: of these pictures: what is independent among them.
    """
    answers = probabilities.argmax(axis=1)
    claims = probabilities[np.arange(len(answers)), answers].astype(np.float64)
    right = answers == labels
    curve = coverage_curve(claims, right, units)
    return _reliability(
        claims, right, units, of_classes=_error_of_classes(probabilities, labels), curve=curve
    )


def reliability_of_marks(probabilities: Floats, labels: Bools, units: Units) -> Reliability:
    """Compare the probabilities of a multi-label task with what is there.

    Args:
        probabilities: `[pictures, classes]`, each for itself.
        labels: `[pictures, classes]`.
        units: of these pictures: what is independent among them.
    """
    claims = probabilities.astype(np.float64)
    return _reliability(claims, labels, units, of_classes=math.nan, curve=None)


def coverage_curve(claims: Floats, right: Bools, units: Units) -> CoverageCurve:
    """Return the accuracy of the surest answers; those of equal claims are given together.

    Args:
        claims: probability of each answer, `[pictures]`.
        right: whether it was right, `[pictures]`.
        units: of these pictures: what is independent among them.
    """
    order = np.argsort(-claims, kind="stable")
    ordered, count = claims[order], len(claims)
    if not count:
        return CoverageCurve((), (), (), (), (), Estimated(math.nan))
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    # The share of errors that one expects among the first k, equal claims being in any order.
    wrong = (~right[order]).astype(np.float64)
    block = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
    wrong = (np.bincount(block, wrong) / np.bincount(block))[block]
    places = np.arange(1, count + 1)
    area = float((np.cumsum(wrong) / places).mean())

    def areas(weights: NDArray[np.float32]) -> NDArray[np.floating]:
        drawn = weights[:, order]
        total = np.cumsum(drawn, axis=1)
        risks = np.cumsum(drawn * wrong.astype(np.float32), axis=1) / np.maximum(total, 1e-9)
        return np.asarray((risks * drawn).sum(axis=1) / np.maximum(total[:, -1], 1e-9))

    low, high = _resampling(units).interval(areas)
    chosen = np.unique(np.linspace(0, len(ends) - 1, min(_POINTS, len(ends))).round().astype(int))
    shares = [units.share(right[order[: ends[i] + 1]], order[: ends[i] + 1]) for i in chosen]
    return CoverageCurve(
        tuple(share.trials / count for share in shares),
        tuple(share.value for share in shares),
        tuple(share.interval[0] for share in shares),
        tuple(share.interval[1] for share in shares),
        tuple(float(ordered[ends[i]]) for i in chosen),
        Estimated(area, (float(low), float(high))),
    )


def without_chance(gaps: Floats, drawn: Floats) -> Estimated:
    """Return an expected calibration error without what chance adds to it, and its 95 % interval.

    The error is a sum of absolute values, which chance in each bin only makes larger; and a bootstrap
    adds that once more, so that its percentiles miss the truth nearly always (0 of 300 simulations of
    700 pictures of a perfect model). Here the gaps of the bins are multiplied by a factor λ: for each
    λ the deviations of the bootstrap tell what errors one would see, and the λ are kept for which
    the error that was seen is among the middle 95 % (inversion of a test); the value is the λ for which
    it is the median. In simulations the interval held the truth in 91 to 97 of 100 cases, from 50 to
    3,000 pictures, from a perfect model to one whose logits are 1.6 times too large
    (`tests/evaluation/trust/test_reliability.py`, docs/trust.md).

    Args:
        gaps: of each bin, (right answers − claims) / answers of all bins.
        drawn: the same in each draw, `[draws, bins]`.
    """
    error = float(np.abs(gaps).sum())
    deviations = drawn - gaps

    def factor(level: float) -> float:
        def seen(factor: float) -> float:
            return float(np.quantile(np.abs(factor * gaps + deviations).sum(axis=1), level))

        if seen(0.0) >= error or not error:
            return 0.0
        low, high = 0.0, 1.0
        while seen(high) < error:
            low, high = high, 2 * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if seen(middle) < error else (low, middle)
        return high

    # Errors that are smaller than those of nearly all perfect models show no perfection: there the
    # upper end is the error itself, of which chance has a part.
    high = min(1.0, max(error, factor(0.025) * error))
    return Estimated(factor(0.5) * error, (factor(0.975) * error, high))


def _reliability(
    claims: Floats, right: Bools, units: Units, *, of_classes: float,
    curve: CoverageCurve | None,
) -> Reliability:  # fmt: skip
    """Bin the claims `[pictures]` or `[pictures, classes]` and compare them with the truth."""
    place = np.clip(np.ceil(claims * BINS).astype(np.int64) - 1, 0, BINS - 1)
    sizes = np.bincount(place.ravel(), minlength=BINS)
    sums = np.bincount(place.ravel(), claims.ravel(), BINS)
    bins = tuple(
        Bin(
            i / BINS, (i + 1) / BINS, sums[i] / sizes[i] if sizes[i] else math.nan,
            _share(place, i, right, units),
        )
        for i in range(BINS)
    )  # fmt: skip
    accuracy = _share(np.zeros_like(place), 0, right, units)
    nothing = Estimated(math.nan)
    if not claims.size:
        return Reliability(
            bins, accuracy, math.nan, nothing, math.nan, nothing, math.nan, of_classes, curve
        )
    gaps = _gaps_of_pictures(place, claims, right)
    total = gaps.sum(axis=0) / claims.size
    answers = claims.size / len(claims)
    resampling = _resampling(units)
    drawn = resampling.values(
        lambda weights: (weights @ gaps) / (weights.sum(axis=1, keepdims=True) * answers)
    )
    corrected = without_chance(total, drawn) if resampling.degrees_of_freedom > 0 else nothing
    low, high = resampling.quantiles(-drawn.sum(axis=1))
    claimed = float(claims.mean())
    return Reliability(
        bins, accuracy, claimed, Estimated(claimed - accuracy.value, (float(low), float(high))),
        float(np.abs(total).sum()), corrected, _even_error(claims.ravel(), right.ravel()), of_classes,
        curve,
    )  # fmt: skip


def _gaps_of_pictures(
    place: NDArray[np.int64], claims: Floats, right: Bools
) -> NDArray[np.float32]:
    """Return the sum of truth minus claim of each picture's answers in each bin: `[pictures, bins]`."""
    count = len(place)
    rows = np.arange(count).reshape(-1, *[1] * (place.ndim - 1)) * BINS
    sums = np.bincount((rows + place).ravel(), (right - claims).ravel(), count * BINS)
    return sums.reshape(count, BINS).astype(np.float32)


def _even_error(claims: Floats, right: Bools) -> float:
    """Return the calibration error over bins of equally many answers."""
    order = np.argsort(claims, kind="stable")
    parts = np.array_split((right - claims)[order], BINS)
    return float(sum(abs(part.sum()) for part in parts) / len(claims))


def _error_of_classes(probabilities: Floats, labels: NDArray[np.integer]) -> float:
    """Return the mean over the classes of the calibration error of each one's probability."""
    if not len(labels) or probabilities.size > _MOST_CELLS:
        return math.nan
    classes = probabilities.shape[1]
    sums = np.zeros(classes * BINS)
    for start in range(0, len(labels), 4096):
        part = probabilities[start : start + 4096].astype(np.float64)
        place = np.clip(np.ceil(part * BINS).astype(np.int64) - 1, 0, BINS - 1)
        place += np.arange(classes) * BINS
        part[np.arange(len(part)), labels[start : start + 4096]] -= 1
        sums += np.bincount(place.ravel(), part.ravel(), classes * BINS)
    return float(np.abs(sums).sum() / classes / len(labels))


def _share(place: NDArray[np.int64], bin_: int, right: Bools, units: Units) -> Share:
    """Return the share of right answers in one bin."""
    inside = place == bin_
    rows = np.flatnonzero(inside) if inside.ndim == 1 else np.nonzero(inside)[0]
    if inside.ndim == 2:  # the marks of a picture are one witness
        codes = units.codes if units.codes is not None else np.arange(units.pictures)
        units = Units(units.pictures, codes)
    return units.share(right[inside], rows)


def _resampling(units: Units) -> Resampling:
    return Resampling(units.pictures, units=units.codes)
