"""What is asked of a picture. Apart from the table of examples, as a deployed model has no table."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Task:
    """One question asked of every picture, with the classes that can answer it.

    Attributes:
        name: of the model's output and of the table's column.
        classes: names in the order of the logits.
        multi_label: whether a picture may have any number of them, and not just one.
    """

    name: str
    classes: tuple[str, ...]
    multi_label: bool = False
