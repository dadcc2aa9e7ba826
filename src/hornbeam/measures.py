"""The names of what can be reported beside accuracy: the grammar of `--metrics`.

    top_K                                    the class is among the K most probable
    macro_precision macro_recall macro_f1    means over the classes
    precision:CLASS recall:CLASS f1:CLASS    of one class
    auc  average_precision                   means over the classes, each against all others;
    auc:CLASS  average_precision:CLASS       or of one
    sensitivity_at_specificity=X             of each class against all others, the mean;
    sensitivity_at_specificity=X:CLASS       or of one
    group_accuracy                           the group of classes is right (--groups)

Formulas and conventions are in docs/metrics.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from hornbeam.errors import did_you_mean

COUNTED = ("precision", "recall", "f1")
"""What follows from how often each class was there, was answered, and was both."""

RANKED = ("auc", "average_precision", "sensitivity_at_specificity")
"""What follows from the order in which probabilities put the pictures."""

_ENDING = {
    **{f"macro_{kind}": "" for kind in COUNTED},
    **dict.fromkeys(COUNTED, ":CLASS"),
    "auc": "[:CLASS]",
    "average_precision": "[:CLASS]",
    "sensitivity_at_specificity": "=X[:CLASS]",
    "group_accuracy": "",
}
"""What stands behind each name."""

_FORMS = ("top_K", *(name + ending for name, ending in _ENDING.items()))


@dataclasses.dataclass(frozen=True)
class Measure:
    """Something to report of the answers.

    Attributes:
        name: as it is written, and as it is called in logs and tables.
        kind: `top`, `group_accuracy`, or one of `COUNTED` and `RANKED`.
        number: the K of `top`, the X of `sensitivity_at_specificity`; else 0.
        of: the class that it is about; `None` for the mean over all.
    """

    name: str
    kind: str
    number: float = 0.0
    of: str | None = None


GROUP_ACCURACY = Measure("group_accuracy", "group_accuracy")


def parse_measure(name: str) -> Measure:
    """Return what a name stands for.

    Raises:
        ValueError: it stands for nothing; the message is a predicate.

    Example:
        >>> parse_measure("precision:cat")
        Measure(name='precision:cat', kind='precision', number=0.0, of='cat')
    """
    head, colon, of = name.partition(":")
    kind, equals, number = head.partition("=")
    ending = _ENDING.get(kind)
    if kind.startswith("top_") and kind[4:].isdecimal() and not colon and not equals:
        if int(kind[4:]) < 2:
            raise ValueError("should be top_2 or more; the first answer alone is the accuracy")
        return Measure(name, "top", float(kind[4:]))
    if ending is None:
        near = did_you_mean(kind, [*_ENDING, "top_3", "top_5"]).rstrip("?")
        near = f";{near.lower()}?" if near else ""
        raise ValueError(f"has no '{kind}'{near or ', but ' + ', '.join(_FORMS)}")
    if bool(of) != bool(colon) or not ({"": not of, ":CLASS": bool(of)}.get(ending, True)):
        others = f" (or macro_{kind}, for all classes)" if kind in COUNTED else ""
        raise ValueError(f"should be {kind}{ending}{others}, not '{name}'")
    if ending.startswith("=") != bool(equals):
        raise ValueError(f"should be {kind}{ending}, not '{name}'")
    return Measure(name, kind.removeprefix("macro_"), _share(kind, number), of or None)


def parse_measures(names: Iterable[str]) -> tuple[Measure, ...]:
    """Return what several names stand for.

    Raises:
        ValueError: one stands for nothing, or is there twice.
    """
    result: list[Measure] = []
    for name in names:
        result.append(parse_measure(name.strip()))
        if name.strip() in [measure.name for measure in result[:-1]]:
            raise ValueError(f"has '{name.strip()}' twice")
    return tuple(result)


def _share(kind: str, number: str) -> float:
    if kind != "sensitivity_at_specificity":
        return 0.0
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ValueError(f"should be {kind}=X with X between 0 and 1, not '{number}'")
    return value


def less_is_better(name: str) -> bool:
    """Whether a metric, by its name in logs, is the better the lower: losses, entropies, errors."""
    measure = name.partition(":")[0]  # the rest is the name of a class
    return any(word in measure for word in ("loss", "entropy", "error"))


def is_accuracy(name: str) -> bool:
    """Whether a metric of validation is the accuracy of a task, which decides if nothing else does."""
    return name.startswith("val_") and name.endswith("accuracy") and "group_accuracy" not in name
