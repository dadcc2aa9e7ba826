"""The shapes of what is asked and answered, for checks and for the description of the addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SINGLE, BATCH = "image", "images"
"""Fields of JSON and of forms: one picture, several pictures."""

Features = dict[str, Annotated[float, Field(allow_inf_nan=False)]]
"""Numbers beside a picture, by their names."""

FORM, JSON, BYTES = "multipart/form-data", "application/json", "application/octet-stream"
RAW = (BYTES, "image/jpeg", "image/png", "image/webp", "image/*")

LARGEST = 3e38
"""The numbers beside a picture are below; float32 ends a little above."""

HOLDS = 0.5
"""Probability from which on a label of a task with several holds, as in the trained model's figures."""

_Base64 = Annotated[
    str, Field(min_length=1, description="the bytes of a file, in base64; or a `data:` address")
]


class Question(BaseModel):
    """A picture. If it cannot be read, the status is 422."""

    model_config = ConfigDict(extra="forbid")

    image: _Base64
    features: Features | None = Field(
        None, description="numbers beside the picture, by name; `/model` tells which"
    )


class Questions(BaseModel):
    """Several pictures. In the place of one that cannot be read stands its error."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[Question], Field(min_length=1)]


class ClassProbability(BaseModel):
    """A class, and how probable it is."""

    name: str = Field(alias="class")
    probability: float = Field(ge=0, le=1, description="calibrated")


class TaskAnswer(BaseModel):
    """What is said on one task."""

    top: list[ClassProbability] = Field(description="the most probable classes, the best first")
    sure: bool | None = Field(
        description="whether one may rely upon the first; `null` where no threshold was chosen"
    )
    labels: list[str] | None = Field(
        description=f"of a task with several labels, those that hold (probability of {HOLDS} or more), "
        "the most probable first, however many `top` names; `null` where exactly one class is right"
    )


class PictureAnswer(BaseModel):
    """What is said of one picture."""

    file: str | None = Field(description="name of the file, where the request told one")
    tasks: dict[str, TaskAnswer] = Field(description="by task; empty where there is an error")
    unknown: bool | None = Field(
        description="whether the picture is too unlike the known classes; `null` if nothing tells"
    )
    unknown_score: float | None = Field(description="how unlike them it is")
    error: str | None = Field(description="why there is no answer, one sentence")


class Answers(BaseModel):
    """An answer to each picture, in their order."""

    bundle: str = Field(description="who answers: name@digest, see `/model`")
    answers: list[PictureAnswer]


class Problem(BaseModel):
    """Why a request is not answered."""

    error: str = Field(description="one sentence: what is wrong, and what to do")


class Health(BaseModel):
    """The process is alive."""

    status: Literal["alive"]


class Readiness(BaseModel):
    """Whether pictures are answered now."""

    status: Literal["ready", "stopping", "full"]
    bundle: str
    waiting: int = Field(description="pictures that have come and are not answered")


class Task(BaseModel):
    """What is asked of a picture."""

    name: str
    classes: list[str]
    multi_label: bool


class Limits(BaseModel):
    """What a request may have at most."""

    bytes: int
    pictures: int
    pixels: int


class Model(BaseModel):
    """What the bundle says of itself; docs/deployment.md explains its `bundle.json`."""

    bundle: str = Field(description="name@digest of the artifact and all that goes with it")
    name: str
    created: str
    format: str = Field(description="the artifact that is asked")
    sha256: str = Field(description="of the artifact")
    image_size: list[int] = Field(description="height, width, channels that it takes")
    resize_mode: str
    features: list[str] = Field(description="numbers that it takes beside a picture")
    tasks: list[Task]
    groups: dict[str, Any]
    calibration: dict[str, Any]
    abstain: dict[str, Any]
    unknown: dict[str, Any] | None
    contract: dict[str, Any] = Field(description="how its answers compare with the trained model's")
    notes: list[str]
    versions: dict[str, str]
    fingerprints: dict[str, str]
    limits: Limits


class Reloaded(BaseModel):
    """Another bundle serves, or the same one, opened anew."""

    bundle: str
    before: str


def bodies(columns: Sequence[str], max_pictures: int) -> dict[str, Any]:
    """Return what `/predict` takes of one bundle, by media type, in the words of OpenAPI.

    Args:
        columns: names of the numbers beside a picture.
        max_pictures: of a request.
    """
    file = {"type": "string", "format": "binary"}
    binary = {**file, "minLength": 1}
    features = _features(columns)
    question = Question.model_json_schema()
    question["properties"]["image"]["format"] = "byte"
    question["properties"]["features"] = features
    if columns:
        question["required"].append("features")
    questions = Questions.model_json_schema()
    del questions["$defs"]
    questions["properties"][BATCH] |= {"items": question, "maxItems": max_pictures}
    form: dict[str, Any] = {
        "type": "object", "required": [BATCH],
        "properties": {
            BATCH: {"type": "array", "items": file, "minItems": 1, "maxItems": max_pictures}
        },
    }  # fmt: skip
    content: dict[str, Any] = {
        FORM: {"schema": form},
        JSON: {"schema": {"anyOf": [question, questions]}},
    }
    if columns:
        form["required"].append("features")
        form["properties"]["features"] = {
            "type": "array", "items": features, "minItems": 1, "maxItems": max_pictures,
        }  # fmt: skip
        content[FORM]["encoding"] = {"features": {"contentType": JSON}}
    else:
        content |= {kind: {"schema": binary} for kind in RAW}
    return {"required": True, "content": content}


def _features(columns: Sequence[str]) -> dict[str, Any]:
    if not columns:
        return {
            "type": ["object", "null"],
            "maxProperties": 0,
            "description": "this model has none",
        }
    number = {"type": "number", "exclusiveMinimum": -LARGEST, "exclusiveMaximum": LARGEST}
    return {
        "type": "object", "additionalProperties": False, "required": list(columns),
        "properties": dict.fromkeys(columns, number),
    }  # fmt: skip
