r"""Rules that turn the names of variables in a file into ours.

A file of rules has one rule a line, of which the first that matches a name decides about it:

    # MobileNet v2 of TF-slim
    @network mobilenet_v2(_\d+)?
    MobilenetV2/Conv/weights            = backbone/Conv1/kernel
    MobilenetV2/expanded_conv_(\d+)/project/weights = backbone/block_\1_project/kernel
    .*/RMSProp(_1)?                    ?= skip

On the left is a regular expression for a whole name. On the right is our path, in which `\1` stands
for the first group and `{1+1}` for the number in it plus one, and `{task}` for the only task; or
`same`, where the name is our path; or `skip`. A rule that matches nothing is an error, but for `?=`.
Lines with `@` say what the file is for: `@network` the networks that compute what such weights were
trained for, as a regular expression; `@layout torch` that kernels are [out, in, height, width];
`@note` what to know about it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.patterns import compile_pattern

OPTION = "--restore-map"

_SHIPPED = Path(__file__).parent / "rules"


@dataclasses.dataclass(frozen=True)
class Rule:
    """A line: names that match `pattern` become `target`, which may be `same` or `skip`."""

    pattern: re.Pattern[str]
    target: str
    optional: bool
    line: int


@dataclasses.dataclass(frozen=True)
class Rules:
    """A file of rules.

    Attributes:
        name: of the shipped file, or the path of the user's.
        rules: in order.
        network: pattern of the names of networks that it is for; `None` is any.
        torch: whether kernels are laid out as in PyTorch.
        note: what to know about it.
    """

    name: str
    rules: tuple[Rule, ...]
    network: re.Pattern[str] | None = None
    torch: bool = False
    note: str = ""

    def apply(self, names: Iterable[str], task: str | None) -> dict[str, str | None]:
        """Return our path for each name that a rule decides about; `None` where it is skipped.

        Args:
            names: in the file.
            task: what stands for `{task}`; without one, a name that needs it is skipped.

        Raises:
            ConfigError: a rule matches no name, or two names become one.
        """
        result, used = self._decide(names, task)
        for rule in self.rules:
            if not rule.optional and rule not in used:
                raise ConfigError(self._unused(rule, names))
        taken: dict[str, str] = {}
        for name, path in result.items():
            if path is not None and path in taken:
                raise ConfigError(
                    f"{OPTION} {self.name}: both '{taken[path]}' and '{name}' become '{path}'."
                )
            if path is not None:
                taken[path] = name
        return result

    def rest(self, names: Iterable[str]) -> list[str] | None:
        """Return the names that no rule decides about; `None` where a rule that must match does not."""
        result, used = self._decide(names, None)
        if not all(rule.optional or rule in used for rule in self.rules):
            return None
        return [name for name in names if name not in result]

    def _decide(
        self, names: Iterable[str], task: str | None
    ) -> tuple[dict[str, str | None], set[Rule]]:
        result: dict[str, str | None] = {}
        used = set()
        for name in names:
            for rule in self.rules:
                found = rule.pattern.fullmatch(name)
                if found:
                    used.add(rule)
                    try:
                        result[name] = _expand(rule.target, found, task)
                    except (TypeError, ValueError):
                        raise ConfigError(
                            f"{OPTION} {self.name}, line {rule.line}: '{rule.target}' counts on from a "
                            f"group, which of '{name}' is no number."
                        ) from None
                    break
        return result, used

    def _unused(self, rule: Rule, names: Iterable[str]) -> str:
        where = f"{OPTION} {self.name}, line {rule.line}"
        if any(rule.pattern.fullmatch(name) for name in names):
            return (
                f"{where}: all that '{rule.pattern.pattern}' matches was decided by lines before it; "
                "the first match counts."
            )
        near = did_you_mean(rule.pattern.pattern, names)
        return (
            f"{where}: '{rule.pattern.pattern}' matches no name in the file.{near} `hornbeam inspect` "
            "lists them; '?=' in place of '=' allows it."
        )


def _expand(target: str, found: re.Match[str], task: str | None) -> str | None:
    if target == "skip" or ("{task}" in target and task is None):
        return None
    if target == "same":
        return found[0]
    target = target.replace("{task}", str(task).replace("\\", r"\\"))
    target = re.sub(
        r"\{(\d+)([+-]\d+)\}", lambda part: str(int(found[int(part[1])]) + int(part[2])), target
    )
    return found.expand(target)


def load_rules(name: str) -> Rules:
    """Return the rules of a file, or those shipped under a name.

    Raises:
        ConfigError: there is no such file, or a line of it is wrong.
    """
    names = shipped_names()
    if name in names:
        return _parse(name, (_SHIPPED / f"{name}.rules").read_text(encoding="utf-8"))
    path = Path(name)
    try:
        return _parse(name, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(f"{OPTION} {name} is no text file.") from None
    except OSError:
        near = did_you_mean(path.name, names)
        raise ConfigError(
            f"{OPTION} {name}: there is no such file.{near} Shipped are {', '.join(names)}."
        ) from None


def shipped_names() -> list[str]:
    """Return the names of the rule files that come with Hornbeam."""
    return sorted(path.stem for path in _SHIPPED.glob("*.rules"))


def find_fitting(names: Iterable[str]) -> tuple[Rules, list[str]] | None:
    """Return the shipped rules that all match, with the names left over, which should be none."""
    fitting = []
    for shipped in shipped_names():
        rules = load_rules(shipped)
        rest = rules.rest(names)
        if rest is not None:
            fitting.append((rules, rest))
    return min(fitting, key=lambda pair: len(pair[1]), default=None)


def _parse(name: str, text: str) -> Rules:
    rules: list[Rule] = []
    network, layout, note = None, "keras", ""
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        where = f"{OPTION} {name}, line {number}"
        if not line or line.startswith("#"):
            continue
        if line.startswith("@"):
            word, _, value = line.partition(" ")
            value = value.strip()
            if word == "@network":
                network = compile_pattern(value, where)
            elif word == "@layout" and value in ("torch", "keras"):
                layout = value
            elif word == "@note":
                note = value
            else:
                raise ConfigError(
                    f"{where}: expected '@network PATTERN', '@layout torch' or '@note …', not '{line}'."
                )
            continue
        parts = re.split(r"\s+(\??=)\s+", line)
        if len(parts) != 3 or not parts[0] or " " in parts[2]:
            raise ConfigError(
                f"{where}: expected 'PATTERN = PATH', 'PATTERN = same' or 'PATTERN = skip', "
                f"not '{line}'."
            )
        pattern = compile_pattern(parts[0], where)
        _check_target(parts[2], pattern, where)
        rules.append(Rule(pattern, parts[2], parts[1] == "?=", number))
    if not rules:
        raise ConfigError(f"{OPTION} {name} has no rules.")
    return Rules(name, tuple(rules), network, layout == "torch", note)


def _check_target(target: str, pattern: re.Pattern[str], where: str) -> None:
    numbers = [int(n) for n in re.findall(r"\\(\d+)|\{(\d+)[+-]\d+\}", target) for n in n if n]
    for number in numbers:
        if not 1 <= number <= pattern.groups:
            raise ConfigError(
                f"{where}: '{target}' uses group {number}, and '{pattern.pattern}' has "
                f"{pattern.groups}."
            )
    if re.search(r"\\(?!\d)|\{(?!task\}|\d+[+-]\d+\})", target):
        raise ConfigError(
            f"{where}: '{target}' may hold \\1, {{1+1}} and {{task}}, and no other \\ or {{."
        )
