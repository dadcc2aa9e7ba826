"""What an option is: how `config/` declares it, how words become values, what wrong ones are told."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from hornbeam.durations import Duration
from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.patterns import parse_rates, split_patterns


def option(
    default: Any,
    sentence: str,
    *,
    section: str,
    names: Sequence[str] = (),
    seconds: Sequence[str] = (),
    switches: Mapping[str, str] | None = None,
    metavar: str = "",
    **bounds: Any,
) -> Any:
    """Declare an option.

    Args:
        default: its value when nobody says otherwise; `...` makes it required.
        sentence: what `--help` says about it.
        section: the heading of `--help` that it stands under.
        names: further names on the command line, those of older projects and of other tools.
        seconds: names under which a `Rhythm` is a plain number of seconds.
        switches: names without a value, and the value that each stands for.
        metavar: what `--help` calls its value; else what its type suggests.
        **bounds: `ge`, `gt`, `le`, `lt` as in pydantic.
    """
    extra: dict[str, Any] = {
        "section": section, "names": list(names), "seconds": list(seconds), "metavar": metavar,
        "switches": dict(switches or {}),
    }  # fmt: skip
    return Field(default, description=sentence, json_schema_extra=extra, **bounds)


def positional(
    sentence: str, default: Any = ..., metavar: str = "", names: Sequence[str] = ()
) -> Any:
    """Declare an argument that is given by its place, or by one of `names`."""
    extra: dict[str, Any] = {
        "section": "arguments", "positional": True, "metavar": metavar, "names": list(names),
    }  # fmt: skip
    return Field(default, description=sentence, json_schema_extra=extra)


def _parse_image_size(value: Any) -> Any:
    """Return (height, width, channels) of `224`, `224x160`, `224x160x1` or a sequence of those."""
    if isinstance(value, int):
        return (value, value, 3)
    if isinstance(value, str):
        sides = value.strip("[]() ").lower().replace("x", ",").split(",")
        if not (1 <= len(sides) <= 3 and all(side.strip().isdecimal() for side in sides)):
            raise ValueError("should be a number of pixels, HEIGHTxWIDTH, or HEIGHTxWIDTHxCHANNELS")
        value = tuple(int(side) for side in sides)
        if len(value) == 1:
            value *= 2
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return (*value, 3)
    return value


def _parse_location(value: Any) -> Any:
    """Return a path of any kind as a string."""
    return str(value) if isinstance(value, Path) else value


def _parse_ratios(value: Any) -> Any:
    """Return (train, validation, test) of `0.8,0.1,0.1`; without the third, test is 0."""
    if isinstance(value, str):
        try:
            value = tuple(float(part) for part in value.split(","))
        except ValueError:
            raise ValueError("should be numbers, as in 0.8,0.1,0.1") from None
    if isinstance(value, (tuple, list)) and len(value) == 2:
        value = (*value, 0.0)
    return value


def parse_part(value: str) -> tuple[int, int]:
    """Return which part `i/n` is, from 0, and of how many."""
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ValueError(f"--part should be i/n with 1 <= i <= n, as in 2/4 (got '{value}')")
    return int(index) - 1, int(count)


def parse_names(value: Any) -> Any:
    """Return the names in `a,b` as a tuple."""
    return tuple(filter(None, value.split(","))) if isinstance(value, str) else value


def _parse_patterns(value: Any) -> Any:
    """Return the patterns in `a,b` as a tuple."""
    return tuple(split_patterns(value)) if isinstance(value, str) else value


def _parse_rates(value: Any) -> Any:
    """Return the pairs in `pattern=number,…` as a tuple; a mapping, from YAML, is one too."""
    if isinstance(value, str):
        return parse_rates(value)
    return tuple(value.items()) if isinstance(value, dict) else value


def _parse_phases(value: Any) -> Any:
    """Return the pairs in `rate:steps,…` as a tuple."""
    if not isinstance(value, str):
        return value
    try:
        pairs = [part.split(":") for part in value.split(",")]
        return tuple((float(rate), int(steps)) for rate, steps in pairs)
    except ValueError:
        raise ValueError("should be RATE:STEPS,…, as in 0.1:1000,0.01:1000") from None


def _parse_rhythm(value: Any) -> Any:
    """Return a duration in its one spelling; a number alone is of steps."""
    return value if value is None else str(Duration.parse(value))


def _parse_time(value: Any) -> Any:
    """Return a duration in its one spelling; a number alone is of seconds.

    Raises:
        ValueError: it is not of time.
    """
    if value is None:
        return value
    duration = Duration.parse(value, bare="seconds")
    if duration.unit != "seconds":
        raise ValueError("should be a time: 30s, 10min or 2h")
    return str(duration)


def _parse_subset(value: Any) -> Any:
    """Return `0.1` as a share, `100` as a number of pictures."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return value
    return int(number) if number.is_integer() else number


def _parse_count(value: Any) -> Any:
    """Return `1e6` as the whole number that it is; `1.55e1` is none."""
    try:
        number = float(value) if isinstance(value, str) and "e" in value.lower() else math.nan
    except ValueError:
        return value
    return int(number) if number.is_integer() else value


def parse_scalar(text: Any) -> Any:
    """Return what a word means in YAML: a number, true, null, or itself; and 1e-4 is a number, too."""
    import yaml

    if not isinstance(text, str):
        return text
    try:
        value = yaml.safe_load(text)
        if isinstance(value, str) and re.fullmatch(r"[-+]?[\d.]+e[-+]?\d+", value, re.IGNORECASE):
            return float(value)
    except (yaml.YAMLError, ValueError, RecursionError):  # 2001-13-45, 1.2.3e4, [[[[…
        return text
    return value if isinstance(value, (bool, int, float, str)) or value is None else text


def _parse_arguments(value: Any) -> Any:
    """Return the pairs in `name=value,…` as a tuple; a mapping, from YAML, is one too."""
    if isinstance(value, dict):
        return tuple((name, parse_scalar(given)) for name, given in value.items())
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(equals and name.strip().isidentifier() for name, equals, _ in pairs):
        raise ValueError("should be NAME=VALUE,…, as in width=32,depth=3")
    return tuple((name.strip(), parse_scalar(given)) for name, _, given in pairs)


def _parse_grid(value: Any) -> Any:
    """Return names and values in `name=a,b,… name=c,d` as a tuple; a mapping of lists is one too."""
    if isinstance(value, dict):
        return tuple(
            (name, tuple(map(parse_scalar, given if isinstance(given, (list, tuple)) else [given])))
            for name, given in value.items()
        )
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in re.split(r"[;\s]+", value) if part]
    if not parts or not all(name and given.strip(",") for name, _, given in parts):
        raise ValueError("should be NAME=VALUE,VALUE,…, as in width=0.25,0.5,1.0")
    return tuple(
        (name.replace("-", "_"), tuple(parse_scalar(word) for word in given.split(",") if word))
        for name, _, given in parts
    )


Side = Annotated[int, Field(ge=8, le=8192)]
Channels = Literal[1, 3, 4]
ImageSize = Annotated[tuple[Side, Side, Channels], BeforeValidator(_parse_image_size)]
Names = Annotated[tuple[str, ...], BeforeValidator(parse_names)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_parse_patterns)]
Rates = Annotated[tuple[tuple[str, float], ...], BeforeValidator(_parse_rates)]
Phase = tuple[Annotated[float, Field(gt=0)], Annotated[int, Field(ge=1)]]
Phases = Annotated[tuple[Phase, ...], BeforeValidator(_parse_phases)]
Share = Annotated[float, Field(ge=0, le=1)]
Ratios = Annotated[tuple[Share, Share, Share], BeforeValidator(_parse_ratios)]
Rhythm = Annotated[str, BeforeValidator(_parse_rhythm)]
Time = Annotated[str, BeforeValidator(_parse_time)]
Count = Annotated[int, BeforeValidator(_parse_count)]
Subset = Annotated[float, BeforeValidator(_parse_subset)]
Data = Annotated[str, BeforeValidator(_parse_location)]
Scalar = bool | int | float | str | None
Arguments = Annotated[tuple[tuple[str, Scalar], ...], BeforeValidator(_parse_arguments)]
Grid = Annotated[tuple[tuple[str, tuple[Scalar, ...]], ...], BeforeValidator(_parse_grid)]


class Options(BaseModel):
    """Base of all options: checked whole, immutable, all problems told at once."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, defer_build=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except pydantic.ValidationError as error:
            problems = [_sentence(problem, type(self)) for problem in error.errors()]
            told = "; ".join(problems)
            raise ConfigError(told if told.endswith("?") else told + ".") from None


def flag(field: str) -> str:
    """Return the command-line name of an option: `batch_size` → `--batch-size`."""
    return "--" + field.replace("_", "-")


def shown_default(field: FieldInfo) -> str:
    """Return the default of an option as one would type it; empty where there is nothing to say."""
    default = field.default
    if field.is_required() or default is None or default is False or default == ():
        return ""
    if not isinstance(default, tuple):
        return str(default)
    # 160x160x3 is one size; 1,8,32 are three numbers.
    return ("x" if default[-1] in choices_of(Channels) else ",").join(map(str, default))


def choices_of(annotation: Any) -> tuple[str, ...]:
    """Return the values that an option of type `Literal` takes, or nothing for other types."""
    return annotation.__args__ if getattr(annotation, "__origin__", None) is Literal else ()


def read_yaml(path: Path, where: str, what: str) -> Any:
    """Read a YAML file of the user's.

    Args:
        path: of the file.
        where: what a sentence about a place in it begins with.
        what: what a sentence about the whole file begins with.

    Raises:
        ConfigError: the file is missing, or no YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} cannot be read ({error}).") from None
    except (ValueError, RecursionError) as error:  # the date 2001-13-45, [[[[…
        raise ConfigError(f"{where}: this is not YAML that can be used ({error}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: this is not YAML.") from None


def read_config_file(path: Path, options: type[Options]) -> dict[str, Any]:
    """Read options from a YAML file, with their names in either spelling, `-` or `_`.

    Raises:
        ConfigError: the file is missing, is no YAML, or names an option that there is not.
    """
    content = read_yaml(path, str(path), f"The configuration file {path}") or {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected lines such as 'batch_size: 64'.")
    values = {str(name).replace("-", "_"): value for name, value in content.items()}
    for name in values:
        if name not in options.model_fields:
            raise ConfigError(
                f"{path}: there is no option '{name}'.{did_you_mean(name, options.model_fields)}"
            )
    return values


def _sentence(problem: Any, options: type[Options]) -> str:
    """Say in our words what pydantic found."""
    field = str(problem["loc"][0]) if problem["loc"] else ""
    if not field:
        return str(problem["ctx"]["error"])
    info = options.model_fields.get(field)
    if info is None:
        return f"there is no option '{field}'.{did_you_mean(field, options.model_fields)}".strip(
            "."
        )
    extra = info.json_schema_extra
    is_positional = isinstance(extra, dict) and "positional" in extra
    name = str(extra["metavar"]) if isinstance(extra, dict) and is_positional else flag(field)
    if problem["type"] == "missing":
        return f"{name} is missing: {info.description}"
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']} (got {problem['input']!r})"
    if field == "image_size" and problem["type"] == "literal_error":
        return f"{name} takes 1, 3 or 4 channels (got {problem['input']!r})"
    message = str(problem["msg"]).removeprefix("Input ").split(", unable")[0]
    hint = ""
    if problem["type"] == "literal_error":
        choices = re.findall("'([^']*)'", problem["ctx"]["expected"])
        hint = did_you_mean(str(problem["input"]), choices).rstrip("?")
        hint = f";{hint.lower()}?" if hint else ""
    return f"{name} {message} (got {problem['input']!r}){hint}"
