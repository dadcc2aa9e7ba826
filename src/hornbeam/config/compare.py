"""Options of `hornbeam compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from hornbeam.config.pictures import TableOptions
from hornbeam.config.sentences import BACKEND, BATCH_OF_ANSWERS, ON_BAD, VIEWS, Backend, OnBad
from hornbeam.options import Data, option, positional


class CompareOptions(TableOptions):
    """Say which of several trained models is better, on the same pictures, and whether that is more than
    chance.
    """  # noqa: D205 - it is the text of `hornbeam compare --help`

    runs: tuple[Data, ...] = positional(
        "two or more run directories or checkpoints, of which the first is what the others are compared "
        "with; then, if wanted, DATA",
        metavar="RUN",
    )  # fmt: skip
    data: Data | None = option(
        None, "pictures that all are asked about, in any form that train takes (or the last argument); "
        "else those that all runs have held out", section="data", metavar="DATA",
    )  # fmt: skip
    split: Literal["auto", "validation", "test"] = option(
        "auto", "which pictures; auto = test where there are some, else validation", section="data"
    )
    on_bad: OnBad = option("error", ON_BAD, section="data")
    html: Path | None = option(
        None,
        "write a page with the pictures whose answer changed",
        section="output",
        metavar="FILE",
    )
    out: Path | None = option(
        None, "write the answers of all models to a .csv, .json or .parquet file", section="output",
        metavar="FILE",
    )  # fmt: skip
    json_file: Path | None = option(
        None,
        "write all numbers to a JSON file",
        section="output",
        names=("--json",),
        metavar="FILE",
    )
    fail_if_worse: float | None = option(
        None, "end with 3 if a run is shown to be worse than the first by more than so many points (0 = "
        "at all)", section="output", ge=0, le=100, metavar="POINTS",
    )  # fmt: skip
    ask: bool = option(
        False, "ask all models anew, also where their answers are known, and tell the time they take",
        section="machine",
    )  # fmt: skip
    tta: int = option(1, VIEWS, section="pictures", ge=1, le=64)
    batch_size: int = option(32, BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", BACKEND, section="machine")

    @model_validator(mode="after")
    def _check_compared(self) -> Self:
        for name, path, suffixes in (
            ("--out", self.out, (".csv", ".json", ".parquet")),
            ("--json-file", self.json_file, (".json",)),
            ("--html", self.html, (".html", ".htm")),
        ):
            if path and path.suffix.lower() not in suffixes:
                raise ValueError(
                    f"{name} should end in {' or '.join(suffixes)} (got '{path.name}')"
                )
        return self
