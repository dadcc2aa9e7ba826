"""Weights of a file, put into a classifier: all that its backbone needs, or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hornbeam.errors import ModelError, listing
from hornbeam.models.blocks import block_depths
from hornbeam.models.classifier import BACKBONE, IMAGENET_DEVIATION
from hornbeam.models.restoring.matching import (
    Match,
    Place,
    fit_layout,
    match,
    renumbered,
    require_backbone,
)
from hornbeam.models.restoring.readers import read_weight_file
from hornbeam.models.restoring.rules import Rules, find_fitting, load_rules, shipped_names
from hornbeam.models.restoring.tables import WeightFile
from hornbeam.models.scopes import layers_by_path, variables_by_path
from hornbeam.models.zoo import ZOO

if TYPE_CHECKING:
    import keras


def restore(
    model: keras.Model,
    path: Path,
    *,
    rules: str | None = None,
    exclude: Sequence[str] = (),
    network: str | None = None,
    partial: bool = False,
) -> Match | None:
    """Put the weights of a file into a network: all that its backbone needs, or none.

    The head is restored where name and shape agree, and left as it is elsewhere.

    Args:
        model: a classifier, a recipe's model, or a bare network.
        path: of the file, see `read_weight_file`.
        rules: a file of rules, or the name of a shipped one; without, plain names of layers are
            tried, and then what is shipped.
        exclude: patterns of our variables that the file does not set.
        network: the name of the backbone in the zoo; `None` for a recipe's, which may be any.
        partial: restore what fits by name and shape, and leave the rest as it is.

    Returns:
        What became of each variable; `None` where Keras loaded a file without names by the order of
        its layers.

    Raises:
        ConfigError: the file is missing or of another kind; a rule or pattern is wrong.
        ModelError: the file is damaged, or does not fit the network.
    """
    file = read_weight_file(path)
    variables = variables_by_path(model)
    places = places_of(model)
    file, matched = (
        _most_fitting(file, places, exclude) if partial
        else choose(file, places, rules, exclude, network)
    )  # fmt: skip
    try:
        if not partial:
            require_backbone(matched, file, places)
    except ModelError:
        # Not for our twins of other networks, which the order would not tell from those.
        by_order = (
            file.keras and rules is None and not exclude and (network is None or not file.named)
        )
        if not (by_order and _load_in_order(model, path)):
            raise
        _settle_normalization(model)
        return None
    values = {
        ours: fit_layout(file.read(name, places[ours].integer), places[ours], matched.torch)
        for ours, name in matched.taken.items()
    }
    for ours, array in values.items():
        variables[ours].assign(array)
    _settle_normalization(model)
    return dataclasses.replace(matched, kept=_before_the_head(model, matched.excluded))


def _before_the_head(model: keras.Model, paths: Sequence[str]) -> tuple[str, ...]:
    """Return the paths that are not of the head, which without a backbone is the last block."""
    depths = block_depths(model) if paths else {}
    return tuple(path for path in paths if depths[path])


def places_of(model: keras.Model) -> dict[str, Place]:
    """Return the variables of a model by path, with what must be known to give them values."""
    import keras

    depthwise = {
        path for path, layer in layers_by_path(model)
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    }  # fmt: skip
    return {
        path: Place(
            tuple(variable.shape), path.rpartition("/")[0] in depthwise, "int" in variable.dtype
        )
        for path, variable in variables_by_path(model).items()
    }


def choose(
    file: WeightFile, places: Mapping[str, Place], rules: str | None, exclude: Sequence[str],
    network: str | None,
) -> tuple[WeightFile, Match]:  # fmt: skip
    """Find how the names of a file are ours: by the rules given, as they are, or by shipped rules.

    Returns:
        The file, whose automatic numbers may have been counted anew, and the match.

    Raises:
        ConfigError: a rule or pattern is wrong.
        ModelError: nothing in the file is ours, or it is for another network.
    """
    if rules is not None:
        chosen = load_rules(rules)
        _require_network(chosen, file, network)
        return file, match(file, places, chosen, exclude)
    plain = match(file, places, None, exclude)
    if not plain.left_here and not plain.conflicts:
        return file, plain
    fitting, rest = find_fitting(file.variables) or (None, [])
    if fitting is not None:
        _require_network(fitting, file, network)
        if rest:
            raise ModelError(
                f"The names in {file.path} are those of {fitting.name}, but for {listing(rest, 3)}; is "
                f"it of another size? `--restore-map {fitting.name}` leaves them out."
            )
        return file, match(file, places, fitting, exclude)
    file, plain = _most_fitting(file, places, exclude)
    if not plain.taken and not plain.conflicts and not file.keras:
        raise ModelError(
            f"No name in {file.path} (such as {listing(list(file.variables)[:2])}) is one of this "
            f"network's, and none of the shipped rules fit ({', '.join(shipped_names())}); is it of "
            "this architecture? Else write rules for --restore-map."
        )
    return file, plain


def _most_fitting(
    file: WeightFile, places: Mapping[str, Place], exclude: Sequence[str]
) -> tuple[WeightFile, Match]:
    """Match names as they are, or with automatic numbers counted anew, whichever fits more."""
    plain = match(file, places, None, exclude)
    names = renumbered(list(file.variables))
    counted = dataclasses.replace(
        file, variables={names[name]: stored for name, stored in file.variables.items()}
    )
    anew = match(counted, places, None, exclude)
    return (counted, anew) if len(anew.taken) > len(plain.taken) else (file, plain)


def _require_network(rules: Rules, file: WeightFile, network: str | None) -> None:
    """Refuse weights in a network of the same shapes that computes something else."""
    if network is None or rules.network is None or rules.network.fullmatch(network):
        return
    fitting = [name for name in ZOO if rules.network.fullmatch(name)]
    raise ModelError(
        f"{file.path} holds what the rules {rules.name} are for, and {network} does not compute what "
        f"such weights were trained for; take --model {' or '.join(fitting[:3])}."
    )


def _load_in_order(model: keras.Model, path: Path) -> bool:
    """Let Keras load a file by the order of the layers, as it does for names that differ."""
    names = {layer.name for layer in model.layers}
    part = model.get_layer(BACKBONE) if BACKBONE in names else model
    before = part.get_weights()
    try:
        part.load_weights(path)
    except Exception:  # Keras and h5py raise a dozen kinds for files that do not fit
        part.set_weights(before)
        return False
    return True


def _settle_normalization(model: keras.Model) -> None:
    """Let `Normalization` layers see new statistics; square those of Keras' EfficientNet files.

    Those hold the deviation as "variance". Keras repairs that with a further layer, but only under
    weights="imagenet" (keras/src/applications/efficientnet.py); a file loaded by its path would
    miss it.
    """
    import keras

    for _, layer in layers_by_path(model):
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            values = layer.get_weights()
            if len(values) >= 2:
                if np.allclose(values[1].ravel(), IMAGENET_DEVIATION, atol=1e-3):
                    layer.set_weights([values[0], values[1] ** 2, *values[2:]])
                layer.finalize_state()
