"""Which artifacts no other beats: in latency, accuracy and size at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hornbeam.deployment.benchmarking.accuracy import Accuracy, better
from hornbeam.deployment.benchmarking.measuring import Measured
from hornbeam.deployment.benchmarking.spread import slower


@dataclasses.dataclass(frozen=True)
class Rated:
    """An artifact beside the others.

    Attributes:
        measured: what was found.
        accuracy: of its answers; `None` where nothing tells.
        beaten_by: of the others, those that are clearly better in one of the three, and no worse in the
            other two: not slower by more than noise, not larger, with as many right answers; the
            quickest first.
        as_quick: of the others, those whose latency cannot be told from its own.
    """

    measured: Measured
    accuracy: Accuracy | None
    beaten_by: tuple[Measured, ...]
    as_quick: tuple[Measured, ...]


def rate(measured: Sequence[Measured], accuracies: Sequence[Accuracy | None]) -> list[Rated]:
    """Compare all that ran with each other; the quickest first.

    Where accuracies are not comparable, an artifact is beaten by none of the other kind.
    """
    ran = [(each, a) for each, a in zip(measured, accuracies, strict=True) if each.error is None]
    ran.sort(key=lambda pair: pair[0].one.median)
    rated = []
    for each, accuracy in ran:
        others = [(o, a) for o, a in ran if o is not each]
        beaten = tuple(o for o, a in others if _beats(o, a, each, accuracy))
        as_quick = tuple(o for o, _ in others if slower(o.one, each.one) == 0)
        rated.append(Rated(each, accuracy, beaten, as_quick))
    return rated


def _beats(
    first: Measured, first_accuracy: Accuracy | None, second: Measured, second_accuracy: Accuracy | None
) -> bool:  # fmt: skip
    quality = better(first_accuracy, second_accuracy)
    if quality is None:
        if first_accuracy is not None or second_accuracy is not None:
            return False
        quality = 0  # nothing is known of any: latency and size decide
    smaller = (second.candidate.bytes > first.candidate.bytes) - (
        second.candidate.bytes < first.candidate.bytes
    )
    signs = (slower(second.one, first.one), quality, smaller)
    return min(signs) >= 0 and max(signs) > 0
