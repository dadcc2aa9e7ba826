"""What is in a checkpoint, and how it is found, read and put back; `checkpoints.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hornbeam.errors import RunError
from hornbeam.storage import tidy

WEIGHTS = "model.weights.h5"
VARIABLES = "training.safetensors"
STATE = "state.json"


def twin(classifier: keras.Model) -> keras.Model:
    """Return a model of the same layers that is not compiled, and so keeps no optimiser's state."""
    return keras.Model(classifier.input, classifier.output, name=classifier.name)


def snapshot(model: keras.Model) -> dict[str, NDArray[Any]]:
    """Return copies of every variable of a compiled model, its optimiser and its metrics."""
    return {
        f"{kind}/{index:05}": np.array(keras.ops.convert_to_numpy(variable))
        for kind, variables in _variables(model).items()
        for index, variable in enumerate(variables)
    }


def put_back(model: keras.Model, arrays: dict[str, NDArray[Any]]) -> None:
    """Set the variables of model and optimiser to what `snapshot` returned.

    Raises:
        RunError: it was another model or optimiser.
    """
    kinds = _variables(model)
    for kind in ("model", "optimizer"):
        values = [arrays[name] for name in named(arrays, kind)]
        shapes = [tuple(variable.shape) for variable in kinds[kind]]
        if [value.shape for value in values] != shapes:
            raise RunError(
                f"The checkpoint's {kind} has {len(values)} variables, other than the {len(shapes)} of "
                "the one that is to go on; were options changed?"
            )
        for variable, value in zip(kinds[kind], values, strict=True):
            variable.assign(value)


def _variables(model: keras.Model) -> dict[str, list[keras.Variable]]:
    of_metrics = {id(variable) for variable in model.metrics_variables}
    return {
        "model": [variable for variable in model.variables if id(variable) not in of_metrics],
        "optimizer": list(model.optimizer.variables),
        "metric": list(model.metrics_variables),
    }


def named(arrays: dict[str, NDArray[Any]], kind: str) -> list[str]:
    """Return the names of a kind of variables, `model`, `optimizer` or `metric`, in their order."""
    return sorted(name for name in arrays if name.startswith(f"{kind}/"))


def steps_of(directory: Path) -> list[Path]:
    """Return the checkpoints in a directory, the newest first; each is whole."""
    return sorted(directory.glob("step-*"), reverse=True)


def is_within_interval(state: dict[str, Any]) -> bool:
    """Whether a checkpoint is of the midst of an interval, whose metrics go on.

    Before the first step Keras has not made them yet.
    """
    return bool(state["step"]) and not state["validated"] and state["waiting"] is None


def load(checkpoint: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the state of a checkpoint, and its variables.

    Raises:
        RunError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        return dict(state), load_file(checkpoint / VARIABLES)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RunError(f"The checkpoint {checkpoint} cannot be read ({reason}).") from None


def newest(directory: Path) -> tuple[Path, dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Return the newest checkpoint that can be read, its state and variables; `None` of none.

    What was half written is removed, and a damaged one passed over with a warning.

    Raises:
        RunError: there are some, and none can be read: to begin anew would replace them.
    """
    from hornbeam import console

    tidy(directory)
    found = steps_of(directory)
    for place, checkpoint in enumerate(found, start=1):
        try:
            return checkpoint, *load(checkpoint)
        except RunError as error:
            if place == len(found):
                raise RunError(
                    f"{error} There is none before it to go on from: mend what keeps it from being "
                    "read, or begin anew with --overwrite."
                ) from None
            console.warn(f"{error} The one before it is taken.")
    return None


def load_checkpoint(model: keras.Model, directory: Path, which: str = "best") -> dict[str, Any]:
    """Put the weights of the `best` or `last` checkpoint into a classifier; return its state."""
    checkpoint = directory / which
    twin(model).load_weights(checkpoint / WEIGHTS)
    return dict(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))
