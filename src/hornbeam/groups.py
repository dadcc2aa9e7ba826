"""Groups of classes, which ask a coarser question: `animal: [cat, dog]`, for all tasks or by task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.errors import ConfigError, did_you_mean

Groups = dict[str, Any]
"""Lists of classes by group; or, by task, dictionaries of those."""


@dataclasses.dataclass(frozen=True)
class Grouping:
    """The groups of one task's classes.

    Attributes:
        names: of the groups, in the order of their first classes.
        group_of: for each class, the index of its group.
    """

    names: tuple[str, ...]
    group_of: tuple[int, ...]


def read_groups(value: Any) -> Groups | None:
    """Return the groups in a YAML file, or those of a dictionary as such a file holds it.

    Raises:
        ValueError: there is no such file, or it has another form; the message is a predicate.
    """
    if value is None:
        return None
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)  # as workers on other machines are told them
        except (ValueError, RecursionError):
            raise ValueError("should be a file of YAML, or its content as JSON") from None
    elif isinstance(value, (str, Path)):
        value = _read_yaml(Path(value))
    if not isinstance(value, Mapping) or not value:
        raise ValueError("should be a file of lines such as 'animal: [cat, dog]'")
    nested = [isinstance(part, Mapping) for part in value.values()]
    if any(nested) and not all(nested):
        raise ValueError("should have groups in all its lines, or tasks, not both")
    if all(nested):
        return {str(task): _lists(groups) for task, groups in value.items()}
    return _lists(value)


def groupings_of(
    groups: Mapping[str, Any] | None, classes: Mapping[str, Sequence[str]]
) -> dict[str, Grouping]:
    """Return the groups of each task that has some; a class in no group is one by itself.

    Args:
        groups: from `read_groups`.
        classes: of each task with one label a picture, by the task's name.

    Raises:
        ConfigError: a task or class is not known, or a class is in two groups.
    """
    if not groups:
        return {}
    by_task = all(isinstance(part, Mapping) for part in groups.values())
    given = dict(groups) if by_task else dict.fromkeys(classes, groups)
    for task in given:
        if task not in classes:
            raise ConfigError(
                f"--groups: there is no task '{task}' with one label a picture."
                f"{did_you_mean(task, classes)}"
            )
    known = {name for task in given for name in classes[task]}
    for task, parts in given.items():
        of_task = set(classes[task]) if by_task else known
        for group, name in _pairs(parts):
            if name not in of_task:
                raise ConfigError(
                    f"--groups: there is no class '{name}' (group '{group}')."
                    f"{did_you_mean(name, of_task)}"
                )
    if not given:
        raise ConfigError("--groups: there is no task with one label a picture.")
    found = {task: _grouping(parts, classes[task]) for task, parts in given.items()}
    return {task: grouping for task, grouping in found.items() if grouping}


def _grouping(groups: Mapping[str, Any], classes: Sequence[str]) -> Grouping | None:
    """Return the groups of one task; `None` where none of its classes is in one."""
    chosen: dict[str, str] = {}
    for group, name in _pairs(groups):
        if name not in classes:
            continue
        if chosen.setdefault(name, group) != group:
            raise ConfigError(
                f"--groups: class '{name}' is in '{chosen[name]}' and in '{group}'; choose one."
            )
    if not chosen:
        return None
    for name in classes:
        if name not in chosen and name in groups:
            raise ConfigError(
                f"--groups: '{name}' is a group, and a class that is in none; call the group otherwise."
            )
    of_class = [chosen.get(name, name) for name in classes]
    names = tuple(dict.fromkeys(of_class))
    return Grouping(names, tuple(names.index(group) for group in of_class))


def _pairs(groups: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((group, name) for group, names in groups.items() for name in names)


def _lists(groups: Mapping[Any, Any]) -> Groups:
    result = {}
    for group, names in groups.items():
        names = names if isinstance(names, (list, tuple)) else [names]
        if not names or not all(isinstance(name, (str, int, float)) for name in names):
            raise ValueError(f"should have a list of classes for each group; '{group}' has none")
        result[str(group)] = [str(name) for name in names]
    return result


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("should be a text file in UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the date 2001-13-45, [[[[…
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"should be a file of YAML; there is a mistake{line}") from None
