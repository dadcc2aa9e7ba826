"""Every option of every command: its default, its bounds and its sentence.

This page is the only place with defaults. The command line, its `--help`, configuration files and
the Python API are made from it. It imports neither Keras nor NumPy, so that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from hornbeam.groups import Groups as GroupLists
from hornbeam.groups import read_groups
from hornbeam.measures import parse_measures
from hornbeam.options import (
    Arguments,
    Count,
    Data,
    Grid,
    ImageSize,
    Names,
    Options,
    Patterns,
    Phases,
    Rates,
    Ratios,
    Rhythm,
    Share,
    Subset,
    Time,
    flag,
    option,
    parse_names,
    parse_part,
    positional,
)

Backend = Literal["auto", "tensorflow", "jax", "torch"]
OnBad = Literal["error", "skip"]

_BACKEND = "Keras' engine; auto = jax where there is a GPU or TPU, else tensorflow"
_THREADS = "pictures decoded at a time; 0 = one per core"
_ON_BAD = "what to do about pictures that cannot be read"
_BATCH_OF_ANSWERS = "pictures per forward pass"
NEAR = 8
"""Of 200 crops by 2 % this finds 196, and 6 bits 188, with no false alarm more (benchmarks/check.py)."""

TOPS = (3, 5)
"""Sizes of the first few answers in which `evaluate` looks for the class."""

SPECIFICITIES = (0.9, 0.95)
"""Specificities at which `evaluate` tells the sensitivity."""

MAX_PIXELS = 178_956_970
"""Pillow's limit too: above it a small file may be made to fill the memory."""

FINETUNE_FROM = 500
"""Training pictures from which the last stage of a backbone is trained too."""

FINETUNE_PICTURES = 12_000
"""Pictures that are seen in that, about, each several times: 4 epochs of 3,000."""

_DATA = (
    "folder of pictures, manifest (.csv .json .jsonl .parquet .txt), or TFRecord files ('train-*')"
)
_MAX_PIXELS = "pixels (height x width) above which a picture is refused, unread"
_VERIFY = (
    "decode every picture first; what was verified before and has not changed is not read again"
)
_VIEWS = "average the answers to this many views of each picture: as it is, mirrored, other crops"


_GROUPS = (
    "YAML file of groups of classes ('animal: [cat, dog]', or by task), whose accuracy is told"
)


def _checked_measures(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of measures, stripped, if all are well formed."""
    return tuple(measure.name for measure in parse_measures(names))


Measures = Annotated[Names, AfterValidator(_checked_measures)]
Groups = Annotated[GroupLists | None, BeforeValidator(read_groups)]


class SampleOptions(Options):
    """Draw a small dataset of six shapes over clutter, to try things on."""

    directory: Path = positional("new folder for the pictures", metavar="DIR")
    per_class: int = option(250, "pictures of each class", section="pictures", ge=1)
    size: int = option(96, "typical side in pixels", section="pictures", ge=16, le=4096)
    seed: int = option(0, "the same seed draws the same pictures", section="pictures", ge=0)


class TableOptions(Options):
    """How a dataset is read: the same for every command that takes one."""

    image_column: str | None = option(
        None, "column of the pictures' paths; else path, image, image_path, file, filename, file_name",
        section="data",
    )  # fmt: skip
    label_columns: Names = option(
        (), "columns of labels, separated by commas, one question (and head) each; else label, class, …",
        section="data", names=("--label-column",),
    )  # fmt: skip
    label_separator: str | None = option(
        None, "what separates the labels of one cell; makes its column multi-label", section="data"
    )
    feature_columns: Names = option(
        (), "columns of numbers that the model takes beside the picture, separated by commas",
        section="data",
    )  # fmt: skip
    split_column: str | None = option(
        None, "column that says train, validation or test; else split, where there is one",
        section="data",
    )  # fmt: skip
    group_column: str | None = option(
        None, "column of what belongs together (a patient, a burst) and is never split",
        section="data",
    )  # fmt: skip
    labels_file: Path | None = option(
        None, "class names, one a line; fixes their order", section="data", names=("--labels-path",)
    )
    num_classes: int | None = option(
        None, "checked against the classes that are found", section="data", ge=1
    )
    background_class: bool = option(
        False, "add a class 'background' before the others", section="data"
    )
    allow_outside: bool = option(
        False, "let a manifest name files outside its own folder", section="data"
    )
    max_pixels: int = option(MAX_PIXELS, _MAX_PIXELS, section="data", ge=1)
    threads: int = option(0, _THREADS, section="machine", names=("-j", "--workers"), ge=0)


class SourceOptions(TableOptions):
    """What a dataset is read from, and how."""

    data: Data = positional(_DATA, metavar="DATA")


class PipelineOptions(Options):
    """What happens to pictures on their way to the network."""

    resize_mode: Literal["crop", "squash", "pad"] = option(
        "crop", "how a picture gets the network's shape: cut its centre, change its aspect ratio, or "
        "put bars beside it", section="pictures", names=("--preprocess-operation",),
    )  # fmt: skip
    augment: Literal["none", "light", "standard", "strong"] = option(
        "light", "how much training pictures are varied; see `hornbeam augment-preview`",
        section="augmentation", names=("--jitter",),
    )  # fmt: skip
    crop_area: Share | None = option(
        None, "smallest share of the picture that a random crop keeps", section="augmentation"
    )
    flip: Share | None = option(
        None, "probability of mirroring left and right", section="augmentation"
    )
    vertical_flip: Share | None = option(
        None, "probability of mirroring top and bottom", section="augmentation"
    )
    rotation: float | None = option(
        None, "largest turn either way, in degrees", section="augmentation", ge=0, le=180
    )
    zoom: float | None = option(
        None, "largest relative change of size", section="augmentation", ge=0, lt=1
    )
    shift: float | None = option(
        None, "largest move, as a share of the side", section="augmentation", ge=0, lt=1
    )
    brightness: Share | None = option(
        None, "largest change, as a share of the full range", section="augmentation"
    )
    contrast: Share | None = option(None, "largest relative change", section="augmentation")
    saturation: Share | None = option(
        None, "largest relative change of colourfulness", section="augmentation"
    )
    hue: float | None = option(
        None, "largest turn of the colour circle, in degrees", section="augmentation", ge=0, le=180
    )
    randaugment: int | None = option(
        None, "operations of RandAugment on each picture", section="augmentation", ge=0, le=14
    )
    randaugment_magnitude: float | None = option(
        None, "of its operations, 0 to 10", section="augmentation", ge=0, le=10
    )
    erasing: Share | None = option(
        None, "probability of a grey rectangle (random erasing)", section="augmentation"
    )
    mixup: float | None = option(None, "alpha of mixup; 0 = off", section="augmentation", ge=0)
    cutmix: float | None = option(None, "alpha of CutMix; 0 = off", section="augmentation", ge=0)


class CheckOptions(SourceOptions):
    """Say what is wrong with pictures and labels: unreadable files, duplicates, leaks, …. Ends with 3 if
    there are problems.
    """  # noqa: D205 - it is the text of `hornbeam check --help`

    json_file: Path | None = option(
        None, "write all findings to a JSON file", section="output", names=("--json",)
    )
    html: Path | None = option(None, "write a page with thumbnails", section="output")
    fix_list: Path | None = option(
        None, "write a CSV file of what to do about each picture, to edit", section="output"
    )
    near: int = option(
        NEAR, "bits of 64 in which the perceptual hashes of near duplicates may differ",
        section="duplicates", ge=0, le=10,
    )  # fmt: skip
    smallest_class: int = option(
        10, "pictures below which a class is called tiny", section="limits", ge=1
    )
    cache: bool = option(
        True, "remember what was found of each file until it changes", section="machine"
    )


class SplitOptions(SourceOptions):
    """Divide pictures into train, validation and test, and write that to a manifest. What an earlier
    manifest holds stays where it is; pictures of a group, and near duplicates, stay together.
    """  # noqa: D205 - it is the text of `hornbeam split --help`

    out: Path = option(
        ..., "manifest to write: .csv, .json, .jsonl or .parquet; an earlier one is extended",
        section="output",
    )  # fmt: skip
    ratios: Ratios = option(
        (0.8, 0.1, 0.1), "shares of train, validation and test", section="split"
    )
    previous: Path | None = option(
        None, "manifest whose pictures stay on their sides; else --out, where it is there",
        section="split",
    )  # fmt: skip
    keep: bool = option(
        False, "leave pictures where DATA itself has train, validation and test for all; where it has "
        "them for some, those stay in any case", section="split",
    )  # fmt: skip
    exact: bool = option(
        False, "meet the shares in every class, even if pictures added later move others",
        section="split",
    )  # fmt: skip
    near: int = option(
        NEAR, "bits of 64 in which the perceptual hashes of near duplicates may differ; -1 = keep none "
        "together",
        section="split", ge=-1, le=10,
    )  # fmt: skip
    seed: int = option(0, "another seed makes another split", section="split", ge=0)
    on_bad: OnBad = option("error", _ON_BAD, section="data")

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if abs(sum(self.ratios) - 1) > 1e-6 or not self.ratios[0]:
            raise ValueError(
                f"--ratios should add up to 1, with some for training (got {self.ratios})"
            )
        if self.out.suffix not in (".csv", ".json", ".jsonl", ".parquet"):
            raise ValueError(
                f"--out should end in .csv, .json, .jsonl or .parquet (got '{self.out.name}')"
            )
        return self


class PrepareOptions(SourceOptions):
    """Write pictures into TFRecord shards, which are read faster than files. Continues what was
    interrupted; does nothing where all is done.
    """  # noqa: D205 - it is the text of `hornbeam prepare --help`

    out: Path = positional("directory of the shards", metavar="OUT")
    examples_per_shard: int | None = option(
        None, "pictures in a shard, about; else 1024", section="shards", ge=1
    )
    shards: int | None = option(
        None, "number of shards of each split, in place of --examples-per-shard",
        section="shards", names=("--train-shards", "--num-shards"), ge=1,
    )  # fmt: skip
    shorter_side: int | None = option(
        None, "shrink larger pictures to this, in pixels, and store them as JPEG; else bytes stay as "
        "they are", section="shards", ge=8, le=8192,
    )  # fmt: skip
    quality: int = option(90, "of those JPEGs", section="shards", ge=1, le=100)
    format: Literal["tfrecord"] = option("tfrecord", "of the shards", section="shards")
    part: str | None = option(
        None, "i/n: write the i-th of n parts; n machines with the same command prepare one dataset",
        section="shards",
    )  # fmt: skip
    seed: int = option(
        0, "of the order in which pictures are put into shards", section="shards", ge=0
    )
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    workers: int = option(
        0, "processes that write; 0 = one per core",
        section="machine", names=("--num-divide-threads",), ge=0,
    )  # fmt: skip
    threads: int = option(0, "pictures read at a time, in each process", section="machine", ge=0)

    @model_validator(mode="after")
    def _check_shards(self) -> Self:
        if self.shards and self.examples_per_shard:
            raise ValueError("--shards and --examples-per-shard exclude each other; give one")
        if self.part is not None:
            parse_part(self.part)
        return self

    @property
    def part_of(self) -> tuple[int, int]:
        """Which part is written, from 0, and of how many."""
        return parse_part(self.part) if self.part else (0, 1)


class AugmentPreviewOptions(PipelineOptions, SourceOptions):
    """Show on a page what augmentation makes of your pictures."""

    html: Path = option(..., "page to write", section="output")
    pictures: int = option(6, "pictures to show", section="output", ge=1, le=100)
    variations: int = option(8, "variations of each", section="output", ge=1, le=100)
    image_size: ImageSize = option(
        (160, 160, 3), "pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS",
        section="pictures", names=("--imgsz",),
    )  # fmt: skip
    seed: int = option(0, "another seed shows other variations", section="output", ge=0)


_OF_SCHEDULES = {
    "learning_rate": ("cosine", "fixed", "exponential", "polynomial", "one-cycle", "plateau"),
    "end_learning_rate": ("cosine", "polynomial"),
    "learning_rate_decay_factor": ("exponential",),
    "epochs_per_decay": ("exponential",),
    "polynomial_power": ("polynomial",),
    "patience": ("plateau",),
    "factor": ("plateau",),
    "rollback": ("plateau",),
    "max_decays": ("plateau",),
}
"""Options that belong to some schedules only."""


class RateOptions(Options):
    """How the learning rate changes from step to step."""

    learning_rate: float | None = option(
        None, "at its highest; else 0.005 from scratch, and with --weights 0.0002, or 0.001 for a head "
        "alone",
        section="learning rate", names=("--lr",), gt=0,
    )  # fmt: skip
    schedule: Literal[
        "cosine", "fixed", "exponential", "polynomial", "one-cycle", "phases", "plateau"
    ] = option(
        "cosine", "how the rate changes after the warm-up; `hornbeam schedule --plot` shows it",
        section="learning rate", names=("--learning-rate-decay-type",),
    )  # fmt: skip
    warmup: float | None = option(
        None, "steps in which the rate rises at first; below 1, a share of all steps; else 0.1, of "
        "one-cycle 0.3, and none with phases", section="learning rate", names=("--warmup-steps",), ge=0,
    )  # fmt: skip
    end_learning_rate: float = option(
        0.0, "that cosine and polynomial end with", section="learning rate", ge=0
    )
    learning_rate_decay_factor: float = option(
        0.94, "of exponential: what the rate is multiplied by", section="learning rate", gt=0, le=1
    )
    epochs_per_decay: float = option(
        2.0, "of exponential: after how many epochs",
        section="learning rate", names=("--num-epochs-per-decay",), gt=0,
    )  # fmt: skip
    polynomial_power: float = option(
        1.0, "of polynomial: 1 falls along a line, more falls faster at first",
        section="learning rate", gt=0,
    )  # fmt: skip
    learning_rate_phases: Phases = option(
        (), "of phases: rates and for how many steps each, as in 0.1:1000,0.01:1000; the last goes on",
        section="learning rate", metavar="RATE:STEPS,…",
    )  # fmt: skip

    patience: int = option(
        3, "of plateau: validations without a better one before the rate drops",
        section="learning rate", ge=1,
    )  # fmt: skip
    factor: float = option(
        0.1, "of plateau: what the rate is multiplied by then", section="learning rate", gt=0, lt=1
    )
    rollback: bool = option(
        False, "of plateau: go back to the best weights then", section="learning rate"
    )
    max_decays: int | None = option(
        None, "of plateau: stop when the rate would drop once more than this often",
        section="learning rate", ge=0,
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.learning_rate_phases and "schedule" in self.model_fields_set:
            if self.schedule != "phases":
                raise ValueError(f"--learning-rate-phases is not for --schedule {self.schedule}")
        elif self.schedule == "phases" and not self.learning_rate_phases:
            raise ValueError(
                "--schedule phases needs --learning-rate-phases, as in 0.1:1000,0.01:1000"
            )
        schedule = "phases" if self.learning_rate_phases else self.schedule
        for name, schedules in _OF_SCHEDULES.items():
            given = getattr(self, name) != type(self).model_fields[name].default
            if given and schedule not in schedules:
                raise ValueError(
                    f"{flag(name)} is not for --schedule {schedule} (but for {', '.join(schedules)})"
                )
        return self

    def resolved_rates(self) -> dict[str, Any]:
        """Return the values of schedule and warm-up with what depends on others filled in."""
        schedule = "phases" if self.learning_rate_phases else self.schedule
        usual = {"one-cycle": 0.3, "phases": 0.0}.get(schedule, 0.1)
        return {"schedule": schedule, "warmup": usual if self.warmup is None else self.warmup}


_MOMENTS = {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}
OPTIMIZER_ARGUMENTS: dict[str, dict[str, str]] = {
    "adam": _MOMENTS,
    "adamw": _MOMENTS,
    "sgd": {},
    "momentum": {"momentum": "momentum", "nesterov": "nesterov"},
    "rmsprop": {"rmsprop_decay": "rho", "rmsprop_momentum": "momentum", "epsilon": "epsilon"},
    "adadelta": {"adadelta_rho": "rho", "epsilon": "epsilon"},
    "adagrad": {
        "adagrad_initial_accumulator_value": "initial_accumulator_value", "epsilon": "epsilon",
    },
    "ftrl": {
        "ftrl_learning_rate_power": "learning_rate_power",
        "ftrl_initial_accumulator_value": "initial_accumulator_value",
        "ftrl_l1": "l1_regularization_strength",
        "ftrl_l2": "l2_regularization_strength",
    },
    "lion": {"beta_1": "beta_1", "beta_2": "beta_2"},
    "lamb": _MOMENTS,
    "muon": {
        "momentum": "momentum", "beta_1": "adam_beta_1", "beta_2": "adam_beta_2",
        "epsilon": "epsilon",
    },
    "nadam": _MOMENTS,
    "adamax": _MOMENTS,
    "adafactor": {},
}  # fmt: skip
"""Which of the options each optimiser takes, and what Keras' class calls them."""


BUDGETS = ("epochs", "steps", "examples", "time")
"""Options that say how long to train; one of them is given at most."""

MAY_CHANGE = frozenset({
    *BUDGETS, "run", "resume", "resume_anyway", "overwrite", "config", "threads", "processes",
    "in_memory", "verify", "on_bad", "keep", "save_every", "max_decays", "early_stopping",
    "on_nan", "nan_factor", "tensorboard", "tensorboard_images", "tensorboard_histograms", "mlflow",
})  # fmt: skip
"""Options that a run may go on with otherwise than it began; all others would make it another run."""

DEBUG_STEPS = 8
"""Steps, and batches of validation, with --debug."""


class TrainOptions(RateOptions, PipelineOptions, SourceOptions):
    """Train a classifier on a folder of pictures (one folder per class, with or without
    train/validation/test folders above them), a manifest, or TFRecord shards.
    """  # noqa: D205 - it is the text of `hornbeam train --help`

    data: Data | None = positional(  # type: ignore[assignment]
        _DATA + "; not needed where the recipe has examples(split)", None, metavar="DATA",
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
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    verify: bool = option(True, _VERIFY, section="data")
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

    model: str | None = option(
        None, "network, see `hornbeam models`; else compact, or mobilenet_v2 with --weights",
        section="network",
    )  # fmt: skip
    recipe: Path | None = option(
        None,
        "your Python file with any of build_model(input_shape, targets, features), "
        "preprocess(image, training, rng), augment(image, rng), loss(), metrics(), callbacks(), "
        "examples(split)",
        section="network",
    )
    build_model: Arguments = option(
        (), "arguments of the recipe's build_model, as in 'width=32,depth=3'", section="network",
        metavar="NAME=VALUE,…",
    )  # fmt: skip
    weights: str = option(
        "none", "where the network starts: none, imagenet, or a file: .keras, .h5, .weights.h5, "
        ".safetensors, or a TensorFlow checkpoint (its prefix, or its directory)",
        section="network", names=("--restore", "--checkpoint-path", "--restoring-file"),
        metavar="WHERE",
    )  # fmt: skip
    restore_map: str | None = option(
        None, "rules from the file's names to ours: a file of them, or one of Hornbeam's own, see "
        "`hornbeam inspect --help`; else what fits the file", section="network",
    )  # fmt: skip
    restore_exclude: Patterns = option(
        (), "patterns of our variables that the file does not set, separated by commas",
        section="network", names=("--checkpoint-exclude-scopes",),
    )  # fmt: skip
    restore_partial: bool = option(
        False, "restore what fits by name and shape, and leave the rest as it is; else the file must "
        "have all of the backbone", section="network",
    )  # fmt: skip
    freeze: Literal["auto", "backbone", "none"] = option(
        "auto", "what stays as it is, or does until --finetune; auto = the backbone, where --weights "
        "are given and neither --trainable, --lr-mult nor --layer-decay", section="network",
    )  # fmt: skip
    trainable: Patterns = option(
        (), "patterns of the variables that are trained, separated by commas; the others stay as they "
        "are ('head/.*,block_1[3-6].*')", section="network", names=("--trainable-scopes",),
    )  # fmt: skip
    precompute: Literal["auto", "on", "off"] = option(
        "auto", "run a frozen backbone over each picture once, keep what it gives in the cache, and "
        "train the head on that; auto = where that is possible and --freeze backbone comes without "
        "--epochs and --steps", section="network",
    )  # fmt: skip
    precompute_views: int = option(
        1, "views of each picture in that pass: one as it is, the others varied as --augment says",
        section="network", ge=1, le=100,
    )  # fmt: skip
    finetune: bool | None = option(
        None, "then train the last stage of the backbone too, or what --trainable says, and keep that "
        f"if it is better on the validation pictures; else from {FINETUNE_FROM} training pictures on",
        section="network",
    )  # fmt: skip
    dropout: float = option(
        0.2, "share of features dropped before the last layer", section="network", ge=0, lt=1
    )
    batch_norm: Literal["auto", "train", "frozen"] = option(
        "auto", "whether batch normalisation learns from the batches; auto = not in a backbone that has "
        "been trained before", section="network",
    )  # fmt: skip
    batch_norm_warmup: bool = option(
        False, "let the momentum of batch normalisation's averages rise from 0 to its value, so that "
        "they forget the first steps", section="network",
    )  # fmt: skip
    precise_batch_norm: int = option(
        0, "training batches from which batch normalisation's averages are computed anew at the end; "
        "0 = off", section="network", ge=0,
    )  # fmt: skip

    epochs: int | None = option(
        None, "times that each picture is seen; else 20; 2 to 10 to finetune; 10 for a head alone, if "
        "it is not solved", section="training", names=("--num-epochs",), ge=1,
    )  # fmt: skip
    steps: int | None = option(
        None, "batches to train on, in place of --epochs",
        section="training", names=("--train-steps",), ge=1,
    )  # fmt: skip
    examples: Count | None = option(
        None, "pictures to train on, each as often as it comes, in place of --epochs",
        section="training", ge=1,
    )  # fmt: skip
    time: Time | None = option(
        None, "how long to train, as in 30min or 2h, in place of --epochs; the learning rate then "
        "follows the clock", section="training", metavar="TIME",
    )  # fmt: skip
    batch_size: int = option(32, "pictures per step", section="training", names=("-b",), ge=1)
    accumulate: int = option(
        1, "batches whose gradients are averaged before the weights change",
        section="training", names=("--replicas-to-aggregate",), ge=1,
    )  # fmt: skip
    deterministic: bool = option(
        False, "let the backend compute alike each time, bit for bit, where it can; slower",
        section="training",
    )  # fmt: skip
    debug: bool = option(
        False, "a few steps without shuffling and augmentation, each function run line by line",
        section="training",
    )  # fmt: skip

    validation: bool = option(
        True, "judge the network on the validation pictures, while it trains and at the end; off = "
        "train only, and let `hornbeam watch` or `evaluate` judge",
        section="validation", names=("--validate",),
    )  # fmt: skip
    validate_every: Rhythm | None = option(
        None, "how often: 500steps, 1epoch, 1e5examples or 10min; else each epoch",
        section="validation", names=("--val-interval",), seconds=("--eval-throttle-secs",),
        metavar="LENGTH",
    )  # fmt: skip
    validation_steps: int | None = option(
        None, "batches of validation pictures, drawn by the seed, that judge meanwhile; else all",
        section="validation", names=("--val-steps", "--eval-freq"), ge=1,
    )  # fmt: skip
    monitor: str = option(
        "auto", "what makes one validation better than another: val_loss, val_accuracy, …; auto = "
        "accuracy and then the loss, or with --schedule plateau the loss", section="validation",
    )  # fmt: skip
    mode: Literal["auto", "min", "max"] = option(
        "auto", "whether less or more of it is better; auto = less of what has loss or entropy in its "
        "name", section="validation",
    )  # fmt: skip
    early_stopping: int | None = option(
        None, "stop after this many validations without a better one", section="validation", ge=1
    )

    save_every: Rhythm | None = option(
        None, "how often a checkpoint is written, beside those after each validation",
        section="checkpoints", metavar="LENGTH",
    )  # fmt: skip
    keep: int = option(
        3, "newest checkpoints to keep, beside the best", section="checkpoints", ge=1
    )
    on_nan: Literal["stop", "rollback"] = option(
        "stop", "what to do when the loss is no number: stop, or go back to the last checkpoint with a "
        "smaller learning rate, three times at most", section="checkpoints",
    )  # fmt: skip
    nan_factor: float = option(
        0.5,
        "of --on-nan rollback: what the rate is multiplied by",
        section="checkpoints",
        gt=0,
        lt=1,
    )

    lr_mult: Rates = option(
        (), "factors on the rate by pattern, as in 'backbone/.*=0.1,head/.*=1'; the first match counts, "
        "0 freezes", section="learning rate", metavar="PATTERN=X,…",
    )  # fmt: skip
    layer_decay: float = option(
        1.0, "factor on the rate from each block of the backbone to the one before it",
        section="learning rate", gt=0, le=1,
    )  # fmt: skip

    optimizer: Literal[
        "adam", "adamw", "sgd", "momentum", "rmsprop", "adadelta", "adagrad", "ftrl", "lion", "lamb",
        "muon", "nadam", "adamax", "adafactor",
    ] = option(
        "adam", "what turns gradients into steps", section="optimizer", names=("--opt",)
    )  # fmt: skip
    momentum: float | None = option(
        None, "of momentum and of muon; else 0.9, or 0.95 of muon", section="optimizer", ge=0, lt=1
    )
    nesterov: bool = option(False, "of momentum: look ahead", section="optimizer")
    beta_1: float | None = option(
        None, "of adam and its kin: decay of the mean of gradients; else Keras' (mostly 0.9)",
        section="optimizer", names=("--adam-beta1",), ge=0, lt=1,
    )  # fmt: skip
    beta_2: float | None = option(
        None, "of adam and its kin: decay of the mean of squares; else Keras' (mostly 0.999)",
        section="optimizer", names=("--adam-beta2",), ge=0, lt=1,
    )  # fmt: skip
    epsilon: float | None = option(
        None, "what keeps divisions from zero; else Keras' (mostly 1e-7)",
        section="optimizer", names=("--opt-epsilon",), gt=0,
    )  # fmt: skip
    adadelta_rho: float = option(
        0.95, "of adadelta: decay of the mean of squares", section="optimizer", ge=0, lt=1
    )
    adagrad_initial_accumulator_value: float = option(
        0.1, "of adagrad: what its sum of squares begins at", section="optimizer", ge=0
    )
    ftrl_learning_rate_power: float = option(
        -0.5, "of ftrl: power of the sum of squares in the rate; 0 = not at all",
        section="optimizer", le=0,
    )  # fmt: skip
    ftrl_initial_accumulator_value: float = option(
        0.1, "of ftrl: what that sum begins at", section="optimizer", ge=0
    )
    ftrl_l1: float = option(0.0, "of ftrl: strength of L1", section="optimizer", ge=0)
    ftrl_l2: float = option(0.0, "of ftrl: strength of L2", section="optimizer", ge=0)
    rmsprop_momentum: float = option(
        0.0, "of rmsprop: share of the last step in the next", section="optimizer", ge=0, lt=1
    )
    rmsprop_decay: float = option(
        0.9, "of rmsprop: decay of the mean of squares", section="optimizer", ge=0, lt=1
    )
    weight_decay: float | None = option(
        None, "share of each weight that a step of rate 1 takes away (decoupled, as in AdamW); else "
        "0.004 for adamw and muon, 0 for the others", section="optimizer", ge=0,
    )  # fmt: skip
    no_decay: Patterns = option(
        (r".*/(bias|gamma|beta)",), "patterns of the variables without weight decay",
        section="optimizer",
    )  # fmt: skip
    clip_norm: float | None = option(
        None, "largest norm of all gradients together", section="optimizer", gt=0
    )
    clip_value: float | None = option(
        None,
        "largest value of each part of a gradient; not with --clip-norm",
        section="optimizer",
        gt=0,
    )
    ema: float | None = option(
        None, "average the weights over the steps with this decay (0.999, say); the averages are what "
        "is validated and kept", section="optimizer", gt=0, lt=1,
    )  # fmt: skip

    loss: str = option(
        "auto", "auto, categorical, binary, focal, or the name of one of Keras' losses; auto = binary "
        "for multi-label tasks, else categorical", section="loss", names=("--objectives",),
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, "share of each target that is spread over all classes", section="loss", ge=0, lt=1
    )
    focal_gamma: float = option(
        2.0, "of focal: how much less easy pictures count", section="loss", ge=0
    )
    class_weights: str = option(
        "none", "none, balanced (rare classes count more), or 'class=weight,…'", section="loss"
    )
    loss_weights: Rates = option(
        (), "how much each task counts, as in 'colour=1,kind=0.5'", section="loss",
        metavar="TASK=X,…",
    )  # fmt: skip
    metrics: Measures = option(
        (), "what is reported beside accuracy, separated by commas: top_3, macro_f1, precision:CLASS, "
        "auc, sensitivity_at_specificity=0.9, …, see docs/metrics.md", section="metrics",
        metavar="NAME,…",
    )  # fmt: skip
    groups: Groups = option(None, _GROUPS, section="metrics", metavar="FILE")

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

    backend: Backend = option("auto", _BACKEND, section="machine")
    precision: Literal[
        "auto", "float32", "mixed_bfloat16", "mixed_float16", "graph_bfloat16"
    ] = option(
        "auto", "of the arithmetic; auto = the quickest of float32 and bfloat16 for this network here, "
        "and float32 with --deterministic", section="machine",
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
            raise ValueError(f"DATA is missing: {_DATA}")
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

    @model_validator(mode="after")
    def _check_optimizer(self) -> Self:
        known = OPTIMIZER_ARGUMENTS[self.optimizer]
        others = dict.fromkeys(name for names in OPTIMIZER_ARGUMENTS.values() for name in names)
        for name in others:
            # As given as its default: nothing that the run would not do.
            if name not in known and getattr(self, name) != type(self).model_fields[name].default:
                of = [
                    optimizer for optimizer, names in OPTIMIZER_ARGUMENTS.items() if name in names
                ]
                raise ValueError(
                    f"{flag(name)} is for --optimizer {' or '.join(of)}, not for {self.optimizer}"
                )
        if self.clip_norm and self.clip_value:
            raise ValueError("--clip-norm and --clip-value exclude each other; give one")
        if any(factor < 0 for _, factor in self.lr_mult):
            raise ValueError("--lr-mult takes factors from 0 on")
        rates = self.resolved_rates()
        if self.optimizer == "ftrl" and (rates["schedule"] != "fixed" or rates["warmup"]):
            raise ValueError(
                "--optimizer ftrl needs --schedule fixed --warmup 0, because its weights shrink and "
                "grow with the rate"
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
        if not self.validation:
            raise ValueError(
                "search compares by the validation pictures; leave --no-validation out"
            )
        return self


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


class EvaluateOptions(TableOptions):
    """Say how good a trained model is, with error bars."""

    run: Path = positional("run directory", metavar="RUN")
    data: Data | None = positional(
        "other pictures, in any form that train takes; else those held out from the run's own", None,
        metavar="DATA",
    )  # fmt: skip
    split: Literal["auto", "train", "validation", "test"] = option(
        "auto", "which pictures; auto = test where there are some, else validation", section="data"
    )
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    verify: bool = option(True, _VERIFY, section="data")
    groups: Groups = option(
        None, _GROUPS + "; else those of the training", section="metrics", metavar="FILE"
    )
    tta: int = option(1, _VIEWS, section="pictures", ge=1, le=64)
    batch_size: int = option(32, _BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", _BACKEND, section="machine")


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
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    verify: bool = option(True, _VERIFY, section="data")
    batch_size: int = option(32, _BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", _BACKEND, section="machine")
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

    run: Path = positional("run directory", metavar="RUN")
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
    max_pixels: int = option(MAX_PIXELS, _MAX_PIXELS, section="data", ge=1)
    top: int = option(5, "how many classes to name for each", section="output", ge=1)
    out: Path | None = option(None, "write a .csv, .json or .parquet file", section="output")
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    tta: int = option(1, _VIEWS, section="pictures", ge=1, le=64)
    batch_size: int = option(32, _BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", _BACKEND, section="machine")
    threads: int = option(0, _THREADS, section="machine", names=("-j", "--workers"), ge=0)

    @model_validator(mode="after")
    def _check_out(self) -> Self:
        if self.out and self.out.suffix not in (".csv", ".json", ".parquet"):
            raise ValueError(f"--out should end in .csv, .json or .parquet (got '{self.out.name}')")
        return self


ExportFormat = Literal["keras", "h5"]


class ExportOptions(Options):
    """Write the trained model for use elsewhere, and prove that it answers as before."""

    run: Path = positional("run directory", metavar="RUN")
    format: Annotated[tuple[ExportFormat, ...], BeforeValidator(parse_names)] = option(
        ("keras",), "formats, separated by commas: keras, h5", section="output"
    )
    out: Path = option(..., "directory for the files", section="output", names=("--save-to",))
    overwrite: bool = option(False, "replace files of an earlier export", section="output")
    backend: Backend = option("auto", _BACKEND, section="machine")


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
    backend: Backend = option("auto", _BACKEND, section="machine")

    @model_validator(mode="after")
    def _check_inspected(self) -> Self:
        if self.restore_map and not self.model:
            raise ValueError("--restore-map needs --model, the network whose names it leads to")
        if (self.model or self.match) and self.file is None:
            raise ValueError("FILE_OR_RUN is missing: what --model and --match are about")
        return self


class ModelsOptions(Options):
    """List the networks of the zoo."""


COMMANDS: dict[str, type[Options]] = {
    "sample": SampleOptions,
    "check": CheckOptions,
    "split": SplitOptions,
    "prepare": PrepareOptions,
    "augment-preview": AugmentPreviewOptions,
    "train": TrainOptions,
    "schedule": ScheduleOptions,
    "find-lr": FindRateOptions,
    "search": SearchOptions,
    "evaluate": EvaluateOptions,
    "watch": WatchOptions,
    "predict": PredictOptions,
    "export": ExportOptions,
    "inspect": InspectOptions,
    "models": ModelsOptions,
}
