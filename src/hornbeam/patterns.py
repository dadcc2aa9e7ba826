"""Ordered rules on the paths of variables: regular expressions of which the first match decides.

One mechanism for what is trained, at which rate, what is not decayed and what is restored; learnt
from `optax.py` of google-research/big_vision. Paths look like `backbone/block_13_expand/kernel` and
`head/label/bias`. A pattern must match a whole path, or all of it after its first part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

from hornbeam.errors import ConfigError, did_you_mean

Value = TypeVar("Value")


def split_patterns(text: str) -> list[str]:
    """Divide `a,b` at its commas, but for those inside brackets, as in `a{1,2},[b,c]`."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse_rates(text: str) -> tuple[tuple[str, float], ...]:
    """Return the patterns and numbers of `backbone/.*=0.1,head/.*=1`.

    Raises:
        ValueError: a part is not of the form PATTERN=NUMBER.
    """
    rules = []
    for part in split_patterns(text):
        pattern, equals, number = part.rpartition("=")
        try:
            rules.append((pattern.strip(), float(number)))
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"should be PATTERN=NUMBER, as in 'backbone/.*=0.1', not '{part}'")
    return tuple(rules)


def compile_pattern(pattern: str, where: str) -> re.Pattern[str]:
    """Return a regular expression of the user's.

    Args:
        pattern: what stands there.
        where: the option, and the place in its file, for messages.

    Raises:
        ConfigError: it is none.
    """
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:  # a{10000000000}, ((((…
        shown = pattern if len(pattern) <= 200 else f"{pattern[:200]}…"
        raise ConfigError(f"{where}: '{shown}' is no regular expression ({error}).") from None


def assign(
    rules: Sequence[tuple[str, Value]], paths: Sequence[str], option: str
) -> list[Value | None]:
    """Return for each path the value of the first rule whose pattern matches it, else `None`.

    Args:
        rules: patterns and their values, in order.
        paths: of variables, with `/`.
        option: that the rules come from, for messages.

    Raises:
        ConfigError: a pattern is no regular expression, or decides about no path.

    Example:
        >>> paths = ["backbone/conv/kernel", "head/label/bias"]
        >>> assign([("head/.*", 1.0), (".*", 0.1)], paths, "--lr-mult")
        [0.1, 1.0]
    """
    result: list[Value | None] = [None] * len(paths)
    undecided = list(range(len(paths)))
    for pattern, value in rules:
        compiled = compile_pattern(pattern, option)
        matched = [i for i in undecided if matches(compiled, paths[i])]
        if not matched:
            raise ConfigError(_matched_nothing(compiled, paths, option))
        for index in matched:
            result[index] = value
        undecided = [i for i in undecided if i not in set(matched)]
    return result


def matches(pattern: re.Pattern[str], path: str) -> bool:
    """Whether a pattern matches a whole path, or all of it after its first part."""
    return bool(pattern.fullmatch(path) or pattern.fullmatch(path.partition("/")[2]))


def _matched_nothing(pattern: re.Pattern[str], paths: Sequence[str], option: str) -> str:
    if any(matches(pattern, path) for path in paths):
        return (
            f"{option}: everything that '{pattern.pattern}' matches was decided by patterns before it; "
            "the first match counts, so put it before them."
        )
    scopes = {path.rpartition("/")[0] for path in paths} | set(paths)
    near = did_you_mean(pattern.pattern, _suggestions(scopes))
    longer = [p for p in paths if pattern.match(p) or pattern.match(p.partition("/")[2])]
    if longer:
        near = f" It must match whole paths, such as '{longer[0]}': '{pattern.pattern}.*' would."
    return (
        f"{option}: '{pattern.pattern}' matches none of the {len(paths)} variables.{near} "
        "`hornbeam inspect` lists those of a run or file."
    )


def _suggestions(scopes: Iterable[str]) -> list[str]:
    """Return what may have been meant: scopes with and without their first part, and all below them."""
    names = {name for scope in scopes for name in (scope, scope.partition("/")[2]) if name}
    first = {scope.partition("/")[0] for scope in scopes}
    return sorted(names) + sorted(f"{name}/.*" for name in names | first)
