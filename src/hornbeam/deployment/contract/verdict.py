"""What of an artifact's answers is more than its format is allowed, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbeam.config import CLEAR_MARGIN, Tolerance

_EXACT = 0.999
"""From this bound on no picture may change, however few there are."""

_HEEDED = {
    "litert-int8": "--int8-activations 16, or (with 8) --float-layers auto, or ",
    "onnx-int8": "--int8-activations 16, or ",
    "edgetpu": "litert-int8, whose layers may stay in float, or ",
}
"""By format of integers, what its conversion heeds."""


def failures(compared: Mapping[str, Mapping[str, Any]], tolerance: Tolerance) -> list[str]:
    """Return a sentence for each number that is beyond its tolerance; none where all are within.

    Args:
        compared: what `agreement.compare` returned.
        tolerance: of the format.
    """
    sentences = []
    for name, numbers in compared.items():
        found = (_of_unknown if "flag_equal" in numbers else _of_task)(numbers, tolerance)
        sentences += [f"{name}: {sentence}" for sentence in found]
    return sentences


def _of_task(numbers: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    first, clear = numbers["first_answer_equal"], numbers["clear_answer_equal"]
    every, number, count = numbers["answers"], numbers["clear_answers"], numbers["pictures"]
    sure = numbers.get("sure_equal", 1.0)
    said = [
        *_share(first, tolerance.first, every, "of the first answers are the model's"),
        *_share(clear, tolerance.clear, number, f"are where its margin exceeds {CLEAR_MARGIN:g}"),
        *_distance(numbers["largest_difference"], tolerance.largest, "a probability differs"),
        *_distance(
            numbers["mean_largest_difference"], tolerance.mean, "probabilities differ on average"
        ),
        *_share(sure, tolerance.flags, count, "are sure or not as the model's"),
    ]
    accuracy = numbers["accuracy"]
    if (
        tolerance.accuracy is not None
        and accuracy
        and not -accuracy["change"] <= tolerance.accuracy
    ):
        said.append(
            f"the accuracy is down by {-100 * accuracy['change']:.1f} points, more than "
            f"{100 * tolerance.accuracy:g}"
        )
    return said


def _of_unknown(numbers: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    flags, count = numbers["flag_equal"], numbers["pictures"]
    return [
        *_share(flags, tolerance.flags, count, "are called unknown or not as by the model"),
        *_distance(numbers["relative_difference"], tolerance.largest, "the score differs"),
    ]


def _share(found: float, bound: float | None, count: int, what: str) -> list[str]:
    if bound is None or found >= bound:
        return []
    if bound < _EXACT and round((1 - found) * count) <= 1:
        return []  # one of few is no share
    return [f"{100 * found:.4g} % {what}, less than {100 * bound:.4g} %"]


def _distance(found: float, bound: float | None, what: str) -> list[str]:
    return (
        [] if bound is None or found <= bound else [f"{what} by {found:.2g}, more than {bound:g}"]
    )


def suffering(compared: Mapping[str, Mapping[str, Any]]) -> str:
    """Return which classes are answered otherwise most often, as a sentence; empty if none is."""
    parts = [
        f"{each['class']} ({each['changed']} of {each['pictures']})"
        for numbers in compared.values()
        for each in numbers.get("suffering", [])[:3]
    ]
    return f"Most changed are answers of {', '.join(parts)}." if parts else ""


def advice(format: str) -> str:
    """Return what to do about an artifact that answers otherwise."""
    if format in _HEEDED:
        return (
            f"Try {_HEEDED[format]}another number of --calibration-pictures (100 to 256 are usual)."
        )
    if format == "litert-f16":
        return "Weights of 16 bits are too coarse for this network; use litert, or try litert-int8."
    if format == "litert-dynamic":
        return "Try litert-f16, or litert-int8, whose ranges are calibrated."
    return "It cannot be used; another format of the same runtime may convert as it should."
