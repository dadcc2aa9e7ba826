"""Options of search."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from hornbeam.config.training import TrainOptions
from hornbeam.options import Grid, flag, option


class SearchOptions(TrainOptions):
    """Search options of train, and parameters of a recipe's build_model, by training with many. Takes
    the options of train for what stays the same; may be stopped and goes on; opens no test pictures.
    """  # noqa: D205 - it is the text of `hornbeam search --help`

    run: Path | None = option(  # type: ignore[assignment]
        None, "directory of the study; else runs/NAME-search. The same command goes on with it",
        section="search", names=("--study",),
    )  # fmt: skip
    overwrite: bool = option(False, "begin the study in that directory anew", section="search")
    space: Path | None = option(
        None, "YAML file of what is searched, with lines such as 'learning_rate: {low: 1e-4, high: 0.1, "
        "log: true}' and 'batch_size: [16, 32]'", section="search",
    )  # fmt: skip
    grid: Grid = option(
        (), "in place of --space: values to try one by one, as in 'width=0.25,0.5,1.0'; of several "
        "names, separated by spaces, all combinations", section="search", metavar="NAME=X,…",
    )  # fmt: skip
    until_worse: bool = option(
        False, "of --grid: stop after the first value that is worse than the one before",
        section="search",
    )  # fmt: skip
    warm_start: bool = option(
        False, "of --grid: begin each value with the weights of the one before, where they fit",
        section="search",
    )  # fmt: skip
    trials: int | None = option(
        None,
        "finished trials of the study in all; else 20, or all of --grid",
        section="search",
        ge=1,
    )
    workers: int = option(1, "trials at a time, here", section="search", ge=1)
    threads: int = option(
        0, "pictures decoded at a time by each trial; 0 = one per core, shared by the workers",
        section="machine", names=("-j",), ge=0,
    )  # fmt: skip
    storage: str | None = option(
        None, "where processes and machines share the study: a journal file, or sqlite:///FILE, or "
        "postgresql://…; else a journal file in its directory", section="search", metavar="URL",
    )  # fmt: skip
    sampler: Literal["tpe", "random"] = option(
        "tpe", "what suggests values: tree-structured Parzen estimators, which learn from the trials "
        "before, or chance", section="search",
    )  # fmt: skip
    pruner: Literal["auto", "none", "median", "hyperband"] = option(
        "auto", "what stops trials early by their validations: below the median of the others at that "
        "time, or by Hyperband; auto = median, of --grid none", section="search",
    )  # fmt: skip
    latency: bool = option(
        True, "measure at the end how long each model takes to answer, here", section="search"
    )

    @model_validator(mode="after")
    def _check_search(self) -> Self:
        if bool(self.grid) == (self.space is not None):
            raise ValueError("search needs either --space FILE or --grid NAME=VALUE,…")
        for name in ("until_worse", "warm_start"):
            if not getattr(self, name):
                continue
            if not self.grid or self.workers > 1:
                raise ValueError(f"{flag(name)} is for --grid with one worker, value after value")
            if len(self.grid) > 1:
                raise ValueError(
                    f"{flag(name)} is for --grid of one name, whose values have an order"
                )
        if self.resume:
            raise ValueError("--resume is not needed: the same search goes on with what is there")
        if self.on_hosts:
            raise ValueError(
                "--hosts is for train; start the same search on each host, with one --storage"
            )
        if not self.validation:
            raise ValueError(
                "search compares by the validation pictures; leave --no-validation out"
            )
        return self
