"""The trained model in files of other formats, each proved to answer as the model did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hornbeam.data.dataset import Task
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.errors import ConfigError, ContractError
from hornbeam.evaluation.predictions import probabilities_of
from hornbeam.models.restoring.keras_files import read_model
from hornbeam.storage import replacing, write_json

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_COLORS = {1: "grey", 3: "RGB", 4: "RGBA"}

_RESIZES = {
    "crop": "central crop to the aspect ratio, then area-averaged resize",
    "squash": "area-averaged resize, whatever the aspect ratio",
    "pad": "area-averaged resize to fit inside, then bars of value 128 on both sides",
}

Inputs = Any
"""Of a model: pixels, or a dictionary of them and of side features."""

TOLERANCE = 1e-4
"""Largest difference of a probability between the model and a float32 artifact."""


def with_probabilities(model: keras.Model, tasks: Sequence[Task]) -> keras.Model:
    """Return the model with probabilities in place of logits: what users of an artifact expect.

    They sum to 1 (softmax), but for multi-label tasks, where each stands alone (sigmoid).
    """
    import keras

    outputs = model(model.input)
    return keras.Model(
        model.input,
        {task.name: keras.layers.Activation(_activation(task), name=f"{task.name}_probabilities")(
            outputs[task.name]
         )
         for task in tasks},
        name=model.name,
    )  # fmt: skip


def _activation(task: Task) -> str:
    return "sigmoid" if task.multi_label else "softmax"


def export(
    model: keras.Model,
    tasks: Sequence[Task],
    formats: Sequence[str],
    directory: Path,
    inputs: Inputs,
    overwrite: bool,
    *,
    resize_mode: ResizeMode,
    features: Sequence[str] = (),
    preprocess: str | None = None,
) -> dict[str, float]:
    """Write artifacts and check them.

    Args:
        model: from uint8 pixels to logits by task.
        tasks: its outputs.
        formats: names among `keras`, `h5`.
        directory: gets `model.keras`, `model.h5`, `bundle.json`.
        inputs: to compare on: pictures, uint8 `[n, height, width, channels]`; or a dictionary of
            `image` and `features`.
        overwrite: replace earlier files.
        resize_mode: how they got their shape; whoever uses the artifact must do the same.
        features: names of the numbers beside the picture, in the model's order.
        preprocess: the recipe that changed pictures before, where one did.

    Returns:
        By format, the largest difference of a probability between the model and the artifact.

    Raises:
        ConfigError: a file is there already.
        ContractError: an artifact differs by more than `TOLERANCE`; it is kept as `….failed`.
    """
    paths = {name: directory / f"model.{name}" for name in formats}
    there = [path for path in paths.values() if path.exists()]
    if there and not overwrite:
        raise ConfigError(f"{there[0]} exists already; choose another --out, or pass --overwrite.")
    directory.mkdir(parents=True, exist_ok=True)
    answering = with_probabilities(model, tasks)
    # Of the model that was trained, not of what is written: that may have the same fault.
    logits = _answers(model, tasks, inputs)
    expected = {task.name: probabilities_of(logits[task.name], task) for task in tasks}
    differences = {}
    for name, path in paths.items():
        with replacing(path) as temporary:
            answering.save(temporary)
        found = _answers(_LOADERS[name](path), tasks, inputs)
        difference = max(float(np.abs(found[t.name] - expected[t.name]).max()) for t in tasks)
        if not difference <= TOLERANCE:
            failed = path.with_name(f"{path.name}.failed")
            path.replace(failed)
            raise ContractError(
                f"{name}: the artifact's probabilities differ from the model's by up to "
                f"{difference:.2g} (at most {TOLERANCE:g} is allowed); it is kept as {failed}."
            )
        differences[name] = difference
    pictures = inputs["image"] if isinstance(inputs, dict) else inputs
    beside = {"features": {
        "shape": [None, len(features)], "dtype": "float32", "columns": list(features),
        "values": "as they are in the table; the model standardises them",
    }} if features else {}  # fmt: skip
    write_json(
        directory / "bundle.json",
        {
            "input": {
                "shape": [None, *pictures.shape[1:]], "dtype": "uint8",
                "color": _COLORS[pictures.shape[-1]], "resize": _RESIZES[resize_mode],
                "preprocess": preprocess,
            },
            **beside,
            "output": "probabilities by task",
            "tasks": {task.name: list(task.classes) for task in tasks},
            "activations": {task.name: _activation(task) for task in tasks},
            "artifacts": {
                name: {"file": paths[name].name, "largest_difference": differences[name]}
                for name in formats
            },
            "compared_on": len(pictures),
        },
    )  # fmt: skip
    return differences


_LOADERS: dict[str, Callable[[Path], keras.Model]] = {"keras": read_model, "h5": read_model}


def _answers(
    model: keras.Model, tasks: Sequence[Task], inputs: Inputs
) -> dict[str, NDArray[np.float32]]:
    outputs = model.predict_on_batch(inputs)
    if not isinstance(outputs, dict):  # HDF5 keeps the order of outputs, not their names
        listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        outputs = {task.name: output for task, output in zip(tasks, listed, strict=True)}
    return {task.name: np.asarray(outputs[task.name], np.float32) for task in tasks}
