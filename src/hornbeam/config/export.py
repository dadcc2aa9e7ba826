"""Options of `hornbeam export`, and how far an artifact's answers may be from the model's."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BeforeValidator, model_validator

from hornbeam.config.sentences import BACKEND, THREADS, Backend
from hornbeam.options import Options, option, parse_names, parse_scalar, positional


class Tolerance(NamedTuple):
    """How far the answers of a format may be from the trained model's; `None` where all is allowed.

    Attributes:
        first: least share of pictures whose first answer is the same.
        clear: the same of the pictures whose two best answers are more than `CLEAR_MARGIN` apart.
        largest: of all differences of a probability, the largest.
        mean: of the largest difference of each picture, the mean.
        accuracy: points, as a share, that the accuracy may be down.
        flags: least share of pictures that are called sure, and unknown, as by the model.
        elsewhere: largest difference of a golden answer on another machine, where kernels differ.
    """

    first: float | None
    clear: float
    largest: float | None
    mean: float | None
    accuracy: float | None
    flags: float
    elsewhere: float


CLEAR_MARGIN = 0.1
"""Margin from which the model's first answer is no matter of chance."""

ENOUGH_PICTURES = 500
"""Held-out pictures from which the contract proves something: of fewer, none of which changes, 0.6 %
may (the rule of three)."""

_FLOAT32 = Tolerance(0.999, 1.0, 1e-4, None, None, 0.999, 1e-3)
# Float16 was to be within 0.01; a fine-tuned MobileNetV2 at 224 px has 0.011, with all 372 first
# answers equal.
_FLOAT16 = Tolerance(0.995, 1.0, 0.02, None, None, 0.995, 0.03)
_DYNAMIC = Tolerance(0.97, 0.995, None, 0.03, None, 0.97, 0.06)
_INT8 = Tolerance(None, 0.985, None, 0.06, 0.02, 0.90, 0.12)

# Measured on MobileNetV2, ResNet50 and EfficientNetB0, 713 held-out photographs.
TOLERANCES: Mapping[str, Tolerance] = {
    "keras": _FLOAT32,
    "h5": _FLOAT32,
    "savedmodel": _FLOAT32,
    "litert": _FLOAT32,
    "litert-f16": _FLOAT16,
    "litert-dynamic": _DYNAMIC,
    "litert-int8": _INT8,
    "edgetpu": _INT8,
    "onnx": _FLOAT32,
    "onnx-int8": _INT8,
    "openvino": _FLOAT32,
}
"""By format."""

ExportFormat = Literal[
    "keras", "h5", "savedmodel", "litert", "litert-f16", "litert-dynamic", "litert-int8", "edgetpu",
    "onnx", "onnx-int8", "openvino",
]  # fmt: skip

_SECTION = "quantisation"


class ExportOptions(Options):
    """Write the trained model for use elsewhere, and prove that it answers as before."""

    run: Path = positional("run directory", metavar="RUN", names=("--read-from",))
    format: Annotated[tuple[ExportFormat, ...], BeforeValidator(parse_names)] = option(
        ("litert",),
        "formats, separated by commas: keras, h5, savedmodel, litert, litert-f16, litert-dynamic, "
        "litert-int8, edgetpu, onnx, onnx-int8, openvino",
        section="output",
    )
    out: Path | None = option(
        None, "directory of the bundle, else RUN-bundle; formats are added to one of the same model",
        section="output", names=("--save-to",), metavar="DIR",
    )  # fmt: skip
    overwrite: bool = option(
        False, "replace an earlier bundle, with all its formats", section="output"
    )
    zip: bool = option(
        True, "write the bundle as one file beside it, too: DIR.zip", section="output"
    )
    golden: int = option(
        8, "held-out pictures that go with the bundle, to check it by wherever it is opened; 0 = none",
        section="output", ge=0, le=1000,
    )  # fmt: skip
    contract_pictures: int = option(
        512,
        "held-out pictures whose answers are compared with the model's",
        section="contract",
        ge=1,
    )
    split: Literal["auto", "validation", "test"] = option(
        "auto", "which pictures those are; auto = test where there are some, else validation",
        section="contract",
    )  # fmt: skip
    calibration_pictures: int = option(
        128, "training pictures, of all classes, whose activations set the ranges of int8",
        section=_SECTION, ge=1,
    )  # fmt: skip
    int8_activations: Annotated[Literal[8, 16], BeforeValidator(parse_scalar)] = option(
        8, "bits between the layers of int8 files; with 16 the answers are nearly those of floats, and "
        "LiteRT is slower than with floats", section=_SECTION, metavar="{8,16}",
    )  # fmt: skip
    float_layers: str | None = option(
        None, "regular expression of layers that stay in float in litert-int8; auto = as few of the "
        "worst as keep 99% of the first answers", section=_SECTION, metavar="REGEX|auto",
    )  # fmt: skip
    backend: Backend = option("auto", BACKEND, section="machine")
    threads: int = option(0, THREADS, section="machine", names=("-j", "--workers"), ge=0)

    @model_validator(mode="after")
    def _check_quantisation(self) -> Self:
        if self.float_layers is not None:
            if "litert-int8" not in self.format:
                raise ValueError("--float-layers needs litert-int8 in --format: no other heeds it")
            if self.int8_activations == 16:
                raise ValueError("--float-layers is for 8 bits; leave out --int8-activations 16")
            try:
                re.compile(self.float_layers)
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(
                    f"--float-layers '{self.float_layers}' is no regular expression ({error})"
                ) from None
        if self.int8_activations == 16 and not {"litert-int8", "onnx-int8"} & set(self.format):
            raise ValueError(
                "--int8-activations 16 needs litert-int8 or onnx-int8 in --format: no other heeds it"
            )
        return self

    @property
    def place(self) -> Path:
        """The directory of the bundle: `--out`, or beside the run, also if RUN is a checkpoint of it."""
        if self.out is not None:
            return self.out
        parts = [self.run.absolute().name]
        home = self.run.absolute().parent
        if home.name == "checkpoints":
            parts.insert(0, home.parent.name)
            home = home.parent.parent
        place = home / "-".join([*parts, "bundle"])
        return place if self.run.is_absolute() else Path(os.path.relpath(place))

    def ignored(self) -> list[str]:
        """Return what formats pass over, in sentences."""
        integers = [name for name in self.format if name in ("litert-int8", "onnx-int8", "edgetpu")]
        found = []
        for given, flag, heeded in (
            (self.float_layers is not None, "--float-layers", ("litert-int8",)),
            (self.int8_activations == 16, "--int8-activations 16", ("litert-int8", "onnx-int8")),
        ):
            others = [name for name in integers if name not in heeded]
            if given and others:
                found.append(f"{flag} does nothing to {' and '.join(others)}.")
        return found

    def for_conversion(self) -> dict[str, Any]:
        """Return what the process that converts needs to know: the options about quantisation."""
        fields = type(self).model_fields
        return {
            name: getattr(self, name)
            for name, field in fields.items()
            if isinstance(field.json_schema_extra, dict)
            and field.json_schema_extra.get("section") == _SECTION
        }
