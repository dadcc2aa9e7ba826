"""The file of a space, and a grid, read into a `Space`; all problems are told at once."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.options import parse_scalar, read_yaml
from hornbeam.recipe import BUILD_NAMES
from hornbeam.search.space import OF_RECIPE, Parameter, Space, kind_of, refuse

_RANGE = ("low", "high", "step", "log", "when")
_CHOICE = ("choices", "when")


def read_space(path: Path, recipe: Path | None) -> Space:
    """Read a space from a YAML file.

    A line is a range (`dropout: {low: 0, high: 0.5}`), choices (`batch_size: [16, 32]`), or a constant
    (`epochs: 5`). `build_model.width`, or `width` alone, is an argument of the recipe's `build_model`.

    Args:
        path: of the file.
        recipe: the user's own file, where there is one.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    content = read_yaml(path, f"--space {path}", f"--space {path}: the file")
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"--space {path}: expected lines such as 'batch_size: [16, 32]'.")
    arguments = arguments_of(recipe)
    parameters, constants, problems = [], {}, []
    for key, value in _flat(content):
        try:
            name = _name(key, arguments, recipe)
            if isinstance(value, (dict, list)):
                parameters.append(_parameter(name, value))
            else:
                constants[name] = parse_scalar(value)
        except ConfigError as error:
            problems.append(str(error))
    names = [p.name for p in parameters]
    for parameter in parameters:
        earlier = {*names[: names.index(parameter.name)], *constants}
        for other in parameter.when:
            if other not in earlier:
                problems.append(
                    f"{parameter.name}: when names '{other}', which should stand above it."
                    f"{did_you_mean(other, earlier)}"
                )
    if not parameters and not problems:
        problems.append("nothing is searched, as there are only constants.")
    if problems:
        raise ConfigError(f"--space {path}: {' '.join(problems)}")
    return Space(tuple(parameters), constants)


def grid_space(grid: Sequence[tuple[str, Sequence[Any]]], recipe: Path | None) -> Space:
    """Return the space of `--grid`: choices only.

    Raises:
        ConfigError: a name is none of an option or of an argument of `build_model`.
    """
    arguments = arguments_of(recipe)
    try:
        parameters = tuple(
            _parameter(_name(name, arguments, recipe), list(values)) for name, values in grid
        )
    except ConfigError as error:
        raise ConfigError(f"--grid: {error}") from None
    if len({p.name for p in parameters}) < len(parameters):
        raise ConfigError("--grid names a parameter twice.")
    return Space(parameters)


def arguments_of(recipe: Path | None) -> tuple[str, ...] | None:
    """Return the names of the arguments of a recipe's `build_model`, without running the file.

    `None` where that cannot be told: there is none, it comes from elsewhere, or it takes any.
    """
    if recipe is None:
        return None
    try:
        tree = ast.parse(recipe.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None  # `train` has the sentence for it
    for wanted in BUILD_NAMES:
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == wanted:
                if node.args.kwarg:
                    return None
                named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                ours = ("input_shape", "targets", "features")
                return tuple(a.arg for a in named if a.arg not in ours)
    return None


def _flat(content: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    """Yield the lines, with those under `build_model:` named in full."""
    for key, value in content.items():
        name = str(key).strip().replace("-", "_")
        if name == "build_model" and isinstance(value, dict):
            yield from ((f"{OF_RECIPE}{inner}", given) for inner, given in value.items())
        else:
            yield name, value


def _name(name: str, arguments: tuple[str, ...] | None, recipe: Path | None) -> str:
    """Return the full name of what a line is about, once it is known to be there."""
    options = TrainOptions.model_fields
    short = name.removeprefix(OF_RECIPE)
    if name.startswith(OF_RECIPE) or (name not in options and name in (arguments or ())):
        if recipe is None:
            raise ConfigError(f"{name}: this is for a recipe with build_model: --recipe FILE.")
        if arguments is not None and short not in arguments:
            raise ConfigError(
                f"{name}: build_model() of {recipe} takes {', '.join(arguments) or 'nothing such'}."
                f"{did_you_mean(short, arguments)}"
            )
        return OF_RECIPE + short
    if name not in options:
        known = [*options, *(arguments or ())]
        raise ConfigError(f"{name}: train has no such option.{did_you_mean(name, known)}")
    reason = refuse(name)
    if reason:
        raise ConfigError(reason)
    return name


def _parameter(name: str, value: Any) -> Parameter:
    """Return the parameter of one line.

    Raises:
        ConfigError: it is no range and no choices.
    """
    if isinstance(value, list):
        value = {"choices": value}
    known = _CHOICE if "choices" in value else _RANGE
    for key in value:
        if key not in known:
            near = did_you_mean(str(key), known)
            raise ConfigError(f"{name}: there is no '{key}' here, but {', '.join(known)}.{near}")
    when = value.get("when", {})
    if not isinstance(when, dict):
        raise ConfigError(f"{name}: when should be as in 'when: {{optimizer: momentum}}'.")
    when = {str(key).replace("-", "_"): wanted for key, wanted in when.items()}
    if "choices" in value:
        choices = value["choices"]
        if not isinstance(choices, list) or not choices:
            raise ConfigError(f"{name}: choices should be a list, as in [16, 32].")
        if any(isinstance(choice, (dict, list)) for choice in choices):
            raise ConfigError(
                f"{name}: a choice should be one word or number, as on the command line ('224x160')."
            )
        choices = tuple(map(parse_scalar, choices))
        if len({(type(choice), choice) for choice in choices}) < len(choices):
            raise ConfigError(f"{name}: a choice stands there twice.")
        return Parameter(name, choices=choices, when=when)
    return _range(name, value, when)


def _range(name: str, value: Mapping[str, Any], when: Mapping[str, Any]) -> Parameter:
    numbers = {key: parse_scalar(value[key]) for key in ("low", "high", "step") if key in value}
    if not {"low", "high"} <= numbers.keys():
        raise ConfigError(f"{name}: expected low and high, or a list of choices.")
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ConfigError(f"{name}: {key} should be a number (got {number!r}).")
        if not abs(number) <= sys.float_info.max:  # nor is NaN
            raise ConfigError(f"{name}: {key} should be a finite number (got {str(number)[:40]}).")
    low, high, step = numbers["low"], numbers["high"], numbers.get("step")
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{name}: log should be true or false (got {log!r}).")
    if name.startswith(OF_RECIPE):
        whole = all(isinstance(number, int) for number in numbers.values())
    else:
        kind = kind_of(name)
        if kind is None:
            raise ConfigError(f"{name}: this option has no range; give a list of choices.")
        whole = kind is int
    if whole and any(number != int(number) for number in numbers.values()):
        raise ConfigError(f"{name}: expected whole numbers.")
    if low >= high:
        raise ConfigError(f"{name}: low should be below high (got {low} and {high}).")
    if log and low <= 0:
        raise ConfigError(f"{name}: with log, low should be above 0 (got {low}).")
    if log and step is not None:
        raise ConfigError(f"{name}: log and step exclude each other; give one.")
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f"{name}: step should be above 0 and at most {high - low} (got {step}).")
    cast = int if whole else float
    return Parameter(
        name, low=cast(low), high=cast(high), step=None if step is None else cast(step), log=log,
        whole=whole, when=when,
    )  # fmt: skip
