"""The model as others use it: calibrated probabilities in place of logits, and the unknown score.

Layers that plain Keras has, and nothing else, so that any runtime and Keras' safe mode take them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import UNKNOWN
from hornbeam.deployment.runtimes.quiet import expect_many_networks
from hornbeam.evaluation.predictions import probabilities_of
from hornbeam.evaluation.trust.calibration import Scaling
from hornbeam.evaluation.trust.safeguards import Safeguards
from hornbeam.evaluation.trust.unknown import Unknown
from hornbeam.models.penultimate import FEATURES, with_features

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_BATCH = 8
"""Pictures at a time: what TensorFlow has once taken it keeps (MobileNetV2, 224 px: 230 MB; of 32, 610),
and the process that converts needs the memory."""


def with_answers(model: keras.Model, tasks: Sequence[Task], safeguards: Safeguards) -> keras.Model:
    """Return the model with what users of an artifact expect.

    Args:
        model: to logits by task.
        tasks: its outputs.
        safeguards: the run's.

    Returns:
        A model of the same inputs to a dictionary: by task, calibrated probabilities `[batch, classes]`,
        which sum to 1 (softmax), but for multi-label tasks, where each stands alone (sigmoid); and as
        `unknown` how unlike the known classes a picture is, `[batch, 1]`, if something tells.
    """
    import keras

    source = _source(model, tasks, safeguards)
    given = source(model.input)
    outputs = {
        task.name: keras.layers.Activation(activation_of(task), name=f"{task.name}_probabilities")(
            _scaled(given[task.name], safeguards.scalings.get(task.name), task)
        )
        for task in tasks
    }
    unknown = _told_by(safeguards, tasks, source)
    if unknown is not None:
        task = next(task for task in tasks if task.name == unknown.task)
        outputs[UNKNOWN] = (
            _energy(given[task.name], task)
            if unknown.kind == "energy"
            else _angle(given[FEATURES], unknown)
        )
    return keras.Model(model.input, outputs, name=model.name)


def expected_answers(
    model: keras.Model, tasks: Sequence[Task], safeguards: Safeguards, inputs: Any
) -> dict[str, NDArray[np.floating]]:
    """Return what such a model must answer, computed without any of its layers.

    Args:
        model: see `with_answers`.
        tasks: the same.
        safeguards: the same.
        inputs: pictures, or a dictionary of them and of side features.
    """
    expect_many_networks()
    source = _source(model, tasks, safeguards)
    names = [task.name for task in tasks] + [FEATURES] * (source is not model)
    given = named_outputs(source.predict(inputs, batch_size=_BATCH, verbose=0), names)
    result: dict[str, NDArray[np.floating]] = {}
    for task in tasks:
        scaling = safeguards.scalings.get(task.name, Scaling())
        result[task.name] = probabilities_of(scaling.apply(given[task.name]), task)
    unknown = _told_by(safeguards, tasks, source)
    if unknown is not None:
        task = next(task for task in tasks if task.name == unknown.task)
        scores = unknown.score_of(task, given[task.name], given.get(FEATURES))
        result[UNKNOWN] = scores[:, None].astype(np.float64)
    return result


def named_outputs(outputs: Any, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Return a model's outputs by name; a list of them has the order of the names, as Keras sorts."""
    if not isinstance(outputs, dict):
        listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        outputs = dict(zip(sorted(names), listed, strict=True))
    return {name: np.asarray(outputs[name], np.float32) for name in names}


def trust_in_words(
    safeguards: Safeguards, tasks: Sequence[Task], *, tells_unknown: bool
) -> Mapping[str, Any]:
    """Return what a bundle tells of calibration, of sure answers and of unknown pictures."""
    if safeguards == Safeguards():
        return {}
    scalings, thresholds, unknown = safeguards.scalings, safeguards.thresholds, safeguards.unknown
    return {
        "calibration": {
            task.name: scalings[task.name].to_json() | {"applied": "in the artifact"}
            for task in tasks
            if task.name in scalings
        },
        "abstain": {
            name: {"below": threshold.probability, "meaning": threshold.sentence}
            for name, threshold in thresholds.items()
        },
        "unknown": {
            "output": UNKNOWN, "shape": [None, 1], "above": unknown.threshold, "kind": unknown.kind,
            "meaning": unknown.sentence,
        } if unknown is not None and tells_unknown and not _is_task(UNKNOWN, tasks) else None,
    }  # fmt: skip


def _is_task(name: str, tasks: Sequence[Task]) -> bool:
    return any(task.name == name for task in tasks)


def activation_of(task: Task) -> str:
    """Return what makes probabilities of a task's logits."""
    return "sigmoid" if task.multi_label else "softmax"


def _source(model: keras.Model, tasks: Sequence[Task], safeguards: Safeguards) -> keras.Model:
    """Return the model, with its features among the outputs where they are needed and there are some."""
    if not safeguards.needs_features:
        return model
    return with_features(model, tasks) or model


def _told_by(safeguards: Safeguards, tasks: Sequence[Task], source: keras.Model) -> Unknown | None:
    """Return what tells unknown pictures; `None` where nothing can, or a task has the output's name."""
    unknown, names = safeguards.unknown, {task.name for task in tasks}
    if unknown is None or UNKNOWN in names or not np.isfinite(unknown.threshold):
        return None
    if unknown.needs_features and FEATURES not in source.output:
        return None
    return unknown


def _scaled(logits: Any, scaling: Scaling | None, task: Task) -> Any:
    """Return calibrated logits."""
    from keras import layers

    if scaling is None or scaling.is_identity:
        return logits
    one = len(scaling.scale) == 1
    scale: Any = scaling.scale[0] if one else list(scaling.scale)
    offset: Any = scaling.offset[0] if one else list(scaling.offset)
    return layers.Rescaling(scale, offset, dtype="float32", name=f"{task.name}_calibrated")(logits)


def _energy(logits: Any, task: Task) -> Any:
    """Return minus the logsumexp of the logits, as the mean over the classes of log softmax minus logit.

    Of a multi-label task, minus the sum of log(1 + exp).
    """
    from keras import layers

    classes = len(task.classes)
    if task.multi_label:
        each, factor = layers.Activation("softplus", dtype="float32")(logits), -float(classes)
    else:
        logs = layers.Activation("log_softmax", dtype="float32")(logits)
        each, factor = layers.Subtract(dtype="float32")([logits, logs]), -1.0
    each = layers.Reshape((classes, 1), dtype="float32")(each)
    mean = layers.GlobalAveragePooling1D(dtype="float32")(each)
    return layers.Rescaling(factor, dtype="float32", name=UNKNOWN)(mean)


def _angle(features: Any, unknown: Unknown) -> Any:
    """Return 1 minus the largest cosine to the directions of the classes."""
    from keras import layers

    assert unknown.origin is not None and unknown.directions is not None  # noqa: PT018 - for mypy
    away = layers.Rescaling(1.0, (-unknown.origin).tolist(), dtype="float32", name="from_origin")
    dense = layers.Dense(
        len(unknown.directions), use_bias=False, dtype="float32", name="class_directions"
    )
    length_one = layers.UnitNormalization(axis=-1, dtype="float32", name="length_one")
    cosines = dense(length_one(away(features)))
    dense.set_weights([unknown.directions.T])
    each = layers.Reshape((len(unknown.directions), 1), dtype="float32")(cosines)
    largest = layers.GlobalMaxPooling1D(dtype="float32")(each)
    return layers.Rescaling(-1.0, 1.0, dtype="float32", name=UNKNOWN)(largest)
