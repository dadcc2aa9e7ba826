"""`bundle.json` of a stranger: types, bounds and names are checked before anything is believed.

Fields that this version does not know are passed over; whatever else is wrong is one sentence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast, get_args

from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import (
    FEATURES,
    FORMATS,
    IMAGE,
    UNKNOWN,
    VERSION,
    Artifact,
    Golden,
    Manifest,
    Tensor,
)
from hornbeam.deployment.bundle.paths import why_unsafe
from hornbeam.errors import BundleError

T = TypeVar("T")

_SIDE = 8192
_LONGEST = 10_000
"""Characters of a text."""

_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of characters, which nothing can print."""

_MANY = 1_000_000
"""Classes, columns, or golden pictures."""

_DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")


def parsed(content: bytes) -> object:
    """Return the values in JSON.

    Raises:
        BundleError: it is none.
    """
    try:
        return json.loads(content, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        words = " ".join(str(error).split())
        raise BundleError(f"it is no JSON ({type(error).__name__}: {words[:200]})") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):  # 1e999; also where nothing else looks, as in a contract
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def manifest_of(content: object) -> Manifest:
    """Return what a parsed `bundle.json` says.

    Raises:
        BundleError: it says what cannot be; the sentence begins with the place.
    """
    given = _object(content, "it")
    version = _whole(given.get("bundle"), "bundle", 1, 2**31)
    if version > VERSION:
        raise BundleError(f"it is of layout {version}, and this Hornbeam reads up to {VERSION}")
    size = _listed(given.get("image_size"), "image_size", lambda v, at: _whole(v, at, 1, _SIDE))
    if len(size) != 3 or size[2] not in (1, 3, 4):
        raise BundleError(f"image_size is {list(size)}; expected [height, width, 1, 3 or 4]")
    resize_mode = given.get("resize_mode")
    if resize_mode not in get_args(ResizeMode):
        raise BundleError(f"resize_mode is {_shown(resize_mode)}; expected crop, squash or pad")
    tasks = _listed(given.get("tasks"), "tasks", _task)
    if not tasks or len({task.name for task in tasks}) != len(tasks):
        raise BundleError("tasks should be one or more, of different names")
    features = _listed(given.get("features"), "features", _text)
    preprocess = given.get("preprocess")
    manifest = Manifest(
        name=_text(given.get("name"), "name"),
        created=_text(given.get("created"), "created"),
        image_size=(size[0], size[1], size[2]),
        resize_mode=cast(ResizeMode, resize_mode),
        max_pixels=_whole(given.get("max_pixels"), "max_pixels", 1, 2**40),
        preprocess=None if preprocess is None else _path(preprocess, "preprocess"),
        features=features,
        tasks=tasks,
        calibration=_object(given.get("calibration"), "calibration"),
        abstain=_named(given.get("abstain"), "abstain", _abstain),
        unknown=_unknown(given.get("unknown")),
        groups=_object(given.get("groups"), "groups"),
        versions=_named(given.get("versions"), "versions", _text),
        fingerprints=_named(given.get("fingerprints"), "fingerprints", _text),
        artifacts=_named(given.get("artifacts"), "artifacts", _artifact),
        golden=_listed(given.get("golden"), "golden", _golden),
        failed=_named(given.get("failed", {}), "failed", _object),
        left_to_do=_named(given.get("left_to_do", {}), "left_to_do", _texts),
    )
    _check_together(manifest)
    return manifest


def _check_together(manifest: Manifest) -> None:
    """Check that the parts fit: outputs of artifacts are the tasks, golden answers of their sizes."""
    sizes = {task.name: len(task.classes) for task in manifest.tasks}
    if stray := sorted(set(manifest.abstain) - set(sizes)):
        raise BundleError(f"abstain names {stray[0]!r}, which is no task")
    if manifest.unknown is not None:
        if UNKNOWN in sizes:
            raise BundleError(f"there is a task called {UNKNOWN!r}, and an unknown score")
        sizes[UNKNOWN] = 1
    inputs = {IMAGE} | ({FEATURES} if manifest.features else set())
    for name, artifact in manifest.artifacts.items():
        at = f"artifacts.{name}"
        if name not in FORMATS or artifact.format != name:
            raise BundleError(f"{at} is of a format that this Hornbeam does not know")
        if set(artifact.inputs) != inputs or set(artifact.outputs) != set(sizes):
            raise BundleError(f"{at} has other inputs or outputs than the bundle's tasks ask for")
    for place, golden in enumerate(manifest.golden):
        for said in (golden.expected, *golden.answers.values()):
            if {output: len(values) for output, values in said.items()} != sizes:
                raise BundleError(
                    f"golden[{place}] has answers of other tasks or numbers of classes"
                )
        if len(golden.features) != len(manifest.features):
            raise BundleError(f"golden[{place}] has {len(golden.features)} features")


def _task(value: object, at: str) -> Task:
    given = _object(value, at)
    classes = _listed(given.get("classes"), f"{at}.classes", _text)
    if not classes or len(set(classes)) != len(classes):
        raise BundleError(f"{at}.classes should be one or more different names")
    return Task(
        _text(given.get("name"), f"{at}.name"), classes,
        _boolean(given.get("multi_label"), f"{at}.multi_label"),
    )  # fmt: skip


def _abstain(value: object, at: str) -> dict[str, Any]:
    given = _object(value, at)
    if "below" not in given:
        raise BundleError(
            f"{at}.below is missing; expected a probability, or null: no answer is sure"
        )
    below = given["below"]
    return {
        **given, "below": None if below is None else _number(below, f"{at}.below", 0, 1.001),
        "meaning": _text(given.get("meaning", ""), f"{at}.meaning"),
    }  # fmt: skip


def _unknown(value: object) -> dict[str, Any] | None:
    if value is None:
        return None
    given = _object(value, "unknown")
    return {
        **given, "above": _number(given.get("above"), "unknown.above"),
        "meaning": _text(given.get("meaning", ""), "unknown.meaning"),
        "kind": _text(given.get("kind", ""), "unknown.kind"),
    }  # fmt: skip


def _artifact(value: object, at: str) -> Artifact:
    given = _object(value, at)
    return Artifact(
        format=_text(given.get("format"), f"{at}.format"),
        file=_path(given.get("file"), f"{at}.file"),
        bytes=_whole(given.get("bytes"), f"{at}.bytes", 0, 2**50),
        sha256=_digest(given.get("sha256"), f"{at}.sha256"),
        inputs=_named(given.get("inputs"), f"{at}.inputs", _tensor),
        outputs=_named(given.get("outputs"), f"{at}.outputs", _tensor),
        contract=_object(given.get("contract", {}), f"{at}.contract"),
        notes=_listed(given.get("notes", []), f"{at}.notes", _text),
        golden_tolerance=_number(
            given.get("golden_tolerance", 1e-3), f"{at}.golden_tolerance", 0, 1
        ),
    )


def _tensor(value: object, at: str) -> Tensor:
    given = _object(value, at)
    if given.get("dtype") not in _DTYPES:
        raise BundleError(
            f"{at}.dtype is {_shown(given.get('dtype'))}; expected {', '.join(_DTYPES)}"
        )
    scale, zero = given.get("scale"), given.get("zero_point")
    if (scale is None) != (zero is None):
        raise BundleError(f"{at} has one of scale and zero_point; expected both or neither")
    return Tensor(
        name=_text(given.get("name"), f"{at}.name"),
        dtype=str(given["dtype"]),
        shape=_listed(given.get("shape"), f"{at}.shape", _side),
        scale=None if scale is None else _number(scale, f"{at}.scale", 1e-30, 1e30),
        zero_point=None if zero is None else _whole(zero, f"{at}.zero_point", -(2**31), 2**31),
    )


def _side(value: object, at: str) -> int | None:
    return None if value is None else _whole(value, at, 1, _MANY)


def _golden(value: object, at: str) -> Golden:
    given = _object(value, at)

    def answers(value: object, at: str) -> dict[str, tuple[float, ...]]:
        return _named(value, at, lambda v, at: _listed(v, at, _number))

    return Golden(
        file=_path(given.get("file"), f"{at}.file"),
        sha256=_digest(given.get("sha256"), f"{at}.sha256"),
        features=_listed(given.get("features"), f"{at}.features", _number),
        expected=answers(given.get("expected"), f"{at}.expected"),
        answers=_named(given.get("answers"), f"{at}.answers", answers),
    )


def _object(value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _unexpected(value, at, "an object")
    return dict(value)


def _named(value: object, at: str, read: Callable[[object, str], T]) -> dict[str, T]:
    return {name: read(each, f"{at}.{name[:80]}") for name, each in _object(value, at).items()}


def _listed(value: object, at: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
    if not isinstance(value, list) or len(value) > _MANY:
        raise _unexpected(value, at, "a list")
    return tuple(read(each, f"{at}[{place}]") for place, each in enumerate(value))


def _text(value: object, at: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or _SURROGATES.search(value):
        raise _unexpected(value, at, "a text")
    return value


def _texts(value: object, at: str) -> tuple[str, ...]:
    return _listed(value, at, _text)


def _boolean(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise _unexpected(value, at, "true or false")
    return value


def _number(value: object, at: str, low: float = -math.inf, high: float = math.inf) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number) or not low <= number <= high:
        bounds = "" if math.isinf(low) else f" from {low:g} to {high:g}"
        raise _unexpected(value, at, f"a finite number{bounds}")
    return number


def _whole(value: object, at: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _unexpected(value, at, f"a whole number from {low} to {high}")
    return value


def _digest(value: object, at: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise _unexpected(value, at, "a SHA-256 in hexadecimal digits")
    return value


def _path(value: object, at: str) -> str:
    name = _text(value, at)
    reason = why_unsafe(name)
    if reason:
        raise BundleError(f"{at} is {_shown(name)}, which is refused: {reason}")
    return name


def _unexpected(value: object, at: str, expected: str) -> BundleError:
    return BundleError(f"{at} is {_shown(value)}; expected {expected}")


def _shown(value: object) -> str:
    if value is None:
        return "missing"
    text = (
        ascii(value) if isinstance(value, str | int | float | bool) else f"a {type(value).__name__}"
    )
    return text if len(text) <= 60 else f"{text[:57]}…"
