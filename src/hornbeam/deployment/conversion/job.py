"""What the process that exports is told, and what it says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hornbeam.deployment.bundle.manifest import Tensor
from hornbeam.storage import write_json

DOING = "doing.json"
"""File beside the answers in which the process notes what it does."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be exported.

    Attributes:
        model: `.keras` file: from uint8 pixels (or pixels and features) to probabilities by task.
        recipe: the user's file, whose layers the model may have; `None` if there is none.
        formats: names of `FORMATS`.
        out: directory for the files.
        outputs: names of the model's outputs.
        features: how many numbers there are beside a picture.
        calibration: `.npz` file of training pictures: `image`, uint8 `[n, height, width, channels]`, and
            `features` where there are some; `None` where no format needs it.
        selection: the same of other training pictures, on which ways to quantise are compared. (The
            held-out pictures judge the winner, and must not choose it.)
        options: of the conversions, see `config.ExportOptions`.
        description: what goes into files that hold such: `name`, `version` of Hornbeam, `tasks` (classes
            by task), `calibrated` (tasks that are), `how_to_ask` (of `manifest.in_words`).
    """

    model: str
    recipe: str | None
    formats: tuple[str, ...]
    out: str
    outputs: tuple[str, ...]
    features: int = 0
    calibration: str | None = None
    selection: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    description: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(content[name]) for name in ("formats", "outputs")}
        return cls(**{**content, **lists})


@dataclasses.dataclass(frozen=True)
class Converted:
    """What came of one format.

    Attributes:
        format: its name.
        file: path below the job's `out`.
        inputs: see `manifest.Artifact`.
        outputs: the same.
        notes: what there is to say, in sentences: of layers kept in float, of routes that were tried.
        seconds: that it took.
        error: why there is no file, one sentence; `None` if there is one.
        left_to_do: what remains for the user to do before there is a file, in sentences; `None` if there
            is nothing. Then there is no file, and no error.
    """

    format: str
    file: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    left_to_do: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Converted:
        """Read what `to_json` gave."""

        def tensors(given: Mapping[str, Any]) -> dict[str, Tensor]:
            return {n: Tensor(**{**t, "shape": tuple(t["shape"])}) for n, t in given.items()}

        return cls(**{
            **content, "inputs": tensors(content["inputs"]), "outputs": tensors(content["outputs"]),
            "notes": tuple(content["notes"]),
        })  # fmt: skip
