"""The ordinary command that a scheduler runs, from options of the command that hands it over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hornbeam.cluster.words import words_of
from hornbeam.config import CLUSTER, SearchOptions, TrainOptions


def ordinary_words(options: TrainOptions, changes: Mapping[str, Any]) -> list[str]:
    """Return the words after `hornbeam` of the training or search that options are about.

    Paths stay as they are: where the scheduler runs it they may lead elsewhere than here.

    Args:
        options: of `train` or `search`, and others of the command that hands it over.
        changes: other values of some, by name.
    """
    kind = SearchOptions if isinstance(options, SearchOptions) else TrainOptions
    own = type(options).model_fields.keys() - kind.model_fields.keys()
    left_out = {*own, *CLUSTER, "config", "overwrite"}
    words = words_of(options, changes, left_out, absolute=False)
    return ["search" if kind is SearchOptions else "train", *words]
