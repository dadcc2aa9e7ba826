"""Options on how far answers can be trusted."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from hornbeam.options import Options, option

Calibration = Literal["auto", "temperature", "vector", "none"]

UNKNOWN_SHARE = 0.05
"""Of the validation pictures, which are of known classes, that are called unknown."""

PRECISIONS = (0.9, 0.95, 0.99)
"""Precisions whose thresholds each run notes, where nobody asks for one."""

FEATURES_PER_CLASS = 50
FEATURES_IN_ALL = 2000
"""Training pictures whose features say what is known, at most. Of clothing, 50 a class told pictures of
an eleventh class as well as all 307 did (docs/trust.md)."""


class TrustOptions(Options):
    """How far answers can be trusted."""

    calibration: Calibration | None = option(
        None, "what makes probabilities honest: one temperature, a vector of factors and offsets by "
        "class, or auto, the second where it clearly gains; else as before, auto at first",
        section="trust", metavar="{auto,temperature,vector,none}",
    )  # fmt: skip
    abstain_precision: float | None = option(
        None, "answers are sure from a probability on above which this share of them is right, 0.95 for "
        "instance; chosen so that it holds in 9 of 10 cases", section="trust", gt=0, lt=1,
        metavar="SHARE",
    )  # fmt: skip
    abstain_coverage: float | None = option(
        None, "answers are sure from a probability on that this share of them reaches", section="trust",
        gt=0, le=1, metavar="SHARE",
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_abstention(self) -> Self:
        if self.abstain_precision is not None and self.abstain_coverage is not None:
            raise ValueError("choose one of --abstain-precision and --abstain-coverage")
        return self
