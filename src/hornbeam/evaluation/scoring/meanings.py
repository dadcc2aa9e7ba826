"""What each number over all classes is, in a few words, for the pages that show them."""

from __future__ import annotations

_MEANINGS = {
    "accuracy": "share of pictures that were named right",
    "top": "the class is among that many most probable ones",
    "precision": "right answers among those of a class",
    "recall": "share of a class's pictures that were named right",
    "f1": "harmonic mean of recall and precision",
    "auc": "chance that a picture of a class gets more of its probability than another picture",
    "average_precision": "mean precision, as the pictures of a class are found one by one",
    "sensitivity_at_specificity": "recall, by the threshold that leaves out that share of the others",
    "cross_entropy": "mean surprise at the true class, in nats; 0 is best",
    "brier_score": "mean squared distance of the probabilities from the truth; 0 is best",
}


def meaning_of(measure: str) -> str:
    """Say what a number is, such as `macro_f1`, `top_5` or `cross_entropy`; empty for a user's own."""
    kind = measure.split("=")[0]
    mean = "; mean over the classes" if kind.startswith("macro_") else ""
    kind = kind.removeprefix("macro_")
    said = _MEANINGS.get("top" if kind.startswith("top_") else kind, "")
    return said and f"{said}{mean}"
