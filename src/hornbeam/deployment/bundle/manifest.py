"""`bundle.json`: all that one must know to ask an artifact, and what was found when it was checked.

clothing/
  bundle.json      this file
  model.tflite …   one file (or folder) per format, see `FORMATS`
  golden/          pictures whose answers are known, checked whenever the bundle is opened
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.data.tasks import Task
from hornbeam.errors import BundleError
from hornbeam.limits import MAX_MANIFEST_BYTES
from hornbeam.storage import write_json

MANIFEST = "bundle.json"
VERSION = 1
"""Of the layout of that file; what a newer one says is not guessed at."""

FORMATS: Mapping[str, str] = {
    "keras": "model.keras",
    "h5": "model.h5",
    "savedmodel": "saved_model",
    "litert": "model.tflite",
    "litert-f16": "model-f16.tflite",
    "litert-dynamic": "model-dynamic.tflite",
    "litert-int8": "model-int8.tflite",
    "edgetpu": "model-edgetpu.tflite",
    "onnx": "model.onnx",
    "onnx-int8": "model-int8.onnx",
    "openvino": "model.xml",
}
"""Formats and the files that they are in."""

IMAGE, FEATURES, UNKNOWN = "image", "features", "unknown"
"""Inputs, and the output beside the tasks: how unlike the known classes a picture is."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output as the artifact's file has it.

    Attributes:
        name: in the file.
        dtype: of NumPy, of what is passed or comes out.
        shape: with `None` where any number will do.
        scale: real value = scale * (stored - zero_point), where it is quantised; else `None`.
        zero_point: see `scale`.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclasses.dataclass(frozen=True)
class Artifact:
    """The model in one format.

    Attributes:
        format: a key of `FORMATS`.
        file: path inside the bundle; of a format of several files, the one that is opened.
        bytes: of all its files.
        sha256: of all its files, in the order of their names.
        inputs: by `image` and, where there are numbers beside the picture, `features`.
        outputs: probabilities by task; and `unknown`, where something tells.
        contract: what was found when its answers were compared with the model's; see
            `contract.checking.Checked`.
        notes: what else there is to say, in sentences.
        golden_tolerance: largest difference of a probability of its own golden answers on another
            machine.
    """

    format: str
    file: str
    bytes: int
    sha256: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    contract: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    golden_tolerance: float = 1e-3


@dataclasses.dataclass(frozen=True)
class Golden:
    """A picture whose answers are known.

    Attributes:
        file: path inside the bundle.
        sha256: of the file.
        features: the numbers beside it.
        expected: what the trained model said: by output, a list of numbers.
        answers: by format, what the artifact said when it was made: by output, a list of numbers.
    """

    file: str
    sha256: str
    features: tuple[float, ...]
    expected: Mapping[str, tuple[float, ...]]
    answers: Mapping[str, Mapping[str, tuple[float, ...]]]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What `bundle.json` says.

    Attributes:
        name: of the bundle, for people.
        created: time, ISO 8601.
        image_size: (height, width, channels) that the artifact takes; 1 = grey, 3 = RGB, 4 = RGBA.
        resize_mode: how pictures get that shape.
        max_pixels: a picture of more is refused.
        preprocess: file inside the bundle of the recipe whose `preprocess` goes before all else, or
            `None`.
        features: names of the numbers beside the picture, in the model's order.
        tasks: what is answered.
        calibration: by task, what was applied to the logits inside the artifact.
        abstain: by task, `{"below": probability or None, "meaning": sentence}`; below it an answer is
            not sure; with `None` no answer is, as what was asked for cannot be promised.
        unknown: `{"above": score, "kind": …, "meaning": …}`, or `None`.
        groups: of classes, as the run had them.
        versions: of what made the bundle.
        fingerprints: `model`, `pictures`: of what it was made of.
        artifacts: by format.
        golden: the golden pictures.
        failed: by format, the contract of what did not pass in the last export; its files end in
            `.failed`, and nothing opens them.
        left_to_do: by format, what remains for the user to do before there is a file, and what is known
            of it, in sentences.
    """

    name: str
    created: str
    image_size: tuple[int, int, int]
    resize_mode: ResizeMode
    max_pixels: int
    preprocess: str | None
    features: tuple[str, ...]
    tasks: tuple[Task, ...]
    calibration: Mapping[str, Any]
    abstain: Mapping[str, Any]
    unknown: Mapping[str, Any] | None
    groups: Mapping[str, Any]
    versions: Mapping[str, str]
    fingerprints: Mapping[str, str]
    artifacts: Mapping[str, Artifact] = dataclasses.field(default_factory=dict)
    golden: tuple[Golden, ...] = ()
    failed: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    left_to_do: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def save(self, directory: Path) -> None:
        """Write `bundle.json`."""
        write_json(
            directory / MANIFEST, {"bundle": VERSION, **in_words(self), **dataclasses.asdict(self)}
        )

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """Read `bundle.json`.

        Raises:
            BundleError: there is none; or it is damaged, of a newer version, or says what cannot be.
        """
        from hornbeam.deployment.bundle.reading import manifest_of, parsed

        path = directory / MANIFEST
        try:
            if path.stat().st_size > MAX_MANIFEST_BYTES:
                raise BundleError(f"it has more than {MAX_MANIFEST_BYTES} bytes")
            return manifest_of(parsed(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            run = shlex.quote(str(directory))
            hint = f" It is a run: hornbeam export {run} --out DIR makes a bundle of it."
            raise BundleError(
                f"{directory} is not a bundle: it has no {MANIFEST}."
                + hint * (directory / "config.yaml").is_file()
            ) from None
        except OSError as error:
            raise BundleError(f"{path} cannot be read ({error.strerror}).") from None
        except BundleError as error:
            raise BundleError(f"{path} cannot be used: {error}.") from None


_RESIZES: Mapping[ResizeMode, str] = {
    "crop": "the largest central part of the aspect ratio, resized",
    "squash": "resized, whatever the aspect ratio",
    "pad": "resized to fit inside, then bars of value 128 on both sides",
}


def in_words(manifest: Manifest) -> dict[str, Any]:
    """Return what a reader needs who asks the artifact without Hornbeam."""
    height, width, channels = manifest.image_size
    return {
        "how_to_ask": {
            "pixels": f"uint8 [batch, {height}, {width}, {channels}], "
            + {1: "grey", 3: "RGB", 4: "RGBA"}[channels],
            "orientation": "upright, turned by EXIF",
            "transparency": "on white" if channels < 4 else "kept",
            "resize": _RESIZES[manifest.resize_mode]
            + "; shrinking is antialiased (average over areas), enlarging bilinear",
            "normalisation": "inside the artifact",
        },
        "answers": f"probabilities by task, {_calibrated(manifest)}; "
        "the activation is inside the artifact",
    }


def calibrated_tasks(manifest: Manifest) -> list[str]:
    """Return the tasks whose probabilities are calibrated; of few pictures nothing was fitted."""
    given = manifest.calibration
    return [
        task.name
        for task in manifest.tasks
        if task.name in given and given[task.name].get("method") != "none"
    ]


def _calibrated(manifest: Manifest) -> str:
    found = calibrated_tasks(manifest)
    if not found:
        return "not calibrated"
    return (
        "calibrated" if len(found) == len(manifest.tasks) else f"calibrated for {', '.join(found)}"
    )
