"""Which variable of a file goes where in a network, and what does not fit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.errors import ModelError, listing
from hornbeam.models.restoring.rules import Rules
from hornbeam.models.restoring.tables import WeightFile, times
from hornbeam.models.scopes import HEAD
from hornbeam.patterns import assign

BACKBONE_SCOPE, HEAD_SCOPE = "backbone/", f"{HEAD}/"


@dataclasses.dataclass(frozen=True)
class Place:
    """A variable of ours: its shape, and whether it is a depthwise kernel, or a count."""

    shape: tuple[int, ...]
    depthwise: bool = False
    integer: bool = False


@dataclasses.dataclass(frozen=True)
class Match:
    """What became of each variable of a file and of a network.

    Attributes:
        taken: our path to the name in the file.
        skipped: names that rules skip.
        left_in_file: names that nothing decides about, or whose path we do not have.
        excluded: paths of ours that stay as they are because the user says so.
        left_here: paths of ours that nothing in the file is for.
        conflicts: our path to the name in the file, where the shapes differ.
        torch: whether kernels are laid out as in PyTorch.
        rules: the name of the rules, or an empty string for plain names.
        kept: those of `excluded` that lie before the head, as far as the model was looked at.
    """

    taken: dict[str, str]
    skipped: tuple[str, ...]
    left_in_file: tuple[str, ...]
    excluded: tuple[str, ...]
    left_here: tuple[str, ...]
    conflicts: dict[str, str]
    torch: bool = False
    rules: str = ""
    kept: tuple[str, ...] = ()


def match(
    file: WeightFile,
    places: Mapping[str, Place],
    rules: Rules | None = None,
    exclude: Sequence[str] = (),
) -> Match:
    """Decide which variable of the file goes where.

    Args:
        file: the table of the file.
        places: our variables by path.
        rules: from its names to our paths; without, names are those of our layers.
        exclude: patterns of our paths that stay as they are.

    Raises:
        ConfigError: a pattern or rule is wrong or matches nothing.
    """
    tasks = {path.split("/")[1] for path in places if path.startswith(HEAD_SCOPE)}
    if rules is not None:
        wanted = rules.apply(file.variables, tasks.pop() if len(tasks) == 1 else None)
    else:
        wanted = dict(_plain(list(file.variables), places))
    barred = assign([(pattern, True) for pattern in exclude], list(places), "--restore-exclude")
    excluded = {path for path, bar in zip(places, barred, strict=True) if bar}
    torch = rules is not None and rules.torch
    taken: dict[str, str] = {}
    conflicts: dict[str, str] = {}
    for name, path in wanted.items():
        if path is None or path not in places or path in excluded:
            continue
        shape = _shape_here(file.variables[name].shape, places[path], torch)
        (taken if shape == places[path].shape else conflicts)[path] = name
    skipped = tuple(name for name, path in wanted.items() if path is None)
    meant = set(taken.values()) | set(conflicts.values()) | set(skipped)
    meant |= {name for name, path in wanted.items() if path in excluded}
    return Match(
        taken=taken, skipped=skipped,
        left_in_file=tuple(name for name in file.variables if name not in meant),
        excluded=tuple(path for path in places if path in excluded),
        left_here=tuple(p for p in places if p not in excluded | set(taken) | set(conflicts)),
        conflicts=conflicts, torch=torch, rules=rules.name if rules else "",
    )  # fmt: skip


def _plain(names: Sequence[str], places: Mapping[str, Place]) -> dict[str, str]:
    """Return the paths of names that are those of our layers, as they are or with another first part.

    What is nearest to our path comes first, so that `momentum/Conv1/kernel` of an optimizer is not
    taken where there is `Conv1/kernel`.
    """
    result: dict[str, str] = {}
    taken: set[str] = set()
    for cut, before in product((False, True), ("", BACKBONE_SCOPE, HEAD_SCOPE)):
        for name in names:
            path = before + (name.partition("/")[2] if cut else name)
            if path not in places:  # Keras 2 called the kernels of depthwise convolutions so
                path = re.sub("/depthwise_kernel$", "/kernel", path)
            if name not in result and path in places and path not in taken:
                result[name] = path
                taken.add(path)
    return result


def renumbered(names: Sequence[str]) -> dict[str, str]:
    """Return names with automatic numbers of layers, `conv2d_7/kernel`, counted from zero.

    Keras counts over all networks of a process, and its older versions began at 1.

    Example:
        >>> renumbered(["conv2d_8/kernel", "conv2d_7/kernel"])
        {'conv2d_8/kernel': 'conv2d_1/kernel', 'conv2d_7/kernel': 'conv2d/kernel'}
    """
    layers: dict[tuple[str, str], set[int]] = {}
    split = {name: _AUTOMATIC.fullmatch(name) for name in names}
    for found in filter(None, split.values()):
        layers.setdefault((found[1], found[2]), set()).add(int(found[3] or 0))
    result = {}
    for name, automatic in split.items():
        result[name] = name
        if automatic:
            scope, kind, count, inner = automatic.groups()
            number = sorted(layers[scope, kind]).index(int(count or 0))
            result[name] = f"{scope}{kind}{f'_{number}' if number else ''}/{inner}"
    return result


_AUTOMATIC = re.compile(
    r"((?:[^/]+/)?)((?:depthwise_|separable_)?conv2d|(?:batch_|layer_)?normalization|dense)"
    r"(?:_(\d+))?/([^/]+)"
)


def fit_layout(values: NDArray[Any], place: Place, torch: bool) -> NDArray[Any]:
    """Return an array of a file as our layer holds it.

    Args:
        values: kernels of convolutions are [height, width, in, out], or, with `torch`,
            [out, in, height, width]; those of dense layers [in, out], or [out, in].
        place: where it goes. A 1x1 convolution may become a dense layer, as slim's heads are.
        torch: whether it is laid out as in PyTorch.
    """
    if torch and values.ndim == 4:
        values = values.transpose((2, 3, 0, 1) if place.depthwise else (2, 3, 1, 0))
    elif torch and values.ndim == 2:
        values = values.T
    if values.ndim == 4 and len(place.shape) == 2 and values.shape[:2] == (1, 1):
        values = values[0, 0]
    return values


def _shape_here(shape: tuple[int, ...], place: Place, torch: bool) -> tuple[int, ...]:
    """Return the shape that `fit_layout` gives, without an array."""
    stand_in = np.broadcast_to(np.float32(0), shape)
    return fit_layout(stand_in, place, torch).shape


def require_backbone(matched: Match, file: WeightFile, places: Mapping[str, Place]) -> None:
    """Refuse a match that leaves a part of the backbone without weights that nobody excluded.

    Raises:
        ModelError: variables of the backbone are missing in the file, or have other shapes.
    """
    wanted = [path for path in places if not path.startswith(HEAD_SCOPE)]
    conflicts = [path for path in matched.conflicts if not path.startswith(HEAD_SCOPE)]
    if conflicts:
        path = conflicts[0]
        name = matched.conflicts[path]
        hint = "is it of this architecture and width?"
        place = places[path]
        if _shape_here(file.variables[name].shape, place, not matched.torch) == place.shape:
            layout = "keras" if matched.torch else "torch"
            hint = f"a line '@layout {layout}' among the rules would fit."
        raise ModelError(
            f"{file.path} does not fit the network: '{name}' is {times(file.variables[name].shape)} and "
            f"'{path}' is {times(place.shape)}, with {len(conflicts) - 1} more such; {hint}"
        )
    missing = [path for path in matched.left_here if not path.startswith(HEAD_SCOPE)]
    if missing:
        hint = "is it of this architecture?"
        if matched.rules and matched.left_in_file:
            hint = (
                f"by the rules {matched.rules}, {listing(matched.left_in_file, 3)} in the file lead to "
                "no variable of it (`hornbeam inspect FILE --model NAME --restore-map RULES` shows "
                "where each leads)."
            )
        raise ModelError(
            f"{file.path} lacks {len(missing)} of the {len(wanted)} variables of the network, among "
            f"them {listing(missing, 3)}; {hint} What is to keep its first values goes to "
            "--restore-exclude."
        )
