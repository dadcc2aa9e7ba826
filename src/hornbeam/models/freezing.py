"""Which variables of a model are trained: `--freeze`, `--trainable`, factors of 0, `--batch-norm`.

A layer of which nothing is trained is frozen whole, by `trainable = False` on the layer itself. Keras
then costs no gradient for it, and batch normalisation runs in inference mode: its moving statistics
stay. Flags on variables alone would not do that, nor does calling a part with `training=False`, which
`fit` of Keras 3.15 replaces by `True`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.models.blocks import block_depths
from hornbeam.models.classifier import BACKBONE, freeze_backbone
from hornbeam.models.scopes import variables_by_path
from hornbeam.patterns import assign, matches

if TYPE_CHECKING:
    import keras


def choose_trained(model: keras.Model, options: TrainOptions) -> None:
    """Leave those variables trainable that the options say, and freeze the others.

    Args:
        model: as it was built; what is frozen already stays frozen.
        options: resolved; used are `freeze`, `trainable`, `lr_mult`, `batch_norm` and `weights`.
            The patterns of `no_decay` are checked too, so that all are before anything is written.

    Raises:
        ConfigError: a pattern decides about no variable, nothing is left to train, or there is no
            backbone to freeze.
    """
    learnable = learnable_variables(model)
    paths = list(learnable)
    trained = set(paths)
    if options.freeze == "backbone":
        freeze_backbone(model)
        trained -= {path for path in paths if path.startswith(f"{BACKBONE}/")}
    if options.trainable:
        chosen = assign([(pattern, True) for pattern in options.trainable], paths, "--trainable")
        trained &= {path for path, yes in zip(paths, chosen, strict=True) if yes}
    if options.lr_mult:
        factors = assign(options.lr_mult, paths, "--lr-mult")
        trained -= {path for path, factor in zip(paths, factors, strict=True) if factor == 0}
    if options.no_decay != TrainOptions.model_fields["no_decay"].default:
        assign([(pattern, True) for pattern in options.no_decay], paths, "--no-decay")
    if options.batch_norm == "frozen" or (
        options.batch_norm == "auto" and options.weights != "none"
    ):
        trained -= _batch_normalization(model, paths)
    learnt = {id(variable) for variable in model.trainable_variables}
    if not any(id(learnable[path]) in learnt for path in trained):
        raise ConfigError(
            "Nothing is left to train: --freeze, --trainable and --lr-mult exclude all "
            f"{len(paths)} variables of the model."
        )
    if trained != set(paths):
        train_only(model, trained)


def learnable_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return by path the variables that are trainable now.

    Of a trainable batch normalisation that has neither gamma nor beta there are the moving statistics,
    so that a pattern can freeze it.
    """
    import keras

    found = {id(variable) for variable in model.trainable_variables}
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
            found |= {id(v) for v in layer.trainable_variables or layer.weights}
    return {path: v for path, v in variables_by_path(model).items() if id(v) in found}


def train_only(model: keras.Model, paths: Collection[str]) -> None:
    """Make exactly these variables trainable; may be called again with others.

    Args:
        model: compile it anew afterwards.
        paths: keys of `variables_by_path`; layers of which none is named are frozen whole.
    """
    import keras

    by_path = variables_by_path(model)
    trained = {id(by_path[path]) for path in paths}
    make_trainable(model)
    learnable = {id(variable) for variable in model.trainable_variables}
    for variable in model.trainable_variables:
        variable.trainable = id(variable) in trained
    for layer in model._flatten_layers(include_self=False):
        inside = {id(v) for v in layer.weights} & learnable
        if not inside and isinstance(layer, keras.layers.BatchNormalization):
            inside = {id(v) for v in layer.weights}
        if inside and not inside & trained:
            layer.trainable = False


def make_trainable(model: keras.Model) -> None:
    """Make all layers and variables trainable that can be."""
    # First the other way: on TensorFlow, Keras 3.15 passes over `trainable = True` on a model where it
    # is so already, whatever its layers say.
    model.trainable = False
    model.trainable = True


def rate_factors(model: keras.Model, options: TrainOptions) -> dict[str, float]:
    """Return the factor on the learning rate of each trainable variable, by path.

    It is what `lr_mult` says (1 where no pattern matches) times `layer_decay` to the power of the
    blocks between the variable and the head, as Clark et al. 2020 (arXiv:2003.10555) fine-tune.

    Args:
        model: with its trainable flags set.
        options: used are `lr_mult` and `layer_decay`.
    """
    by_path = variables_by_path(model)
    factors = assign(options.lr_mult, list(by_path), "--lr-mult")
    depths: Mapping[str, int] = block_depths(model) if options.layer_decay < 1 else {}
    trainable = {id(variable) for variable in model.trainable_variables}
    return {
        path: (1.0 if factor is None else factor) * options.layer_decay ** depths.get(path, 0)
        for (path, variable), factor in zip(by_path.items(), factors, strict=True)
        if id(variable) in trainable
    }


def decays(path: str, options: TrainOptions) -> bool:
    """Whether weight decay acts on the variable of this path."""
    return not any(matches(re.compile(pattern), path) for pattern in options.no_decay)


def summary(model: keras.Model, factors: Mapping[str, float]) -> list[list[str]]:
    """Return a line per factor: the factor, variables, weights in them, the first and last path.

    Args:
        model: with its trainable flags set.
        factors: of its trainable variables, by path; the others make the last line, with 0.
    """
    by_path = variables_by_path(model)
    # Moving statistics are no part of what one could train.
    shown = {path: v for path, v in by_path.items() if "/moving_" not in path}
    groups: dict[float, list[str]] = {}
    for path in shown:
        groups.setdefault(factors.get(path, 0.0), []).append(path)
    rows = []
    for factor in sorted(groups, reverse=True):
        paths = groups[factor]
        weights = sum(int(np.prod(shown[path].shape)) for path in paths)
        span = paths[0] if len(paths) == 1 else f"{paths[0]} … {paths[-1]}"
        rows.append([f"{factor:.4g}", str(len(paths)), f"{weights:,}", span])
    return rows


def _batch_normalization(model: keras.Model, paths: Collection[str]) -> set[str]:
    """Return which paths are of batch normalisation in the backbone, or anywhere if there is none."""
    import keras

    inside = {
        id(variable)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.weights
    }
    by_path = variables_by_path(model)
    backbone = any(path.startswith(f"{BACKBONE}/") for path in by_path)
    return {
        path for path in paths
        if id(by_path[path]) in inside and (path.startswith(f"{BACKBONE}/") or not backbone)
    }  # fmt: skip
