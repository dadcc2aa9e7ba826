"""What `hornbeam inspect` tells: the variables of a model or file, which rules fit, what goes where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from hornbeam import console
from hornbeam.errors import ConfigError, HornbeamError
from hornbeam.models.classifier import BACKBONE
from hornbeam.models.restoring.matching import match, require_backbone
from hornbeam.models.restoring.restore import choose, places_of
from hornbeam.models.restoring.rules import find_fitting, load_rules, shipped_names
from hornbeam.models.restoring.summary import mapping_rows, tell
from hornbeam.models.restoring.tables import WeightFile, times
from hornbeam.models.scopes import variables_by_path
from hornbeam.models.zoo import Architecture
from hornbeam.patterns import compile_pattern

if TYPE_CHECKING:
    import keras


def tell_model(model: keras.Model, pattern: str | None = None) -> None:
    """List the variables of a model by our paths, with shapes, types, sizes, and which are trained.

    Raises:
        ConfigError: the pattern is wrong, or matches nothing.
    """
    learnt = {id(variable) for variable in model.trainable_variables}
    rows = {}
    for path, variable in variables_by_path(model).items():
        shape = tuple(variable.shape)
        rows[path] = [path, times(shape), str(variable.dtype), f"{int(np.prod(shape)):,}",
                      "yes" if id(variable) in learnt else "no"]  # fmt: skip
    _table(["variable", "shape", "type", "parameters", "trained"], rows, pattern)
    trained = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    console.say(f"{trained:,} of {_count(rows)} parameters are trained.")


def tell_file(file: WeightFile, pattern: str | None = None) -> None:
    """List the variables of a file, and say which of the shipped rules fit their names.

    Raises:
        ConfigError: the pattern is wrong, or matches nothing.
    """
    rows = {
        name: [name, times(stored.shape), stored.dtype, f"{int(np.prod(stored.shape)):,}"]
        for name, stored in file.variables.items()
    }
    _table(["variable", "shape", "type", "parameters"], rows, pattern)
    console.say(f"{file.path} is {file.kind}: {len(rows)} variables, {_count(rows)} parameters.")
    rules, rest = find_fitting(file.variables) or (None, [])
    if rules is not None:
        but = f", but for {len(rest)} names, such as '{rest[0]}'" if rest else ""
        console.say(f"The rules {rules.name} fit{but}. {rules.note}".rstrip())
    elif not file.keras:
        console.say(
            f"None of the shipped rules fit ({', '.join(shipped_names())}); names may still be those "
            "of a network's layers: see --model."
        )


def tell_mapping(
    file: WeightFile, architecture: Architecture, rules: str | None, pattern: str | None
) -> None:
    """Show where each variable of a file goes in the backbone of a network.

    Raises:
        ConfigError: a rule or pattern is wrong.
        ModelError: the file does not fit the network.
    """
    import keras

    size = (architecture.size, architecture.size)
    backbone = architecture.build_backbone(size, None)
    backbone.name = BACKBONE
    pixels = keras.Input((*size, 3))
    places = places_of(keras.Model(pixels, backbone(pixels)))
    fault: HornbeamError | None = None
    try:
        file, matched = choose(file, places, rules, (), architecture.name)
        require_backbone(matched, file, places)
    except HornbeamError as error:
        fault = error
        matched = match(file, places, load_rules(rules) if rules else None)
    rows = {row[0] or row[1]: row for row in mapping_rows(matched, file, places)}
    _table(
        ["in the file", f"in {architecture.name}", "", "shape there", "shape here"],
        rows,
        pattern,
        left=3,
    )
    if fault is not None:
        raise fault
    tell(matched, file.path, "would be")


def tell_rules() -> None:
    """List the shipped rules."""
    rows = []
    for name in shipped_names():
        rules = load_rules(name)
        networks = rules.network.pattern if rules.network else "any"
        rows.append([name, networks, rules.note])
    console.table(["rules", "for", ""], rows, left=3)


def _table(
    columns: list[str], rows: Mapping[str, list[str]], pattern: str | None, left: int = 1
) -> None:
    shown = list(rows.values())
    if pattern is not None:
        compiled = compile_pattern(pattern, "--match")
        shown = [row for row in shown if any(compiled.search(cell) for cell in row[:2])]
        if not shown:
            raise ConfigError(f"--match: '{pattern}' is in none of the {len(rows)} names.")
    console.table(columns, shown, left=left)


def _count(rows: Mapping[str, list[str]]) -> str:
    return f"{sum(int(row[3].replace(',', '')) for row in rows.values()):,}"
