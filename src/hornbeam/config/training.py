"""Options of train, and of the commands that take the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from hornbeam.config.cluster import ClusterOptions
from hornbeam.config.loop import BUDGETS, DEBUG_STEPS, LoopOptions
from hornbeam.config.network import NetworkOptions
from hornbeam.config.optimizer import OptimizerOptions
from hornbeam.config.pictures import PipelineOptions, SourceOptions
from hornbeam.config.sentences import (
    BACKEND,
    DATA,
    FINETUNE_FROM,
    FINETUNE_PICTURES,
    GROUPS,
    ON_BAD,
    VERIFY,
    Backend,
    Groups,
    Measures,
    OnBad,
)
from hornbeam.options import Data, ImageSize, Subset, flag, option, positional


class TrainOptions(
    NetworkOptions, LoopOptions, OptimizerOptions, PipelineOptions, ClusterOptions, SourceOptions
):
    """Train a classifier on a folder of pictures (one folder per class, with or without
    train/validation/test folders above them), a manifest, or TFRecord shards.
    """  # noqa: D205 - it is the text of `hornbeam train --help`

    data: Data | None = positional(  # type: ignore[assignment]
        DATA + "; not needed where the recipe has examples(split)", None, metavar="DATA",
        names=("--train-directory", "--train-metadata"),
    )  # fmt: skip
    validation_data: Data | None = option(
        None, "other pictures that judge, of the same kinds; DATA is then all for training",
        section="data", names=("--validation-directory", "--eval-metadata"),
    )  # fmt: skip
    run: Path | None = option(
        None, "directory for all that comes out; else runs/NAME-1, runs/NAME-2, …",
        section="run", names=("--save-to", "--model-dir"),
    )  # fmt: skip
    overwrite: bool = option(False, "replace an earlier run in that directory", section="run")
    resume: bool = option(
        False, "go on with the run in --run, at the very step; its own options hold, and DATA may be "
        "left out; where there is none yet, begin it", section="run",
    )  # fmt: skip
    resume_anyway: bool = option(
        False, "go on although pictures or options are not those that the run began with",
        section="run",
    )  # fmt: skip
    seed: int = option(
        0, "decides split, order, augmentation and first weights", section="run", ge=0
    )
    config: Path | None = option(
        None, "YAML file of options; the command line wins over it", section="run"
    )

    validation_fraction: float = option(
        0.2, "share of the training pictures that judge, where DATA has no validation split",
        section="data", gt=0, lt=1,
    )  # fmt: skip
    on_bad: OnBad = option("error", ON_BAD, section="data")
    verify: bool = option(True, VERIFY, section="data")
    leave_out_test: bool = option(
        False, "leave the test pictures out: they are not opened, and the run does not know of them",
        section="data",
    )  # fmt: skip
    shuffle: bool = option(
        True,
        "visit the pictures in another order each epoch; off = in theirs, to debug",
        section="data",
    )
    subset: Subset | None = option(
        None, "train on this many pictures only or, below 1, on this share of them", section="data",
        gt=0,
    )  # fmt: skip
    in_memory: float = option(
        0, "gibibytes of memory that may hold pictures once they were read", section="machine", ge=0
    )
    image_size: ImageSize | None = option(
        None, "pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS with 1, 3 or 4 channels; else the "
        "network's own (224 for most)", section="pictures", names=("--imgsz", "--input-size"),
        metavar="SIZE",
    )  # fmt: skip

    metrics: Measures = option(
        (), "what is reported beside accuracy, separated by commas: top_3, macro_f1, precision:CLASS, "
        "auc, sensitivity_at_specificity=0.9, …, see docs/metrics.md", section="metrics",
        metavar="NAME,…",
    )  # fmt: skip
    groups: Groups = option(None, GROUPS, section="metrics", metavar="FILE")

    tensorboard: bool = option(
        True,
        "write curves, pictures, the graph and the options for TensorBoard",
        section="following",
    )
    tensorboard_images: int = option(
        8, "validation pictures that TensorBoard shows with the model's answers, at most a batch",
        section="following", ge=0,
    )  # fmt: skip
    tensorboard_histograms: bool = option(
        False, "show the distribution of each weight in TensorBoard", section="following"
    )
    mlflow: str | None = option(
        None, "log to MLflow too: a folder, or the address of a server or database",
        section="following", metavar="WHERE",
    )  # fmt: skip

    backend: Backend = option("auto", BACKEND, section="machine")
    precision: Literal[
        "auto", "float32", "mixed_bfloat16", "mixed_float16", "graph_bfloat16"
    ] = option(
        "auto", "of the arithmetic; auto = the quickest of float32 and bfloat16 for this network here, "
        "and float32 with --deterministic", section="machine",
        switches={"--amp": "auto", "--no-amp": "float32"},
    )  # fmt: skip
    devices: int | None = option(
        None, "GPUs or TPU cores of each machine that compute, each a part of every batch; else all "
        "(JAX)", section="machine", ge=1,
    )  # fmt: skip
    processes: int = option(
        0, "decode in this many processes of their own; 0 = in threads", section="machine", ge=0
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        budgets = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(budgets) > 1 and not isinstance(self, FindRateOptions):
            first, second, *_ = map(flag, budgets)
            raise ValueError(f"{first} and {second} exclude each other; give one")
        if self.resume and isinstance(self, ScheduleOptions | FindRateOptions):
            raise ValueError("--resume is for train; leave it out")
        if self.on_hosts and isinstance(self, ScheduleOptions | FindRateOptions):
            raise ValueError("--hosts is for train; leave it out")
        if self.hosts and not self.resume and self.batch_size % len(self.hosts):
            raise ValueError(
                f"--batch-size {self.batch_size} cannot be divided among {len(self.hosts)} hosts; "
                "make it a multiple of their number"
            )
        if self.resume and self.run is None:
            raise ValueError("--resume needs --run, the directory of the run that is to go on")
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude each other; give one")
        if self.resume_anyway and not self.resume:
            raise ValueError("--resume-anyway goes with --resume")
        if not self.validation:
            judged = {
                "--early-stopping": self.early_stopping, "--monitor": self.monitor != "auto",
                "--schedule plateau": self.schedule == "plateau", "--finetune": self.finetune,
                "--precompute on": self.precompute == "on",
            }  # fmt: skip
            for name, given in judged.items():
                if given:
                    raise ValueError(f"{name} needs validation; leave --no-validation out")
        needs_data = not (isinstance(self, ScheduleOptions) and self.steps) and not self.resume
        if self.data is None and self.recipe is None and needs_data:
            raise ValueError(f"DATA is missing: {DATA}")
        if self.build_model and self.recipe is None and not self.resume:
            raise ValueError("--build-model is for the build_model of a recipe: --recipe FILE")
        restores = self.restore_map or self.restore_exclude or self.restore_partial
        if restores and self.weights in ("none", "imagenet"):
            raise ValueError(
                "--restore-map, --restore-exclude and --restore-partial are about a file: --weights FILE"
            )
        if self.restore_map and self.restore_partial:
            raise ValueError("--restore-map and --restore-partial exclude each other; give one")
        if self.finetune and self.weights == "none":
            raise ValueError(
                "--finetune needs --weights; without them all is trained from the start"
            )
        if self.finetune and self.freeze == "none":
            raise ValueError("--finetune begins with a frozen backbone; leave --freeze none out")
        apart = ["--precompute on"] * (self.precompute == "on")
        apart += ["--precompute-views"] * (self.precompute_views > 1)
        if apart and not self._freezes():
            raise ValueError(
                f"{apart[0]} is for a frozen backbone; give --freeze backbone or, with --weights, "
                "--finetune too"
            )
        return self

    def resolved(self) -> Self:
        """Return the options with every default that depends on others filled in."""
        pretrained, freezes = self.weights != "none", self._freezes()
        decays = self.optimizer in ("adamw", "muon")
        model = self.model or ("mobilenet_v2" if pretrained else "compact")
        decided = not freezes or self.freeze == "backbone" or self.precompute == "off"
        return self.model_copy(update={
            "model": model,
            "freeze": "backbone" if freezes else "none",
            "finetune": False if self.finetune is None and decided else self.finetune,
            "momentum": 0.9 if self.momentum is None and self.optimizer == "momentum"
            else self.momentum,
            "weight_decay": (0.004 if decays else 0.0) if self.weight_decay is None
            else self.weight_decay,
            **self.resolved_rates(),
            **(self._debugging() if self.debug else {}),
        })  # fmt: skip

    def _debugging(self) -> dict[str, Any]:
        """Return what --debug changes, but for what was asked for."""
        asked = any(getattr(self, name) is not None for name in BUDGETS)
        usual = {"shuffle": False, "augment": "none", "validation_steps": DEBUG_STEPS,
                 "finetune": False, "precompute": "off"}  # fmt: skip
        values = {k: v for k, v in usual.items() if k not in self.model_fields_set}
        return values if asked else values | {"steps": DEBUG_STEPS}

    def _freezes(self) -> bool:
        """Whether the backbone is frozen, at first or throughout."""
        scoped = bool(self.trainable or self.lr_mult or self.layer_decay < 1)
        return self.freeze == "backbone" or (
            self.freeze == "auto" and self.weights != "none" and (not scoped or bool(self.finetune))
        )

    def planned(self, pictures: int, apart: bool = True) -> Self:
        """Return resolved options with what depends on the number of training pictures filled in.

        Without epochs and steps nothing is left to train in steps: the head is solved.

        Args:
            pictures: of training.
            apart: whether the head can be trained apart from the frozen backbone.
        """
        frozen = self.freeze == "backbone"
        finetune = pictures >= FINETUNE_FROM if self.finetune is None else self.finetune
        finetune = finetune and self.validation  # which says whether it was for the better
        finetune = finetune and (apart or not frozen)
        asked = self.epochs or self.steps or self.examples or self.time
        precompute, epochs = self.precompute if apart else "off", self.epochs
        if frozen and not finetune:
            # Who asks for epochs wants to see the pictures varied, each time.
            if (asked or not self.validation) and precompute == "auto":
                precompute = "off"
            usual = 10 if precompute == "off" else None
        else:
            usual = min(10, max(2, round(FINETUNE_PICTURES / pictures))) if finetune else 20
        head_only = frozen and not finetune
        rate = (0.001 if head_only else 0.0002) if self.weights != "none" else 0.005
        return self.model_copy(update={
            "finetune": finetune,
            "precompute": precompute,
            "epochs": None if self.steps or self.examples or self.time else epochs or usual,
            "steps": -(-self.examples // self.batch_size) if self.examples else self.steps,
            "examples": None,
            "learning_rate": None if self.learning_rate_phases else self.learning_rate or rate,
        })  # fmt: skip


class ScheduleOptions(TrainOptions):
    """Show the learning rate of every step, as a table or a plot. Takes the options of train; with
    --steps, no pictures are needed.
    """  # noqa: D205 - it is the text of `hornbeam schedule --help`

    plot: Path | None = option(
        None, "write a plot, a .png, .svg or .pdf file; needs matplotlib", section="output"
    )


class FindRateOptions(TrainOptions):
    """Try rising learning rates on some batches and suggest one. Takes the options of train, and writes
    no run.
    """  # noqa: D205 - it is the text of `hornbeam find-lr --help`

    steps: int = option(  # type: ignore[assignment]
        100, "batches to try, each at a higher rate", section="training", ge=10
    )
    lowest_rate: float = option(1e-7, "of the first batch", section="learning rate", gt=0)
    highest_rate: float = option(10.0, "of the last batch", section="learning rate", gt=0)
    plot: Path | None = option(
        None, "write a plot, a .png, .svg or .pdf file; needs matplotlib", section="output"
    )
    csv_file: Path | None = option(
        None, "write rates and losses to a CSV file", section="output", names=("--csv",)
    )

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.lowest_rate >= self.highest_rate:
            raise ValueError("--lowest-rate should be below --highest-rate")
        return self
