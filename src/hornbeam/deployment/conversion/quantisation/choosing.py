"""Which of several ways to integers keeps the answers best."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import UNKNOWN
from hornbeam.errors import ModelError

Answers = Mapping[str, NDArray[np.floating[Any]]]

SAME_AGREEMENT = 0.02
"""Ways whose share of equal first answers differs by less are told apart by their probabilities: of 256
training pictures, chance moves as many. (EfficientNetB0: 95.7 and 94.1 %, with differences of 0.0144 and
0.0120, were 87 and 92 % on test pictures.)"""

CLEARLY_BETTER = 0.95
"""A later way must have a mean difference below this times that of an earlier, plainer one. (Clothing:
0.0038 against 0.0039 on training pictures was 96.5 against 98.1 % on others.)"""


WANTED, COLLAPSED = 0.99, 0.97
"""Shares of equal first answers on training pictures: below the first one layers suffer, below the
second the network does. (MobileNetV2: 0.996, and 0.98 to 0.99 on test pictures; EfficientNetB0: 0.94
and 0.92.)"""


@dataclasses.dataclass(frozen=True)
class Closeness:
    """How near the answers of a candidate are to those of the float model.

    Attributes:
        agreement: share of pictures with the same first answer (multi-label: the same set above 0.5),
            the mean over tasks.
        difference: mean absolute difference of probabilities, the mean over tasks.
        unknown: mean absolute difference of the unknown score, in standard deviations of the score;
            `None` where there is none.
    """

    agreement: float
    difference: float
    unknown: float | None = None

    def __str__(self) -> str:
        return f"{self.agreement:.1%} and {self.difference:.4f}"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way, tried.

    Attributes:
        way: in words.
        content: the file.
        closeness: on pictures for choosing; `None` if the way failed.
        error: why it failed, one sentence.
    """

    way: str
    content: bytes
    closeness: Closeness | None
    error: str | None = None


def closeness(expected: Answers, found: Answers) -> Closeness:
    """Compare answers, by output `[pictures, …]`; tasks are all outputs but `unknown`."""
    equal, difference = [], []
    for name, wanted in expected.items():
        if name == UNKNOWN and wanted.shape[1:] == (1,):
            continue
        multi_label = not np.allclose(wanted.sum(axis=1), 1, atol=0.01)
        given = found[name]
        same = (
            ((wanted > 0.5) == (given > 0.5)).all(axis=1)
            if multi_label
            else wanted.argmax(axis=1) == given.argmax(axis=1)
        )
        equal.append(same.mean())
        difference.append(np.abs(wanted - given).mean())
    unknown = None
    if UNKNOWN in expected and expected[UNKNOWN].shape[1:] == (1,):
        wanted = expected[UNKNOWN]
        away = np.abs(wanted - found[UNKNOWN]).mean()
        unknown = float(away / max(float(wanted.std()), 1e-9))
    return Closeness(float(np.mean(equal)), float(np.mean(difference)), unknown)


def best(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the candidate to keep, of those that did not fail; plain ways come first in the list."""
    found = [c for c in candidates if c.closeness is not None]
    if not found:
        return None
    most = max(known(c).agreement for c in found)
    near = [c for c in found if known(c).agreement >= most - SAME_AGREEMENT]
    kept = near[0]
    for each in near[1:]:
        if known(each).difference < CLEARLY_BETTER * known(kept).difference:
            kept = each
    return kept


def required(kept: Candidate | None, candidates: Sequence[Candidate]) -> Candidate:
    """Return what was kept.

    Raises:
        ModelError: all ways failed.
    """
    if kept is None:
        raise ModelError("; ".join(f"{c.way}: {c.error}" for c in candidates))
    return kept


def in_words(candidates: Sequence[Candidate], kept: Candidate, pictures: int) -> str:
    """Return one sentence about what was tried and what was kept."""
    tried = "; ".join(
        f"{c.way}: {c.closeness if c.closeness else f'failed ({c.error})'}" for c in candidates
    )
    return (
        "Ways to integers that were tried, with the first answers equal to the float model's on "
        f"{pictures} training pictures and the mean difference of probabilities: {tried}. "
        f"Kept: {kept.way}."
    )


def known(candidate: Candidate) -> Closeness:
    """Return how close a candidate is that did not fail."""
    assert candidate.closeness is not None
    return candidate.closeness
