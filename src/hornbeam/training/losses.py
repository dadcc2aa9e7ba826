"""What a training makes small: losses over logits, one value a picture.

Each function takes targets, shares of the classes or marks of several, float32 `[batch, classes]`, and
logits of the same shape, and returns float32 `[batch]`. `TaskLoss` puts before it what all have in
common: indices become shares, targets are smoothed, classes and tasks are weighed. As it never
averages over a batch itself, padding and missing labels, whose weight is 0, count in no loss.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, did_you_mean

Values = Callable[[Any, Any], Any]

_NAMES = ("auto", "categorical", "binary", "focal")

_SAME = {
    "categoricalcrossentropy": "categorical",
    "sparsecategoricalcrossentropy": "categorical",
    "binarycrossentropy": "binary",
}
"""Keras' names of what we have; with a loss of ours, the classes of several labels can be weighed."""

_OTHER_PURPOSES = ("Loss", "CTC", "Circle")
"""Losses of Keras that are for sequences or for embeddings."""

_TAKE_MARGINS = ("Hinge", "SquaredHinge", "CategoricalHinge")
_TAKE_INDICES = ("SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy")


class TaskLoss(keras.losses.Loss):  # type: ignore[misc]
    """The loss of one task.

    Args:
        values: one of the functions of this file, or another like them.
        task: whose logits it judges.
        label_smoothing: share of each target that is spread over all classes.
        spread: what that share becomes: `1 / classes` for a choice of one class, 1/2 for independent
            answers.
        class_weights: a factor for the pictures of each class, `[classes]`; a mixed picture gets the
            mean of its own.
        weight: factor on all of it, beside other tasks.
    """

    def __init__(
        self,
        values: Values,
        task: Task,
        *,
        label_smoothing: float = 0.0,
        spread: float = 0.0,
        class_weights: Sequence[float] | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(name=f"{task.name}_loss")
        self._values = values
        self._classes = len(task.classes)
        self._multi_label = task.multi_label
        self._smoothing, self._spread = label_smoothing, spread
        self._class_weights = class_weights
        self._weight = weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each picture, float32 `[batch]`.

        Args:
            y_true: class indices `[batch]`, or shares or marks of classes `[batch, classes]`.
            y_pred: logits, `[batch, classes]`.
        """
        shares = self._shares(y_true)
        targets = shares * (1 - self._smoothing) + self._smoothing * self._spread
        values = self._weight * self._values(targets, y_pred)
        if self._class_weights is not None:
            weights = ops.convert_to_tensor(np.array(self._class_weights, np.float32))
            values = values * ops.sum(weights * shares, axis=-1)
        return values

    def _shares(self, y_true: Any) -> Any:
        rank = len(y_true.shape)
        if not self._multi_label and rank == 2 and y_true.shape[-1] == 1 != self._classes:
            y_true, rank = y_true[:, 0], 1
        if rank == 1:
            return ops.one_hot(ops.cast(y_true, "int32"), self._classes, dtype="float32")
        return ops.cast(y_true, "float32")


def softmax_cross_entropy(targets: Any, logits: Any) -> Any:
    """Return the cross-entropy of shares of classes and a softmax."""
    return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


def sigmoid_cross_entropy(targets: Any, logits: Any, positive: Any = 1.0) -> Any:
    """Return the mean cross-entropy of each class's own yes or no.

    Args:
        targets: marks.
        logits: of yes.
        positive: how much a yes counts beside a no, a number or `[classes]`.
    """
    yes, no = ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
    return -ops.mean(positive * targets * yes + (1 - targets) * no, axis=-1)


def softmax_focal(targets: Any, logits: Any, gamma: float) -> Any:
    """Return cross-entropies that count less the surer an answer is of its class.

    Lin et al. 2017 (arXiv:1708.02002), with a softmax in place of their sigmoids.
    """
    logs = ops.log_softmax(logits, axis=-1)
    # The gradient of a power below 1 has no bound at 0.
    doubts = ops.maximum(1 - ops.exp(logs), 1e-7)
    return -ops.sum(targets * ops.power(doubts, gamma) * logs, axis=-1)


def sigmoid_focal(targets: Any, logits: Any, gamma: float, positive: Any = 1.0) -> Any:
    """Return the mean over classes of the focal loss of Lin et al. 2017 (arXiv:1708.02002), eq. 4.

    `positive` is as in `sigmoid_cross_entropy`, in place of their alpha.
    """
    yes, no = ops.log_sigmoid(logits), ops.log_sigmoid(-logits)
    sure = positive * targets * ops.exp(gamma * no) * yes
    return -ops.mean(sure + (1 - targets) * ops.exp(gamma * yes) * no, axis=-1)


def loss_named(
    name: str, task: Task, *, gamma: float, positive: Sequence[float] | None, mixes: bool
) -> tuple[Values, float]:
    """Return a loss by name, for one task, and what label smoothing spreads.

    Args:
        name: auto, categorical, binary, focal, or Keras' name of one, in either spelling.
        task: that it is for.
        gamma: of focal.
        positive: how much a yes of each class counts, for multi-label tasks.
        mixes: whether targets may be shares of several classes.

    Raises:
        ConfigError: there is no such loss, or it is not for such a task.
    """
    plain = name.replace("_", "").lower()
    name = _SAME.get(plain, name)
    if name == "auto":
        name = "binary" if task.multi_label else "categorical"
    if name == "categorical" and task.multi_label:
        raise ConfigError(
            f"--loss categorical is for one label a picture, and '{task.name}' may have several; use "
            "binary or focal."
        )
    weights = {"positive": np.array(positive, np.float32)} if positive is not None else {}
    if name == "categorical":
        return softmax_cross_entropy, 1 / len(task.classes)
    if name == "binary":
        return functools.partial(sigmoid_cross_entropy, **weights), 0.5
    if name == "focal" and task.multi_label:
        return functools.partial(sigmoid_focal, gamma=gamma, **weights), 0.5
    if name == "focal":
        return functools.partial(softmax_focal, gamma=gamma), 1 / len(task.classes)
    if weights:
        raise ConfigError(
            f"--class-weights of '{task.name}', which may have several labels a picture, need --loss "
            "binary or focal."
        )
    loss = _of_keras(name)
    return adapt(loss, task, f"--loss {name}", mixes=mixes), smoothing_of(task)


def _of_keras(name: str) -> keras.losses.Loss:
    """Return one of Keras' losses, by the name of its class or of its function."""
    functions = {
        kind.replace("_", ""): kind for kind, value in vars(keras.losses).items()
        if inspect.isfunction(value) and value.__module__.startswith("keras.src.losses.losses")
    }  # fmt: skip
    kinds = {
        functions[kind.lower()]: value for kind, value in vars(keras.losses).items()
        if kind.lower() in functions and inspect.isclass(value) and kind not in _OTHER_PURPOSES
    }  # fmt: skip
    try:
        aliased = keras.losses.get(name).__name__  # mse, kld, …
    except (ValueError, AttributeError):
        aliased = name
    chosen = functions.get(aliased.replace("_", "").lower())
    if chosen not in kinds:
        known = (*_NAMES, *sorted(set(kinds) - {"sparse_categorical_crossentropy"}))
        raise ConfigError(
            f"--loss: there is no '{name}'.{did_you_mean(name, known)} There are {', '.join(known)}."
        )
    kind = kinds[chosen]
    options: dict[str, Any] = {}
    parameters = inspect.signature(kind).parameters
    if "from_logits" in parameters:
        options["from_logits"] = True
    if "axis" in parameters and parameters["axis"].default is None:
        options["axis"] = 1  # else one value for the whole batch
    return kind(**options)


def smoothing_of(task: Task) -> float:
    """Return what label smoothing spreads where the loss does not say it."""
    return 0.5 if task.multi_label else 1 / len(task.classes)


def adapt(loss: Any, task: Task, where: str, *, mixes: bool) -> Values:
    """Return a loss of Keras or of a recipe as a function of targets and logits, after a trial.

    Keras' own losses get what they are made for: logits where they were told so, margins for the
    hinges, else probabilities; class indices where they want those. A function or class of a recipe
    gets targets `[batch, classes]` and logits.

    Args:
        loss: an instance of `keras.losses.Loss`, or a function `(y_true, y_pred)`.
        task: that it is for.
        where: it comes from, for messages.
        mixes: whether targets may be shares of several classes.

    Raises:
        ConfigError: it fails, or does not return one number a picture.
    """
    if not callable(loss):
        raise ConfigError(
            f"{where} returns {loss!r}; expected a loss of Keras, its name, or a function of targets "
            "and logits."
        )
    kind = type(loss).__name__
    of_keras = type(loss).__module__.startswith("keras.")
    takes_indices = of_keras and kind in _TAKE_INDICES
    if takes_indices and (task.multi_label or mixes):
        raise ConfigError(
            f"{where} takes one class a picture; leave mixup, CutMix and several labels out."
        )
    config = loss.get_config() if of_keras else {}
    takes_logits = not of_keras or kind in _TAKE_MARGINS or config.get("from_logits", False)
    answer = ops.sigmoid if task.multi_label or kind.startswith("Binary") else ops.softmax
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def values(targets: Any, logits: Any) -> Any:
        y_true = ops.argmax(targets, axis=-1) if takes_indices else targets
        return call(y_true, logits if takes_logits else answer(logits))

    targets = np.eye(len(task.classes), dtype=np.float32)[[0, -1, 0]]
    try:
        shape = tuple(ops.shape(values(targets, ops.zeros_like(targets))))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"{where} fails on targets of shape [3, {len(task.classes)}] and logits of the same "
            f"({type(error).__name__}: {reason})."
        ) from error
    if shape != (3,):
        raise ConfigError(
            f"{where} returns shape {list(shape)} for 3 pictures; expected [3], one number a picture, "
            "so that padding can be left out."
        )
    return values
