"""What `--metrics` reports while a model trains, from counts that are added up batch by batch.

All state is in variables of Keras: it is compiled on any backend, and a checkpoint has it. A picture
of weight 0, padding or one without a label, changes no value. Targets are class indices `[batch]`,
shares of classes `[batch, classes]` (where pictures are mixed; the largest counts), or marks of
several labels; answers are logits `[batch, classes]`.

Counts are float32, so exact up to 16.7 million pictures. What depends on the order of probabilities
is counted in bins, even in asinh of the log-odds: fine around one half, and none is lost however
sure the model is. Pictures of one bin count as equally probable, which moved no area by more than
0.0005 and nothing else by more than 0.002 in tests/training/test_metrics.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.groups import Grouping
from hornbeam.measures import COUNTED, Measure

_MOST_BINS = 8192
_FEWEST_BINS = 256
_ALL_BINS = 2**18
"""Bins of all classes together, about: 1 MB for the yes and as much for the no. Four times as many made
a step with 1,000 classes 15 ms longer on two cores."""

_FARTHEST = 5.3
"""asinh of log-odds of 100, beyond which float32 logits hardly get."""

_ROUNDING = 1e-6
"""By which a specificity may miss what was asked for, as a quotient of float32."""


class CountedMetric(keras.metrics.Metric):  # type: ignore[misc]
    """What follows from three numbers of each class: there, answered, and both.

    Args:
        measure: `precision`, `recall` or `f1`, of one class or as mean over those that there are.
        task: that it is for.
    """

    def __init__(self, measure: Measure, task: Task) -> None:
        super().__init__(name=_scope(measure))
        self._measure, self._task = measure, task
        count = (len(task.classes),)
        self.there = self.add_variable(count, "zeros", name="there")
        self.answered = self.add_variable(count, "zeros", name="answered")
        self.both = self.add_variable(count, "zeros", name="both")
        self.name = measure.name

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch."""
        truth, weights = _marks(y_true, self._task), _weights(y_pred, sample_weight)
        if self._task.multi_label:
            answers = ops.cast(y_pred >= 0, "float32")
        else:
            answers = ops.one_hot(ops.argmax(y_pred, axis=-1), len(self._task.classes))
        for variable, marks in (
            (self.there, truth), (self.answered, answers), (self.both, truth * answers),
        ):  # fmt: skip
            variable.assign_add(ops.sum(marks * weights, axis=0))

    def result(self) -> Any:
        """Return the value; NaN where the class, or any, has no picture."""
        there, answered, both = (ops.convert_to_tensor(v) for v in self._variables)
        # A class that is there and never answered has the precision 0.
        totals = {"precision": answered, "recall": there, "f1": (there + answered) / 2}
        values = both / ops.maximum(totals[self._measure.kind], 1e-30)
        return _of_class_or_mean(values, there > 0, self._measure, self._task)


class RankedMetric(keras.metrics.Metric):  # type: ignore[misc]
    """What follows from the order in which a class's probability puts the pictures.

    Args:
        measure: `auc`, `average_precision` or `sensitivity_at_specificity`.
        task: that it is for.
    """

    def __init__(self, measure: Measure, task: Task) -> None:
        super().__init__(name=_scope(measure))
        self._measure, self._task = measure, task
        classes = 1 if measure.of is not None else len(task.classes)
        self._bins = int(np.clip(_ALL_BINS // classes, _FEWEST_BINS, _MOST_BINS))
        self.yes = self.add_variable((classes, self._bins), "zeros", name="yes")
        self.no = self.add_variable((classes, self._bins), "zeros", name="no")
        self.name = measure.name

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch."""
        truth, odds = _marks(y_true, self._task), log_odds(y_pred, self._task)
        weights = _weights(y_pred, sample_weight)
        if self._measure.of is not None:
            place = self._task.classes.index(self._measure.of)
            truth, odds = truth[:, place : place + 1], odds[:, place : place + 1]
        share = (ops.arcsinh(odds) + _FARTHEST) / (2 * _FARTHEST)
        # Clipped as whole numbers, which a NaN in padding is as well by then.
        bins = ops.clip(ops.cast(ops.floor(share * self._bins), "int32"), 0, self._bins - 1)
        classes = self.yes.shape[0]
        slots = ops.reshape(bins + self._bins * ops.arange(classes, dtype="int32"), (-1,))
        for variable, marks in ((self.yes, truth), (self.no, 1 - truth)):
            counts = ops.segment_sum(
                ops.reshape(marks * weights, (-1,)), slots, variable.shape[0] * self._bins
            )
            variable.assign_add(ops.reshape(counts, variable.shape))

    def result(self) -> Any:
        """Return the value; NaN where there is no yes, or no no."""
        # From the most probable bin on.
        yes, no = (ops.flip(ops.convert_to_tensor(v), axis=1) for v in (self.yes, self.no))
        above_yes, above_no = ops.cumsum(yes, axis=1), ops.cumsum(no, axis=1)
        all_yes, all_no = above_yes[:, -1], above_no[:, -1]
        some_yes, some_no = (ops.maximum(a, 1e-30)[:, None] for a in (all_yes, all_no))
        defined = ops.logical_and(all_yes > 0, all_no > 0)
        if self._measure.kind == "auc":
            # A no beats no yes of its own bin, and ties with half of them.
            values = ops.sum((above_yes - yes / 2) / some_yes * (no / some_no), axis=1)
        elif self._measure.kind == "average_precision":
            precision = above_yes / ops.maximum(above_yes + above_no, 1e-30)
            values = ops.sum(yes / some_yes * precision, axis=1)
            defined = all_yes > 0
        else:
            specific = 1 - above_no / some_no >= self._measure.number - _ROUNDING
            values = ops.max(ops.where(specific, above_yes / some_yes, 0.0), axis=1)
        return _of_class_or_mean(values, defined, self._measure, self._task)


def metric_of(measure: Measure, task: Task, grouping: Grouping | None) -> Any:
    """Return the metric of Keras for a measure of a task.

    Args:
        measure: one that `suits` the task.
        task: that it is for.
        grouping: of the task's classes, if any.
    """
    if measure.kind in COUNTED:
        return CountedMetric(measure, task)
    if measure.kind == "top":
        return keras.metrics.MeanMetricWrapper(
            lambda y_true, y_pred: _in_top(y_true, y_pred, task, int(measure.number)),
            name=measure.name,
        )
    if measure.kind == "group_accuracy":
        assert grouping is not None  # it suits the task
        return keras.metrics.MeanMetricWrapper(
            lambda y_true, y_pred: _same_group(y_true, y_pred, task, grouping), name=measure.name
        )
    return RankedMetric(measure, task)


def suits(measure: Measure, task: Task, grouping: Grouping | None) -> bool:
    """Whether a measure says something of a task."""
    if measure.kind == "top":
        return not task.multi_label and measure.number < len(task.classes)
    if measure.kind == "group_accuracy":
        return grouping is not None
    return measure.of is None or measure.of in task.classes


def require_suited(
    measures: Sequence[Measure], tasks: Sequence[Task], groupings: dict[str, Grouping]
) -> None:
    """Raise where a measure suits no task.

    Raises:
        ConfigError: so it is.
    """
    for measure in measures:
        if any(suits(measure, task, groupings.get(task.name)) for task in tasks):
            continue
        if measure.kind == "group_accuracy":
            raise ConfigError("--metrics group_accuracy needs --groups FILE.")
        if measure.kind == "top":
            most = max((len(task.classes) for task in tasks if not task.multi_label), default=0)
            raise ConfigError(
                f"--metrics {measure.name}: with {most} classes it would always be 1."
                if most
                else f"--metrics {measure.name} is for one label a picture."
            )
        classes = [name for task in tasks for name in task.classes]
        raise ConfigError(
            f"--metrics {measure.name}: there is no class '{measure.of}'."
            f"{did_you_mean(str(measure.of), classes)}"
        )


def log_odds(logits: Any, task: Task) -> Any:
    """Return log(p / (1 - p)) of each class's probability p, float32 `[batch, classes]`.

    Exact however sure the model is: 1 - p is never computed.
    """
    logits = ops.cast(logits, "float32")
    if task.multi_label:
        return logits
    if len(task.classes) == 1:
        return ops.full_like(logits, _FARTHEST)
    best = ops.one_hot(ops.argmax(logits, axis=-1), len(task.classes))
    shifted = logits - ops.max(logits, axis=-1, keepdims=True)
    powers = ops.exp(shifted)
    # For all but the best class the others hold the best, so nothing is lost by subtracting.
    others = ops.log(ops.maximum(ops.sum(powers, axis=-1, keepdims=True) - powers, 1e-30))
    besides = ops.logsumexp(ops.where(best > 0, -np.inf, shifted), axis=-1, keepdims=True)
    return shifted - ops.where(best > 0, besides, others)


def _of_class_or_mean(values: Any, defined: Any, measure: Measure, task: Task) -> Any:
    """Return the value of the class that is asked for, or the mean of those that are defined."""
    if measure.of is not None:
        place = task.classes.index(measure.of) if values.shape[0] > 1 else 0
        return ops.where(defined[place], values[place], np.nan)
    count = ops.sum(ops.cast(defined, "float32"))
    mean = ops.sum(ops.where(defined, values, 0.0)) / ops.maximum(count, 1.0)
    return ops.where(count > 0, mean, np.nan)


def _in_top(y_true: Any, logits: Any, task: Task, count: int) -> Any:
    # As many logits above that of the truth as there are better answers: ties speak for it, as in
    # Keras' own top-k.
    truth = _marks(y_true, task)
    own = ops.sum(ops.where(truth > 0, logits, 0.0), axis=-1, keepdims=True)
    return ops.cast(ops.sum(ops.cast(logits > own, "int32"), axis=-1) < count, "float32")


def _same_group(y_true: Any, logits: Any, task: Task, grouping: Grouping) -> Any:
    members = np.eye(len(grouping.names), dtype=np.float32)[list(grouping.group_of)]
    truth = ops.argmax(ops.matmul(_marks(y_true, task), members), axis=-1)
    answers = ops.argmax(ops.matmul(ops.softmax(ops.cast(logits, "float32")), members), axis=-1)
    return ops.cast(truth == answers, "float32")


def _marks(y_true: Any, task: Task) -> Any:
    """Return which classes are true, 0 or 1, float32 `[batch, classes]`."""
    rank, classes = len(y_true.shape), len(task.classes)
    if task.multi_label:
        return ops.cast(y_true >= 0.5, "float32")
    if rank == 2 and y_true.shape[-1] == classes > 1:
        y_true = ops.argmax(y_true, axis=-1)
    return ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), classes, dtype="float32")


def _weights(logits: Any, sample_weight: Any) -> Any:
    """Return what each picture counts, float32 `[batch, 1]`."""
    if sample_weight is None:
        return ops.ones((ops.shape(logits)[0], 1))
    return ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))


def _scope(measure: Measure) -> str:
    """Return a name that TensorFlow takes for the scope of variables: classes have any name."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", measure.name)
