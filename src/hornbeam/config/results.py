"""Options of the commands about trained models."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from hornbeam.config.pictures import TableOptions
from hornbeam.config.sentences import (
    BACKEND,
    BATCH_OF_ANSWERS,
    GROUPS,
    MAX_PIXELS,
    ON_BAD,
    THREADS,
    TOO_MANY_PIXELS,
    TRUST,
    VERIFY,
    VIEWS,
    Backend,
    Groups,
    OnBad,
)
from hornbeam.config.trust import TrustOptions
from hornbeam.options import Data, Options, Time, option, positional


class EvaluateOptions(TrustOptions, TableOptions):
    """Say how good a trained model is, with error bars."""

    run: Path = positional("run directory", metavar="RUN")
    data: Data | None = positional(
        "other pictures, in any form that train takes; else those held out from the run's own", None,
        metavar="DATA",
    )  # fmt: skip
    split: Literal["auto", "train", "validation", "test"] = option(
        "auto", "which pictures; auto = test where there are some, else validation", section="data"
    )
    on_bad: OnBad = option("error", ON_BAD, section="data")
    verify: bool = option(True, VERIFY, section="data")
    groups: Groups = option(
        None, GROUPS + "; else those of the training", section="metrics", metavar="FILE"
    )
    out: Path | None = option(
        None, "directory for predictions, scores and report; else RUN, or of DATA RUN/evaluations/NAME",
        section="output", metavar="DIR",
    )  # fmt: skip
    tta: int = option(1, VIEWS, section="pictures", ge=1, le=64)
    batch_size: int = option(32, BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", BACKEND, section="machine")


class WatchOptions(TableOptions):
    """Evaluate each new checkpoint of a training that runs elsewhere: beside it, or on another machine
    that sees its directory. Ends when the training has.
    """  # noqa: D205 - it is the text of `hornbeam watch --help`

    run: Path = positional("run directory; waited for, if it is not there yet", metavar="RUN")
    data: Data | None = positional(
        "other pictures, in any form that train takes; else those held out from the run's own", None,
        metavar="DATA",
    )  # fmt: skip
    split: Literal["auto", "train", "validation", "test"] | None = option(
        None, "which pictures; else validation, and of DATA auto, as evaluate does", section="data",
        metavar="{auto,train,validation,test}",
    )  # fmt: skip
    on_bad: OnBad = option("error", ON_BAD, section="data")
    verify: bool = option(True, VERIFY, section="data")
    batch_size: int = option(32, BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", BACKEND, section="machine")
    poll: float = option(10.0, "seconds from one look to the next", section="following", gt=0)
    timeout: Time = option(
        "1h", "give up after this long without a checkpoint, or any other sign", section="following",
        metavar="TIME",
    )  # fmt: skip
    once: bool = option(
        False, "evaluate the checkpoints that are there, and end", section="following"
    )


class PredictOptions(Options):
    """Name what is in pictures."""

    run: Path = positional(
        "run directory; or a bundle of `hornbeam export`, a folder or .zip, asked without Keras",
        metavar="RUN_OR_BUNDLE",
    )
    images: tuple[Data, ...] = positional(
        "pictures, folders of them, or addresses of pictures; or a manifest, which also has the numbers "
        "of a model with --feature-columns",
        metavar="IMAGE_OR_DIR",
    )
    image_column: str | None = option(
        None, "column of the paths, of a manifest; else path, image, image_path, …", section="data"
    )
    allow_outside: bool = option(
        False, "let a manifest name files outside its own folder", section="data"
    )
    max_pixels: int = option(MAX_PIXELS, TOO_MANY_PIXELS, section="data", ge=1)
    top: int = option(5, "how many classes to name for each", section="output", ge=1)
    out: Path | None = option(
        None, "write a .csv, .json, .jsonl or .parquet file; of a bundle's answers as they come",
        section="output",
    )  # fmt: skip
    on_bad: OnBad | None = option(
        None, f"{ON_BAD}: error, or skip, which names them in --out; else error for a run, and skip "
        "for a bundle",
        section="data", metavar="{error,skip}",
    )  # fmt: skip
    format: str | None = option(
        None, "of a bundle, which artifact to ask; else the quickest that answers as the model did",
        section="machine",
    )  # fmt: skip
    trust: bool = option(False, TRUST, section="trust")
    tta: int = option(1, VIEWS, section="pictures", ge=1, le=64)
    batch_size: int = option(32, BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", BACKEND, section="machine")
    threads: int = option(0, THREADS, section="machine", names=("-j", "--workers"), ge=0)

    @model_validator(mode="after")
    def _check_out(self) -> Self:
        if self.out and self.out.suffix not in (".csv", ".json", ".jsonl", ".parquet"):
            raise ValueError(
                f"--out should end in .csv, .json, .jsonl or .parquet (got '{self.out.name}')"
            )
        return self


class InspectOptions(Options):
    """List the variables of a run or of a file of weights, and say which rules for --restore-map fit.
    Without either, list the rules that come with Hornbeam.
    """  # noqa: D205 - it is the text of `hornbeam inspect --help`

    file: Path | None = positional(
        "run directory, or what `hornbeam train --weights` takes", None, metavar="FILE_OR_RUN"
    )
    match: str | None = option(
        None, "show only variables with this regular expression in their names", section="output"
    )
    model: str | None = option(
        None, "network of `hornbeam models`; shows where each variable would go in it",
        section="network",
    )  # fmt: skip
    restore_map: str | None = option(
        None, "rules to do that by: a file of them, or one of Hornbeam's own; else what fits",
        section="network",
    )  # fmt: skip
    backend: Backend = option("auto", BACKEND, section="machine")

    @model_validator(mode="after")
    def _check_inspected(self) -> Self:
        if self.restore_map and not self.model:
            raise ValueError("--restore-map needs --model, the network whose names it leads to")
        if (self.model or self.match) and self.file is None:
            raise ValueError("FILE_OR_RUN is missing: what --model and --match are about")
        return self


class ModelsOptions(Options):
    """List the networks of the zoo."""
