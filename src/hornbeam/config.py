"""Every option of every command: its default, its bounds and its sentence.

This page is the only place with defaults. The command line, its `--help`, configuration files and
the Python API are made from it. It imports neither Keras nor NumPy, so that `--help` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from hornbeam.errors import ConfigError, did_you_mean


def option(
    default: Any, sentence: str, *, section: str, names: Sequence[str] = (), **bounds: Any
) -> Any:
    """Declare an option.

    Args:
        default: its value when nobody says otherwise; `...` makes it required.
        sentence: what `--help` says about it.
        section: the heading of `--help` that it stands under.
        names: further names on the command line, those of older projects and of other tools.
        **bounds: `ge`, `gt`, `le`, `lt` as in pydantic.
    """
    extra: dict[str, Any] = {"section": section, "names": list(names)}
    return Field(default, description=sentence, json_schema_extra=extra, **bounds)


def positional(
    sentence: str, default: Any = ..., metavar: str = "", names: Sequence[str] = ()
) -> Any:
    """Declare an argument that is given by its place, or by one of `names`."""
    extra: dict[str, Any] = {
        "section": "arguments", "positional": True, "metavar": metavar, "names": list(names),
    }  # fmt: skip
    return Field(default, description=sentence, json_schema_extra=extra)


def _parse_image_size(value: Any) -> Any:
    """Return (height, width, channels) of `224`, `224x160`, `224x160x1` or a sequence of those."""
    if isinstance(value, int):
        return (value, value, 3)
    if isinstance(value, str):
        sides = value.lower().replace("x", ",").split(",")
        if not (1 <= len(sides) <= 3 and all(side.strip().isdecimal() for side in sides)):
            raise ValueError("should be a number of pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS")
        value = tuple(int(side) for side in sides)
        if len(value) == 1:
            value *= 2
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return (*value, 3)
    return value


def _parse_location(value: Any) -> Any:
    """Return a path of any kind as a string."""
    return str(value) if isinstance(value, Path) else value


def _parse_ratios(value: Any) -> Any:
    """Return (train, validation, test) of `0.8,0.1,0.1`; without the third, test is 0."""
    if isinstance(value, str):
        try:
            value = tuple(float(part) for part in value.split(","))
        except ValueError:
            raise ValueError("should be numbers, as in 0.8,0.1,0.1") from None
    if isinstance(value, (tuple, list)) and len(value) == 2:
        value = (*value, 0.0)
    return value


def _parse_part(value: str) -> tuple[int, int]:
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ValueError(f"--part should be i/n with 1 <= i <= n, as in 2/4 (got '{value}')")
    return int(index) - 1, int(count)


def _parse_names(value: Any) -> Any:
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


Side = Annotated[int, Field(ge=8, le=8192)]
Channels = Literal[1, 3, 4]
ImageSize = Annotated[tuple[Side, Side, Channels], BeforeValidator(_parse_image_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(_parse_names)]
Share = Annotated[float, Field(ge=0, le=1)]
Ratios = Annotated[tuple[Share, Share, Share], BeforeValidator(_parse_ratios)]
Data = Annotated[str, BeforeValidator(_parse_location)]

Backend = Literal["auto", "tensorflow", "jax", "torch"]
OnBad = Literal["error", "skip"]

_BACKEND = "Keras' engine; auto = jax where there is a GPU or TPU, else tensorflow"
_THREADS = "pictures decoded at a time; 0 = one per core"
_ON_BAD = "what to do about pictures that cannot be read"
_BATCH_OF_ANSWERS = "pictures per forward pass"
NEAR = 8
"""Of 200 crops by 2 % this finds 196, and 6 bits 188, with no false alarm more (benchmarks/check.py)."""

MAX_PIXELS = 178_956_970
"""Pillow's limit too: above it a small file may be made to fill the memory."""

_DATA = (
    "folder of pictures, manifest (.csv .json .jsonl .parquet .txt), or TFRecord files ('train-*')"
)
_MAX_PIXELS = "pixels (height x width) above which a picture is refused, unread"
_VERIFY = (
    "decode every picture first; what was verified before and has not changed is not read again"
)
_VIEWS = "average the answers to this many views of each picture: as it is, mirrored, other crops"


class Options(BaseModel):
    """Base of all options: checked whole, immutable, all problems told at once."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            problems = [_sentence(problem, type(self)) for problem in error.errors()]
            raise ConfigError("; ".join(problems) + ".") from None


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
            _parse_part(self.part)
        return self

    @property
    def part_of(self) -> tuple[int, int]:
        """Which part is written, from 0, and of how many."""
        return _parse_part(self.part) if self.part else (0, 1)


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


class TrainOptions(PipelineOptions, SourceOptions):
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
    shuffle: bool = option(
        True,
        "visit the pictures in another order each epoch; off = in theirs, to debug",
        section="data",
    )
    subset: int | None = option(
        None, "train on this many pictures only, to debug", section="data", ge=1
    )
    in_memory: float = option(
        0, "gibibytes of memory that may hold pictures once they were read", section="machine", ge=0
    )
    image_size: ImageSize | None = option(
        None, "pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS with 1, 3 or 4 channels; else the "
        "network's own (224 for most)", section="pictures", names=("--imgsz", "--input-size"),
    )  # fmt: skip

    model: str | None = option(
        None, "network, see `hornbeam models`; else compact, or mobilenet_v2 with --weights",
        section="network",
    )  # fmt: skip
    recipe: Path | None = option(
        None,
        "your Python file with any of build_model(input_shape, targets), preprocess(image, "
        "training, rng), augment(image, rng), examples(split)",
        section="network",
    )
    weights: str = option(
        "none", "where the network starts: none, imagenet, or a .h5, .weights.h5 or .keras file",
        section="network",
    )  # fmt: skip
    freeze: Literal["auto", "backbone", "none"] = option(
        "auto", "what stays as it is; auto = the backbone, where it has been trained before",
        section="network",
    )  # fmt: skip
    dropout: float = option(
        0.2, "share of features dropped before the last layer", section="network", ge=0, lt=1
    )

    epochs: int | None = option(
        None, "times that each picture is seen; else 20, or 10 with a frozen backbone",
        section="training", names=("--num-epochs",), ge=1,
    )  # fmt: skip
    steps: int | None = option(
        None, "batches to train on, in place of epochs",
        section="training", names=("--train-steps",), ge=1,
    )  # fmt: skip
    batch_size: int = option(32, "pictures per step", section="training", names=("-b",), ge=1)
    learning_rate: float | None = option(
        None, "of Adam at its highest, after a warm-up and before falling to 0 along a cosine; "
        "else 0.005, or 0.001 with weights that were trained before",
        section="training", names=("--lr",), gt=0,
    )  # fmt: skip

    backend: Backend = option("auto", _BACKEND, section="machine")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = option(
        "auto", "of the arithmetic; auto = float32 on CPUs, else mixed_bfloat16", section="machine"
    )
    processes: int = option(
        0, "decode in this many processes of their own; 0 = in threads", section="machine", ge=0
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.epochs and self.steps:
            raise ValueError("--epochs and --steps exclude each other; give one")
        if self.data is None and self.recipe is None:
            raise ValueError(f"DATA is missing: {_DATA}")
        return self

    def resolved(self) -> TrainOptions:
        """Return the options with every default that depends on others filled in."""
        pretrained = self.weights != "none"
        freezes = self.freeze == "backbone" or (self.freeze == "auto" and pretrained)
        model = self.model or ("mobilenet_v2" if pretrained else "compact")
        return self.model_copy(update={
            "model": model,
            "freeze": "backbone" if freezes else "none",
            "epochs": None if self.steps else self.epochs or (10 if freezes else 20),
            "learning_rate": self.learning_rate or (0.001 if pretrained else 0.005),
        })  # fmt: skip


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
    tta: int = option(1, _VIEWS, section="pictures", ge=1, le=64)
    batch_size: int = option(32, _BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", _BACKEND, section="machine")


class PredictOptions(Options):
    """Name what is in pictures."""

    run: Path = positional("run directory", metavar="RUN")
    images: tuple[Data, ...] = positional(
        "pictures, folders of them, or addresses of pictures", metavar="IMAGE_OR_DIR"
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
    format: Annotated[tuple[ExportFormat, ...], BeforeValidator(_parse_names)] = option(
        ("keras",), "formats, separated by commas: keras, h5", section="output"
    )
    out: Path = option(..., "directory for the files", section="output", names=("--save-to",))
    overwrite: bool = option(False, "replace files of an earlier export", section="output")
    backend: Backend = option("auto", _BACKEND, section="machine")


class ModelsOptions(Options):
    """List the networks of the zoo."""


COMMANDS: dict[str, type[Options]] = {
    "sample": SampleOptions,
    "check": CheckOptions,
    "split": SplitOptions,
    "prepare": PrepareOptions,
    "augment-preview": AugmentPreviewOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "predict": PredictOptions,
    "export": ExportOptions,
    "models": ModelsOptions,
}


def flag(field: str) -> str:
    """Return the command-line name of an option: `batch_size` → `--batch-size`."""
    return "--" + field.replace("_", "-")


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the values that an option of type `Literal` takes, or nothing for other types."""
    return annotation.__args__ if getattr(annotation, "__origin__", None) is Literal else ()


def read_config_file(path: Path, options: type[Options]) -> dict[str, Any]:
    """Read options from a YAML file, with their names in either spelling, `-` or `_`.

    Raises:
        ConfigError: the file is missing, is no YAML, or names an option that there is not.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read ({error}).") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}, column {where.column + 1}" if where else ""
        raise ConfigError(f"{path}{line}: this is not YAML.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected lines such as 'batch_size: 64'.")
    values = {str(name).replace("-", "_"): value for name, value in content.items()}
    for name in values:
        if name not in options.model_fields:
            raise ConfigError(
                f"{path}: there is no option '{name}'.{did_you_mean(name, options.model_fields)}"
            )
    return values


def _sentence(problem: Any, options: type[Options]) -> str:
    """Say in our words what pydantic found."""
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if not field:
        return str(problem["ctx"]["error"])
    info = options.model_fields.get(field)
    if info is None:
        return f"there is no option '{field}'.{did_you_mean(field, options.model_fields)}".strip(
            "."
        )
    extra = info.json_schema_extra
    is_positional = isinstance(extra, dict) and "positional" in extra
    name = str(extra["metavar"]) if isinstance(extra, dict) and is_positional else flag(field)
    if problem["type"] == "missing":
        return f"{name} is missing: {info.description}"
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']} (got {problem['input']!r})"
    if field == "image_size" and problem["type"] == "literal_error":
        return f"{name} takes 1, 3 or 4 channels (got {problem['input']!r})"
    message = str(problem["msg"]).removeprefix("Input ").split(", unable")[0]
    hint = ""
    if problem["type"] == "literal_error":
        choices = choices_of(info.annotation) or ExportFormat.__args__  # type: ignore[attr-defined]
        hint = did_you_mean(str(problem["input"]), choices).rstrip("?")
        hint = f";{hint.lower()}?" if hint else ""
    return f"{name} {message} (got {problem['input']!r}){hint}"
