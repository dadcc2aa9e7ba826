"""What a number of pictures allows to tell: differences between models, before there is a second one."""

from __future__ import annotations

import math

from hornbeam.evaluation.scoring.shares import Z95, Share

_Z80 = 0.841621
"""Standard deviations below which 80 % of a normal distribution lie."""

_FEW_GROUPS = 30
"""Groups below which intervals hold a little less than they say, in simulations."""

_TOO_LARGE, _HOPELESS = 0.05, 0.5
"""Differences in accuracy that a set should show, or it is called too small, or useless."""


def smallest_difference(pictures: float, mistakes: float) -> float:
    """Return the smallest difference in accuracy that McNemar's test finds in 80 of 100 cases, at 5 %.

    The formula is Connor's (1987, Biometrics 43:207) for pairs. It needs the share of pictures of which
    only one of two models is right; that is taken to be the share of mistakes of one of them, as it is
    if both err alike often and half of the mistakes of one are those of the other.

    Args:
        pictures: independent ones that both models are asked about.
        mistakes: share of wrong answers.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        enough = pictures_needed(middle, mistakes) <= pictures
        low, high = (low, middle) if enough else (middle, high)
    return high


def pictures_needed(difference: float, apart: float) -> float:
    """Return how many independent pictures show a difference in accuracy; see `smallest_difference`.

    Args:
        difference: above 0.
        apart: share of pictures of which only one of the models is right; at least the difference.
    """
    apart = max(apart, difference)
    root = Z95 * math.sqrt(apart) + _Z80 * math.sqrt(max(0.0, apart - difference**2))
    return (root / difference) ** 2


def advice(accuracy: Share, groups: int | None) -> str:
    """Say how far off an accuracy may be, and what difference between models the pictures can show.

    Args:
        accuracy: of the pictures.
        groups: how many groups they are, if they belong together.
    """
    if not accuracy.trials:
        return "No picture has a label, so nothing is known of the accuracy."
    low, high = accuracy.interval
    independent = accuracy.trials if accuracy.effective is None else accuracy.effective
    # One mistake more than was seen, as none in a few pictures does not mean never.
    mistakes = (accuracy.trials - accuracy.successes + 1) / (accuracy.trials + 2)
    shown = smallest_difference(independent, mistakes)
    needed = pictures_needed(0.01, mistakes) * accuracy.trials / independent
    pictures = f"{accuracy.trials:,} picture{'s' * (accuracy.trials != 1)}"
    if groups is not None:
        pictures += f" of {groups:,} group{'s' * (groups != 1)}"
    sentences = [
        f"With {pictures}, the true accuracy lies between {low:.1%} and {high:.1%} (95 % interval)."
    ]
    if groups is not None and groups < _FEW_GROUPS:
        sentences.append("Of so few groups all intervals are rough.")
    more = f"; for 1 point it takes about {_round(needed):,} pictures" if shown > 0.01 else ""
    told = (
        "wo models that share half of their mistakes can be told apart (in 80 of 100 cases) only if "
        f"their accuracies differ by {100 * shown:.1f} points or more{more}."
    )
    if shown > _HOPELESS:
        sentences.append(f"That is too few to tell models apart{more}.")
    elif shown > _TOO_LARGE:
        sentences.append(f"The set is too small to tell similar models apart: t{told}")
    else:
        sentences.append(f"T{told}")
    return " ".join(sentences)


def _round(number: float) -> int:
    """Return a number in two digits, for what is a rough guess."""
    return int(float(f"{number:.2g}"))
