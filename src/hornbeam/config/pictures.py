"""Options of the commands about pictures, and of how every command reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, model_validator

from hornbeam.config.cluster import HostsOptions
from hornbeam.config.sentences import (
    DATA,
    MAX_PIXELS,
    NEAR,
    ON_BAD,
    THREADS,
    TOO_MANY_PIXELS,
    OnBad,
)
from hornbeam.options import (
    Data,
    ImageSize,
    Names,
    Options,
    Ratios,
    Share,
    option,
    parse_part,
    positional,
)


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
    max_pixels: int = option(MAX_PIXELS, TOO_MANY_PIXELS, section="data", ge=1)
    threads: int = option(
        0, THREADS, section="machine", names=("-j", "--workers", "--num-preprocess-threads"), ge=0
    )


class SourceOptions(TableOptions):
    """What a dataset is read from, and how."""

    data: Data = positional(DATA, metavar="DATA")


class PipelineOptions(Options):
    """What happens to pictures on their way to the network."""

    resize_mode: Annotated[
        Literal["crop", "squash", "pad"],
        BeforeValidator(lambda value: "squash" if value == "resize" else value),
    ] = option(
        "crop", "how a picture gets the network's shape: cut its centre, change its aspect ratio (also "
        "called resize), or put bars beside it", section="pictures", names=("--preprocess-operation",),
    )  # fmt: skip
    augment: Literal["none", "light", "standard", "strong"] = option(
        "light", "how much training pictures are varied; see `hornbeam augment-preview`",
        section="augmentation", switches={"--jitter": "light", "--no-jitter": "none"},
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
    on_bad: OnBad = option("error", ON_BAD, section="data")

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


class PrepareOptions(HostsOptions, SourceOptions):
    """Write pictures into TFRecord shards, which are read faster than files. Continues what was
    interrupted; does nothing where all is done.
    """  # noqa: D205 - it is the text of `hornbeam prepare --help`

    out: Path = positional("directory of the shards", metavar="OUT", names=("--output-directory",))
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
    on_bad: OnBad = option("error", ON_BAD, section="data")
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
            if self.hosts:
                raise ValueError("--part and --hosts exclude each other; give one")
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
