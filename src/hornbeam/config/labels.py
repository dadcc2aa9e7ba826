"""Options of `hornbeam labels`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from hornbeam.config.network import StartOptions
from hornbeam.config.pictures import TableOptions
from hornbeam.config.sentences import (
    BACKEND,
    BATCH_OF_ANSWERS,
    DATA,
    NEAR,
    ON_BAD,
    Backend,
    OnBad,
)
from hornbeam.options import Data, ImageSize, option, positional

LISTED_FROM = 0.2
"""Of 153 wrong labels among 3,068 this lists 87 % (81 % where classes alike were confused), and 3 right
ones for 7 to 8 wrong ones; 0.5 lists 78 % (67 %), and 1 to 2 right ones (benchmarks/labels.py)."""

MANIFESTS = (".csv", ".json", ".jsonl", ".parquet")


class LabelsOptions(StartOptions, TableOptions):
    """Find labels that are probably wrong: a list to edit and a page of thumbnails; or apply the edited
    list, which writes a new manifest. Pictures are never touched.
    """  # noqa: D205 - it is the text of `hornbeam labels --help`

    data: Data = positional(f"run directory; or {DATA}", metavar="RUN_OR_DATA")
    out: Path | None = option(
        None, "folder for labels.csv and labels.html, else RUN/labels or NAME-labels; with --apply, "
        "the new manifest, else NAME-labels-v2.csv, -v3, …", section="output",
    )  # fmt: skip
    apply: Path | None = option(
        None, "write a manifest with the labels that were entered in this CSV file, an edited "
        "labels.csv or a list of `hornbeam check --fix-list`", section="output", metavar="FILE",
    )  # fmt: skip
    overwrite: bool = option(False, "replace an earlier list, or manifest", section="output")
    threshold: float = option(
        LISTED_FROM,
        "list labels that are wrong with at least this probability",
        section="limits",
        ge=0,
        le=1,
    )
    most: int | None = option(
        None, "list so many labels, the most suspicious, whatever their probability", section="limits",
        ge=1,
    )  # fmt: skip
    folds: int = option(
        5,
        "parts of the pictures, each judged by what fits the others",
        section="limits",
        ge=2,
        le=50,
    )
    divisions: int = option(
        3, "ways of dividing the pictures into those parts, whose answers are averaged",
        section="limits", ge=1, le=50,
    )  # fmt: skip
    near: int = option(
        NEAR, "bits of 64 in which the perceptual hashes of near duplicates may differ, which stay in "
        "one part; -1 = only equal files do", section="duplicates", ge=-1, le=10,
    )  # fmt: skip
    features: Literal["after", "before"] = option(
        "after", "of a run, what its backbone gives after the training, or gave before it, by its "
        "--weights", section="network",
    )  # fmt: skip
    image_size: ImageSize | None = option(
        None, "pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS; else the run's, or the network's own",
        section="pictures", names=("--imgsz",), metavar="SIZE",
    )  # fmt: skip
    resize_mode: Literal["crop", "squash", "pad"] | None = option(
        None, "how a picture gets the network's shape: cut its centre, change its aspect ratio, or put "
        "bars beside it; else as the run has it, or crop", section="pictures",
        metavar="{crop,squash,pad}",
    )  # fmt: skip
    on_bad: OnBad = option("error", ON_BAD, section="data")
    seed: int = option(0, "of the division into parts", section="limits", ge=0)
    batch_size: int = option(32, BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", BACKEND, section="machine")

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        if self.apply and self.out and self.out.suffix not in MANIFESTS:
            raise ValueError(
                f"--out is the new manifest with --apply, and should end in {', '.join(MANIFESTS)} "
                f"(got '{self.out.name}')"
            )
        if self.apply and self.most:
            raise ValueError("--most is for the search, not for --apply; leave one out")
        return self
