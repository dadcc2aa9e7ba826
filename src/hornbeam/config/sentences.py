"""What options of several commands have in common: their sentences, and types of their values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

from hornbeam.groups import Groups as GroupLists
from hornbeam.groups import read_groups
from hornbeam.limits import MAX_PIXELS as MAX_PIXELS
from hornbeam.measures import parse_measures
from hornbeam.options import Names

Backend = Literal["auto", "tensorflow", "jax", "torch"]
OnBad = Literal["error", "skip"]

BACKEND = "Keras' engine; auto = jax where there is a GPU or TPU, else tensorflow"
THREADS = "pictures decoded at a time; 0 = one per core"
ON_BAD = "what to do about pictures that cannot be read"
TRUST = "run code that files may hold: a recipe's preprocess(), a SavedModel, Lambda layers"
BATCH_OF_ANSWERS = "pictures per forward pass"
NEAR = 8
"""Of 200 crops by 2 % this finds 196, and 6 bits 188, with no false alarm more (benchmarks/check.py)."""

TOPS = (3, 5)
"""Sizes of the first few answers in which `evaluate` looks for the class."""

SPECIFICITIES = (0.9, 0.95)
"""Specificities at which `evaluate` tells the sensitivity."""

FINETUNE_FROM = 500
"""Training pictures from which the last stage of a backbone is trained too."""

FINETUNE_PICTURES = 12_000
"""Pictures that are seen in that, about, each several times: 4 epochs of 3,000."""

DATA = (
    "folder of pictures, manifest (.csv .json .jsonl .parquet .txt), or TFRecord files ('train-*')"
)
TOO_MANY_PIXELS = "pixels (height x width) above which a picture is refused, unread"
VERIFY = (
    "decode every picture first; what was verified before and has not changed is not read again"
)
VIEWS = "average the answers to this many views of each picture: as it is, mirrored, other crops"


GROUPS = "YAML file of groups of classes ('animal: [cat, dog]', or by task), whose accuracy is told"


def _checked_measures(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of measures, stripped, if all are well formed."""
    return tuple(measure.name for measure in parse_measures(names))


Measures = Annotated[Names, AfterValidator(_checked_measures)]
Groups = Annotated[GroupLists | None, BeforeValidator(read_groups)]
