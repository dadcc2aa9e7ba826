"""What a training is told to make small and to report: losses and metrics of every task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hornbeam.config import TrainOptions
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.groups import groupings_of
from hornbeam.measures import GROUP_ACCURACY, parse_measures
from hornbeam.training.losses import TaskLoss, adapt, loss_named, smoothing_of
from hornbeam.training.metrics import metric_of, require_suited, suits

EXACT_LOSS = "exact_loss"
"""Name of the metric that is the loss, averaged over pictures rather than over batches."""

_GAMMA = TrainOptions.model_fields["focal_gamma"].default

Counts = Mapping[str, int]


def losses_of(
    tasks: Sequence[Task],
    options: TrainOptions,
    counts: Mapping[str, Counts],
    pictures: int,
    *,
    mixes: bool = False,
    own: Any = None,
    where: str = "",
) -> dict[str, TaskLoss]:
    """Return the loss of every task.

    Args:
        tasks: what is asked.
        options: `loss`, `label_smoothing`, `focal_gamma`, `class_weights`, `loss_weights`.
        counts: how many training pictures each class has, by task and class.
        pictures: how many training pictures there are.
        mixes: targets are shares of the classes, because pictures are mixed.
        own: what a recipe's `loss()` returned: a loss of Keras, its name, a function of targets and
            logits, or a dictionary of those by task.
        where: the recipe's function, for messages.

    Raises:
        ConfigError: a loss, class or task is not known, or does not fit.
    """
    if own is not None and options.loss != "auto":
        raise ConfigError(f"{where} gives the loss; leave --loss out.")
    if options.focal_gamma != _GAMMA and options.loss != "focal":
        raise ConfigError(f"--focal-gamma is for --loss focal, not for {options.loss}.")
    owns = own if isinstance(own, dict) else dict.fromkeys((t.name for t in tasks), own)
    _require_tasks(owns, tasks, where)
    _require_tasks(dict(options.loss_weights), tasks, "--loss-weights")
    factors = class_factors(tasks, options.class_weights, counts, pictures)
    result = {}
    for task in tasks:
        chosen = owns.get(task.name)
        factor = factors.get(task.name)
        positive = factor if task.multi_label else None
        if chosen is None or isinstance(chosen, str):
            values, spread = loss_named(
                chosen or options.loss,
                task,
                gamma=options.focal_gamma,
                positive=positive,
                mixes=mixes,
            )
        elif positive is not None:
            raise ConfigError(
                f"--class-weights of '{task.name}', which may have several labels a picture, are not "
                f"for the loss of {where}."
            )
        else:
            values, spread = adapt(chosen, task, where, mixes=mixes), smoothing_of(task)
        result[task.name] = TaskLoss(
            values, task, label_smoothing=options.label_smoothing, spread=spread,
            class_weights=None if task.multi_label else factor,
            weight=dict(options.loss_weights).get(task.name, 1.0),
        )  # fmt: skip
    return result


def class_factors(
    tasks: Sequence[Task], text: str, counts: Mapping[str, Counts], pictures: int
) -> dict[str, list[float]]:
    """Return how much the pictures of each class count, by task; nothing where all count alike.

    Args:
        tasks: what is asked.
        text: `none`; `balanced`: a class of `n` of `all` pictures counts `all / (classes * n)`, as in
            scikit-learn, and a yes of a multi-label task `(all - n) / n` times as much as a no; or
            `class=factor,…`, where the classes that are not named count 1.
        counts: how many training pictures each class has, by task and class.
        pictures: how many training pictures there are.

    Raises:
        ConfigError: a class is in no task, or a factor is no number above 0.
    """
    if text == "none":
        return {}
    if text == "balanced":
        result = {}
        for task in tasks:
            seen = np.array([counts[task.name][name] for name in task.classes], float)
            # A class without a picture is never trained on; it must only not be infinite.
            least = np.maximum(seen, 1)
            balanced = seen.sum() / (len(seen) * least)
            factors = np.maximum(pictures - seen, 1) / least if task.multi_label else balanced
            result[task.name] = factors.tolist()
        return result
    given = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.rpartition("=")
        try:
            given[name.strip()] = float(number)
        except ValueError:
            given[name.strip()] = -1.0
        if not name or not 0 < given[name.strip()] < np.inf:
            raise ConfigError(
                f"--class-weights should be none, balanced, or CLASS=FACTOR,… (got '{part}')."
            )
    classes = {name for task in tasks for name in task.classes}
    for name in given:
        if name not in classes:
            raise ConfigError(
                f"--class-weights: there is no class '{name}'.{did_you_mean(name, classes)}"
            )
    return {
        task.name: [given.get(name, 1.0) for name in task.classes]
        for task in tasks
        if given.keys() & set(task.classes)
    }


def metrics_of(
    tasks: Sequence[Task],
    losses: Mapping[str, TaskLoss],
    *,
    names: Sequence[str] = (),
    groups: Mapping[str, Any] | None = None,
    mixes: bool = False,
    own: Any = None,
    where: str = "",
) -> dict[str, list[Any]]:
    """Return what is reported of every task.

    Accuracy, cross-entropy, the loss itself, those of `--metrics` that suit the task, the accuracy of
    groups where it has some, and a recipe's.

    All are weighted, so that padding, whose weight is 0, counts in none of them.

    Args:
        tasks: what is asked.
        losses: by task.
        names: of further ones, as in `hornbeam.measures`.
        groups: of classes, from `read_groups`.
        mixes: targets are shares of the classes.
        own: what a recipe's `metrics()` returned: a list, or a dictionary of lists by task. Theirs get
            class indices (shares of classes where pictures are mixed) and logits.
        where: the recipe's function, for messages.

    Raises:
        ConfigError: a name or group is for no task or class that there is; the recipe's are of another
            form, or have a name of ours.
    """
    measures = list(parse_measures(names))
    groupings = groupings_of(groups, {t.name: t.classes for t in tasks if not t.multi_label})
    require_suited(measures, tasks, groupings)
    if groupings and GROUP_ACCURACY not in measures:
        measures.append(GROUP_ACCURACY)
    owns = own if isinstance(own, dict) else {tasks[0].name: own or []}
    if own is not None and not isinstance(own, dict) and len(tasks) > 1:
        raise ConfigError(f"{where} should return a dictionary by task, as there are {len(tasks)}.")
    _require_tasks(owns, tasks, where)
    result = {}
    for task in tasks:
        exact = keras.metrics.MeanMetricWrapper(losses[task.name].call, name=EXACT_LOSS)
        grouping = groupings.get(task.name)
        asked = [
            metric_of(measure, task, grouping)
            for measure in measures
            if suits(measure, task, grouping)
        ]
        ours = [*_metrics_of(task, mixes), *asked, exact]
        theirs = owns.get(task.name, [])
        theirs = list(theirs) if isinstance(theirs, (list, tuple)) else [theirs]
        taken = {metric.name for metric in ours}
        for metric in theirs:
            name = getattr(metric, "name", getattr(metric, "__name__", metric))
            if not (isinstance(metric, (str, keras.metrics.Metric)) or callable(metric)):
                raise ConfigError(f"{where} returns {metric!r}; expected metrics of Keras.")
            if name in taken:
                raise ConfigError(
                    f"{where} returns a metric named '{name}', which there is already."
                )
            taken.add(name)
        result[task.name] = ours + theirs
    return result


def _metrics_of(task: Task, mixes: bool) -> list[Any]:
    metrics = keras.metrics
    if task.multi_label:
        return [
            metrics.BinaryAccuracy(threshold=0.0),
            metrics.BinaryCrossentropy(from_logits=True, name="cross_entropy"),
        ]
    if mixes:
        return [
            metrics.CategoricalAccuracy(name="accuracy"),
            metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
        ]
    return [
        metrics.SparseCategoricalAccuracy(name="accuracy"),
        metrics.SparseCategoricalCrossentropy(from_logits=True, name="cross_entropy"),
    ]


def _require_tasks(names: Mapping[str, Any], tasks: Sequence[Task], where: str) -> None:
    known = [task.name for task in tasks]
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{where}: there is no task '{name}'.{did_you_mean(name, known)} "
                f"The tasks are {', '.join(known)}."
            )
