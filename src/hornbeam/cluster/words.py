"""Options as the words of a command line, for a process that has no configuration file of ours."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hornbeam.data.remote import is_remote
from hornbeam.options import Options, flag, parse_scalar

_PLACES = ("data", "validation_data", "weights", "restore_map", "out")
"""Options that may name a path, and are no `Path`."""


def words_of(
    options: Options,
    changes: Mapping[str, Any],
    left_out: Collection[str],
    *,
    absolute: bool = True,
) -> list[str]:
    """Return words that mean the same options to `cli.parse`, wherever they are said.

    What was not given is not said. What a configuration file said is said here.

    Args:
        options: any.
        changes: other values of some, by name; `None` leaves one out.
        left_out: names of what was given that are not said, but for those of `changes`.
        absolute: whether paths are made absolute where there is something here; else they stay.
    """
    given = {name: getattr(options, name) for name in type(options).model_fields
             if name in options.model_fields_set}  # fmt: skip
    named, placed = [], []
    for name, value in {**given, **changes}.items():
        if value in (None, ()) or (name in left_out and name not in changes):
            continue
        extra = type(options).model_fields[name].json_schema_extra
        if isinstance(extra, dict) and "positional" in extra:
            placed.append(_word(name, value, absolute))
        elif isinstance(value, bool):
            named.append(flag(name) if value else f"--no-{flag(name)[2:]}")
        else:
            named.append(f"{flag(name)}={_word(name, value, absolute)}")
    return [*named, *placed]


def _word(name: str, value: Any, absolute: bool) -> str:
    if isinstance(value, Path) or (name in _PLACES and not is_remote(value)):
        path = Path(value)
        # `imagenet` is no path, and the prefix of a checkpoint is no file.
        is_path = name not in ("weights", "restore_map") or "/" in str(value) or path.exists()
        return str(path.absolute()) if is_path and absolute else str(value)
    if name == "image_size":
        return "x".join(map(str, value))
    if isinstance(value, dict):  # groups of classes, which `--groups` also takes as they are
        return json.dumps(value)
    if not isinstance(value, tuple):
        return str(value)
    if name == "grid":
        return " ".join(f"{key}={','.join(map(_scalar, choices))}" for key, choices in value)
    between = ":" if name.endswith("phases") else "="
    return ",".join(
        part if isinstance(part, str) else f"{part[0]}{between}{_scalar(part[1])}" for part in value
    )


def _scalar(value: Any) -> str:
    """Return a value as YAML reads it back."""
    return value if isinstance(value, str) and parse_scalar(value) == value else json.dumps(value)
