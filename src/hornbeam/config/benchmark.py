"""Options of the benchmark of bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from hornbeam.config.sentences import TRUST
from hornbeam.options import Data, Names, Options, option, positional


def _parse_sizes(value: Any) -> Any:
    """Return the numbers in `1,8,32` as a tuple, sorted."""
    if isinstance(value, int):
        value = (value,)
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    return tuple(sorted({int(part) for part in value})) if isinstance(value, list) else value


Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=4096)], ...], BeforeValidator(_parse_sizes),
    Field(min_length=1),
]  # fmt: skip


class BenchmarkOptions(Options):
    """Say how quick, large and good the artifacts of bundles are on this machine, and which of them
    others beat.
    """  # noqa: D205 - it is the text of `hornbeam benchmark --help`

    bundles: tuple[Path, ...] = positional(
        "folders or .zip files of `hornbeam export`", metavar="BUNDLE"
    )
    data: Data | None = option(
        None, "labelled pictures, a folder per class, on which the accuracy is measured; else it is "
        "that of the bundle's contract", section="data", metavar="DIR",
    )  # fmt: skip
    limit: int | None = option(
        None, "at most so many pictures of --data, spread over all", section="data", ge=1
    )
    format: Names = option(
        (), "only artifacts of these formats, separated by commas", section="data", metavar="F,…"
    )
    batch_size: Sizes = option(
        (1, 8, 32), "pictures per call, separated by commas", section="pictures", names=("-b",),
        metavar="N,…",
    )  # fmt: skip
    seconds: float = option(
        10.0, "how long each artifact is asked, in all; longer tells smaller differences",
        section="machine", gt=0,
    )  # fmt: skip
    threads: int = option(
        0, "threads of decoding and of the runtime; 0 = one per core", section="machine",
        names=("-j", "--workers"), ge=0,
    )  # fmt: skip
    trust: bool = option(False, TRUST, section="trust")
    out: Path | None = option(
        None, "write a .csv or .json file, or an .html page with a plot", section="output"
    )

    @model_validator(mode="after")
    def _check_benchmark(self) -> Self:
        if self.out and self.out.suffix not in (".csv", ".json", ".html"):
            raise ValueError(f"--out should end in .csv, .json or .html (got '{self.out.name}')")
        if self.limit and self.data is None:
            raise ValueError("--limit needs --data, the pictures that it is about")
        if not self.bundles:
            raise ValueError("BUNDLE is missing: a folder or .zip of `hornbeam export`")
        return self
