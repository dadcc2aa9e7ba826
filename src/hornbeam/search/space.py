"""What is searched: parameters with their values, and constants beside them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.options import flag

if TYPE_CHECKING:
    import optuna

OF_RECIPE = "build_model."
"""How the names of the arguments of a recipe's `build_model` begin."""

_MOST_COMBINATIONS = 500
"""Combinations of choices that are checked together."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What is searched of one option, or of one argument of a recipe's `build_model`.

    Attributes:
        name: of the option (`learning_rate`), or `build_model.` and that of the argument.
        choices: its values; empty where it has a range.
        low: least value of a range.
        high: largest value of it, which belongs to it.
        step: between values, from `low` on; `None` of a continuous range.
        log: whether a range is searched by orders of magnitude.
        whole: whether a range is of whole numbers.
        when: choices of earlier parameters with which alone this one is there.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    whole: bool = False
    when: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all: the choices, or both ends."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: optuna.Trial) -> Any:
        """Return the trial's value; an earlier one stays."""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        if self.whole:
            step = 1 if self.log else int(self.step or 1)
            return trial.suggest_int(
                self.name, int(self.low), int(self.high), step=step, log=self.log
            )
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a study remembers it."""
        values = dataclasses.asdict(self)
        return values | {"choices": list(self.choices), "when": dict(self.when)}


@dataclasses.dataclass(frozen=True)
class Space:
    """All that is searched, in the order of the file, and the options that are the same throughout."""

    parameters: tuple[Parameter, ...]
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the values of a trial by name, without those whose condition is not met."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if _is_met(parameter.when, values):
                values[parameter.name] = parameter.suggest(trial)
        return values

    def as_dict(self) -> dict[str, Any]:
        """Return it as a study remembers it."""
        return {
            "parameters": [parameter.as_dict() for parameter in self.parameters],
            "constants": dict(self.constants),
        }


def as_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name as options of `train`, with arguments of `build_model` gathered."""
    options = {name: value for name, value in values.items() if not name.startswith(OF_RECIPE)}
    arguments = {
        name.removeprefix(OF_RECIPE): value
        for name, value in values.items() if name.startswith(OF_RECIPE)
    }  # fmt: skip
    return options | ({"build_model": arguments} if arguments else {})


def merged(given: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a trial: those given for all, and its own values over them."""
    options = as_options(values)
    if "build_model" in options and "build_model" in given:
        options["build_model"] = dict(given["build_model"]) | options["build_model"]
    return dict(given) | options


def check(space: Space, given: Mapping[str, Any], where: str) -> None:
    """Check every end and every choice against `train`'s own types, bounds and rules.

    Args:
        space: to be checked.
        given: options of `train` that all trials share.
        where: what to call it, in the error.

    Raises:
        ConfigError: `train` would refuse some; all problems are told at once.
    """
    first: dict[str, Any] = dict(space.constants)
    problems: dict[str, str] = {}
    TrainOptions(**merged(given, {}))
    for parameter in space.parameters:
        if _is_met(parameter.when, first):
            first[parameter.name] = parameter.ends[0]
    for parameter in space.parameters:
        for value in parameter.ends:
            others = _with_conditions(space, first | dict(parameter.when))
            sentence = _refusal(merged(given, others | {parameter.name: value}))
            if sentence:
                problems.setdefault(sentence, f"{parameter.name}: {sentence}")
    if not problems:
        for values in _combinations(space):
            sentence = _refusal(merged(given, values))
            if sentence:
                told = " and ".join(f"{name}: {value}" for name, value in values.items())
                problems.setdefault(sentence, f"together, {told}: {sentence}")
    if problems:
        text = " ".join(list(problems.values())[:8])
        hint = ""
        if any(" is for " in p or " is not for " in p for p in problems.values()):
            hint = " A parameter that goes with some choices only takes 'when: {option: choice}'."
        raise ConfigError(f"{where}: {text}{hint}")


def _refusal(options: dict[str, Any]) -> str:
    """Return what `train` says against options; nothing where it takes them."""
    try:
        TrainOptions(**options)
    except ConfigError as error:
        return str(error)
    return ""


def _combinations(space: Space) -> Sequence[dict[str, Any]]:
    """Return the combinations of choices, with ranges at their lower ends."""
    every = [p.choices or p.ends[:1] for p in space.parameters]
    found = []
    for values in itertools.islice(itertools.product(*every), _MOST_COMBINATIONS):
        chosen = dict(zip((p.name for p in space.parameters), values, strict=True))
        found.append(_with_conditions(space, dict(space.constants) | chosen))
    return found


def _with_conditions(space: Space, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of those parameters alone whose conditions are met."""
    kept = {name: value for name, value in values.items() if name in space.constants}
    for parameter in space.parameters:
        if parameter.name in values and _is_met(parameter.when, kept | values):
            kept[parameter.name] = values[parameter.name]
    return kept


def _is_met(when: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    def holds(name: str, wanted: Any) -> bool:
        return values.get(name) in (wanted if isinstance(wanted, (list, tuple)) else [wanted])

    return all(holds(name, wanted) for name, wanted in when.items())


def kind_of(name: str) -> Callable[[Any], Any] | None:
    """Return `int` or `float` where an option takes numbers only of that kind; `None` of others."""
    annotation = str(TrainOptions.model_fields[name].annotation)
    if "str" in annotation or "Literal" in annotation or "bool" in annotation:
        return None
    if "tuple" in annotation or "Path" in annotation:
        return None
    return int if "int" in annotation and "float" not in annotation else float


NOT_SEARCHED = {
    **dict.fromkeys(
        ("run", "overwrite", "resume", "resume_anyway", "config"), "says where a training goes"
    ),
    **dict.fromkeys(
        ("data", "validation_data", "validation_fraction", "validation", "validation_steps", "subset",
         "split_column", "group_column", "leave_out_test"),
        "decides which pictures judge, and trials must be judged by the same",
    ),
    "seed": "decides which pictures judge where DATA has no validation split; give one --seed",
    **dict.fromkeys(("monitor", "mode"), "says what trials are compared by"),
}  # fmt: skip
"""Options of `train` that have no place in a search, and why."""


def refuse(name: str) -> str:
    """Return why an option is not searched; nothing where it may be."""
    reason = NOT_SEARCHED.get(name)
    return f"{name}: {flag(name)} {reason}." if reason else ""
