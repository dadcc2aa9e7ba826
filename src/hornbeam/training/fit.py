"""Compile and fit: the one place where weights change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from hornbeam import console
from hornbeam.backend import compiles_with_xla
from hornbeam.data.dataset import Task
from hornbeam.data.feed import feed, plain_errors
from hornbeam.data.loader import Loader
from hornbeam.training.averages import ValidateAverages
from hornbeam.training.callbacks import Clock, MetricsFile, Progress, TensorBoard
from hornbeam.training.checkpoints import Checkpoints

_WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to train.

    Attributes:
        total_steps: batches in all.
        steps_per_interval: batches from one validation to the next.
    """

    total_steps: int
    steps_per_interval: int

    @classmethod
    def of(
        cls, steps_per_epoch: int, epochs: int | None, steps: int | None, group: int = 1
    ) -> Budget:
        """Make a budget of a number of epochs or, where that is given, of steps.

        Groups of batches whose gradients are averaged are whole: the steps are rounded up to them.
        """
        total = -(-(steps or steps_per_epoch * (epochs or 1)) // group) * group
        return cls(total, min(steps_per_epoch, total))

    @property
    def intervals(self) -> int:
        """Number of validations; the last interval may be shorter than the others."""
        return -(-self.total_steps // self.steps_per_interval)


def compile_classifier(
    model: keras.Model,
    tasks: Sequence[Task],
    optimizer: keras.optimizers.Optimizer,
    *,
    mixes: bool = False,
) -> None:
    """Give a classifier its loss, metrics and optimiser.

    All metrics are weighted, so that padding, whose weight is 0, counts in none of them.

    Args:
        model: from pixels to logits by task.
        tasks: its outputs.
        optimizer: with its rate or schedule.
        mixes: targets are shares of the classes, because pictures are mixed.
    """
    losses, metrics = keras.losses, keras.metrics

    def loss_of(task: Task) -> Any:
        if task.multi_label:
            return losses.BinaryCrossentropy(from_logits=True)
        kind = losses.CategoricalCrossentropy if mixes else losses.SparseCategoricalCrossentropy
        return kind(from_logits=True)

    def metrics_of(task: Task) -> list[Any]:
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

    model.compile(
        optimizer=optimizer,
        loss={task.name: loss_of(task) for task in tasks},
        weighted_metrics={task.name: metrics_of(task) for task in tasks},
        jit_compile=compiles_with_xla(),
    )


def warmup_cosine(peak: float, total_steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a rate that rises linearly for a tenth of the steps, then falls to 0 along a cosine.

    Loshchilov and Hutter 2017 (arXiv:1608.03983), without restarts.
    """
    warmup = max(1, round(total_steps * _WARMUP))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak / 100,
        decay_steps=max(1, total_steps - warmup),
        warmup_target=peak,
        warmup_steps=warmup,
    )


def fit(
    model: keras.Model,
    training: Loader,
    validation: Loader,
    budget: Budget,
    directory: Path,
    *,
    log: Callable[..., None],
    threads: int,
    processes: int = 0,
) -> None:
    """Train a compiled classifier, with everything noted in a run directory.

    Args:
        model: gets the last weights; the best are in the checkpoints.
        training: shuffled.
        validation: in order, padded.
        budget: how long.
        directory: gets `checkpoints/`, `metrics.csv` and `tensorboard/`.
        log: is told of every validation.
        threads: pictures decoded at a time.
        processes: processes that decode; 0 = threads of this one.
    """
    clock = Clock(budget.total_steps, training.batch_size)
    with console.progress("training", budget.total_steps) as advance, plain_errors():
        model.fit(
            feed(training, budget.total_steps, threads=threads, processes=processes),
            epochs=budget.intervals,
            steps_per_epoch=budget.steps_per_interval,
            validation_data=feed(validation, validation.steps_per_epoch, threads=threads),
            validation_steps=validation.steps_per_epoch,
            callbacks=[
                clock,
                ValidateAverages(),
                Checkpoints(directory / "checkpoints", clock),
                MetricsFile(directory / "metrics.csv", clock, log),
                TensorBoard(directory / "tensorboard", clock),
                Progress(clock, budget.intervals, advance),
            ],
            shuffle=False,  # the loader did
            verbose=0,
        )
