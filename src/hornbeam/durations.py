"""Lengths of a training, in whichever unit: `500steps`, `1.5epochs`, `1e6examples`, `2h`."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

Unit = Literal["steps", "epochs", "examples", "seconds"]

_UNITS: dict[str, tuple[Unit, float]] = {
    "step": ("steps", 1), "steps": ("steps", 1),
    "epoch": ("epochs", 1), "epochs": ("epochs", 1),
    "example": ("examples", 1), "examples": ("examples", 1),
    "s": ("seconds", 1), "sec": ("seconds", 1), "seconds": ("seconds", 1),
    "min": ("seconds", 60), "minutes": ("seconds", 60),
    "h": ("seconds", 3600), "hours": ("seconds", 3600),
    "d": ("seconds", 86400), "days": ("seconds", 86400),
}  # fmt: skip
_FORM = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-z]*)\s*")


@dataclasses.dataclass(frozen=True)
class Duration:
    """A length of a training.

    Attributes:
        amount: above 0.
        unit: what is counted.

    Example:
        >>> Duration.parse("10min")
        Duration(amount=600.0, unit='seconds')
    """

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: str | float, bare: Unit = "steps") -> Duration:
        """Read a number with its unit; without one, it is of `bare`.

        Raises:
            ValueError: it is no such thing, or not above 0.
        """
        match = _FORM.fullmatch(str(text))
        try:
            if match and not match[2]:
                return cls._above_zero(float(match[1]), bare)
            if match and match[2] in _UNITS:
                unit, factor = _UNITS[match[2]]
                return cls._above_zero(float(match[1]) * factor, unit)
        except ValueError:
            pass  # a number such as 1.2.3, or 0
        raise ValueError(
            "should be a number above 0 and its unit: 500steps, 1epoch, 1e6examples, 30s, 10min or 2h"
        )

    @classmethod
    def _above_zero(cls, amount: float, unit: Unit) -> Duration:
        if not 0 < amount < float("inf"):
            raise ValueError
        return cls(amount, unit)

    def __str__(self) -> str:
        if self.unit == "seconds":
            for name, factor in (("h", 3600), ("min", 60)):
                if self.amount % factor == 0:
                    return f"{self.amount / factor:g}{name}"
            return f"{self.amount:.12g}s"
        unit = self.unit.removesuffix("s") if self.amount == 1 else self.unit
        return f"{self.amount:.12g}{unit}"

    def in_steps(self, steps_per_epoch: int, batch_size: int) -> int | None:
        """Return how many steps that is, at least 1, the nearest or for examples enough; `None` of time.

        Args:
            steps_per_epoch: batches in which each picture is seen once.
            batch_size: pictures a step.
        """
        if self.unit == "seconds":
            return None
        if self.unit == "examples":
            return max(1, -(-int(self.amount) // batch_size))
        return max(1, round(self.amount * (steps_per_epoch if self.unit == "epochs" else 1)))
