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


def positional(sentence: str, default: Any = ..., metavar: str = "") -> Any:
    """Declare an argument that is given by its place."""
    extra: dict[str, Any] = {"section": "arguments", "positional": True, "metavar": metavar}
    return Field(default, description=sentence, json_schema_extra=extra)


def _parse_image_size(value: Any) -> Any:
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, str):
        sides = value.lower().replace("x", ",").split(",")
        if not (1 <= len(sides) <= 2 and all(side.strip().isdecimal() for side in sides)):
            raise ValueError("should be a number of pixels, or HEIGHTxWIDTH")
        numbers = tuple(int(side) for side in sides)
        return numbers * 2 if len(numbers) == 1 else numbers
    return value


def _parse_names(value: Any) -> Any:
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


Side = Annotated[int, Field(ge=8, le=8192)]
ImageSize = Annotated[tuple[Side, Side], BeforeValidator(_parse_image_size)]

Backend = Literal["auto", "tensorflow", "jax", "torch"]
OnBad = Literal["error", "skip"]

_BACKEND = "Keras' engine; auto = jax where there is a GPU or TPU, else tensorflow"
_THREADS = "pictures decoded at a time; 0 = one per core"
_ON_BAD = "what to do about pictures that cannot be read"
_BATCH_OF_ANSWERS = "pictures per forward pass"


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


class TrainOptions(Options):
    """Train a classifier on a folder of pictures: one folder per class, with or without
    train/validation/test folders above them.
    """  # noqa: D205 - it is the text of `hornbeam train --help`

    data: Path = positional("folder of pictures", metavar="DATA")

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
        0.2, "share of the training pictures that judge, where DATA has no validation folder",
        section="data", gt=0, lt=1,
    )  # fmt: skip
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    augment: Literal["none", "light", "standard", "strong"] = option(
        "light", "how much training pictures are varied", section="data"
    )
    image_size: ImageSize | None = option(
        None, "pixels, or HEIGHTxWIDTH; else the network's own (224 for most)",
        section="data", names=("--imgsz", "--input-size"),
    )  # fmt: skip

    model: str | None = option(
        None, "network, see `hornbeam models`; else compact, or mobilenet_v2 with --weights",
        section="network",
    )  # fmt: skip
    recipe: Path | None = option(
        None, "your Python file with build_model(input_shape, targets)", section="network"
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
    threads: int = option(0, _THREADS, section="machine", names=("-j", "--workers"), ge=0)
    processes: int = option(
        0, "decode in this many processes of their own; 0 = in threads", section="machine", ge=0
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.epochs and self.steps:
            raise ValueError("--epochs and --steps exclude each other; give one")
        if self.recipe and self.model:
            raise ValueError("--recipe and --model exclude each other; give one")
        return self

    def resolved(self) -> TrainOptions:
        """Return the options with every default that depends on others filled in."""
        pretrained = self.weights != "none"
        freezes = self.freeze == "backbone" or (self.freeze == "auto" and pretrained)
        model = self.model or ("mobilenet_v2" if pretrained else "compact")
        return self.model_copy(update={
            "model": None if self.recipe else model,
            "freeze": "backbone" if freezes else "none",
            "epochs": None if self.steps else self.epochs or (10 if freezes else 20),
            "learning_rate": self.learning_rate or (0.001 if pretrained else 0.005),
        })  # fmt: skip


class EvaluateOptions(Options):
    """Say how good a trained model is, with error bars."""

    run: Path = positional("run directory", metavar="RUN")
    data: Path | None = positional(
        "folder of other pictures; else those held out from the run's own", None, metavar="DATA"
    )
    split: Literal["auto", "train", "validation", "test"] = option(
        "auto", "which pictures; auto = test where there are some, else validation", section="data"
    )
    on_bad: OnBad = option("error", _ON_BAD, section="data")
    batch_size: int = option(32, _BATCH_OF_ANSWERS, section="machine", names=("-b",), ge=1)
    backend: Backend = option("auto", _BACKEND, section="machine")
    threads: int = option(0, _THREADS, section="machine", names=("-j", "--workers"), ge=0)


class PredictOptions(Options):
    """Name what is in pictures."""

    run: Path = positional("run directory", metavar="RUN")
    images: tuple[Path, ...] = positional("pictures, or folders of them", metavar="IMAGE_OR_DIR")
    top: int = option(5, "how many classes to name for each", section="output", ge=1)
    out: Path | None = option(None, "write a .csv, .json or .parquet file", section="output")
    on_bad: OnBad = option("error", _ON_BAD, section="data")
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
    message = str(problem["msg"]).removeprefix("Input ").split(", unable")[0]
    hint = ""
    if problem["type"] == "literal_error":
        choices = choices_of(info.annotation) or ExportFormat.__args__  # type: ignore[attr-defined]
        hint = did_you_mean(str(problem["input"]), choices).rstrip("?")
        hint = f";{hint.lower()}?" if hint else ""
    return f"{name} {message} (got {problem['input']!r}){hint}"
