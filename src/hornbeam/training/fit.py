"""Compile and fit: the one place where weights change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from hornbeam import console
from hornbeam.backend import compiles_with_xla
from hornbeam.data.feed import feed, plain_errors
from hornbeam.data.loader import Loader
from hornbeam.training.averages import ValidateAverages
from hornbeam.training.batch_norm import WarmUpBatchNorm
from hornbeam.training.callbacks import Clock, Logs, MetricsFile, Progress
from hornbeam.training.checkpoints import Checkpoints
from hornbeam.training.tensorboard import TensorBoard


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
        """Make a budget of a number of epochs or, where that is given, of steps; of neither, of none.

        Groups of batches whose gradients are averaged are whole: the steps are rounded up to them.
        """
        total = -(-(steps or steps_per_epoch * (epochs or 0)) // group) * group
        return cls(total, max(1, min(steps_per_epoch, total)))

    @property
    def intervals(self) -> int:
        """Number of validations; the last interval may be shorter than the others."""
        return -(-self.total_steps // self.steps_per_interval)


def compile_classifier(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    losses: Mapping[str, keras.losses.Loss],
    metrics: Mapping[str, Sequence[Any]],
) -> None:
    """Give a classifier its optimiser, losses and metrics.

    All metrics are weighted, so that padding, whose weight is 0, counts in none of them.

    Args:
        model: from pixels to logits by task.
        optimizer: with its rate or schedule.
        losses: by task; see `objective.losses_of`, which weighs the tasks as well.
        metrics: by task; see `objective.metrics_of`.
    """
    model.compile(
        optimizer=optimizer,
        loss=dict(losses),
        weighted_metrics={task: list(named) for task, named in metrics.items()},
        jit_compile=compiles_with_xla(),
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
    head: tuple[Logs, float] | None = None,
    batch_norm_warmup: bool = False,
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
        head: what `train_head` returned, where there was one; noted as epoch 0.
        batch_norm_warmup: see `batch_norm.WarmUpBatchNorm`.
    """
    clock = Clock(budget.total_steps, training.batch_size)
    with console.progress("training", budget.total_steps) as advance, plain_errors():
        callbacks: list[keras.callbacks.Callback] = [
            clock,
            *([WarmUpBatchNorm(clock)] if batch_norm_warmup else []),
            ValidateAverages(),
            Checkpoints(directory / "checkpoints", clock),
            MetricsFile(directory / "metrics.csv", clock, log),
            TensorBoard(directory / "tensorboard", clock),
            Progress(clock, budget.intervals, advance),
        ]
        if head is not None:
            model.optimizer.build(model.trainable_variables)  # a checkpoint holds its state
            logs, clock.training_seconds = head
            for callback in callbacks:
                callback.set_model(model)
                callback.on_epoch_end(-1, logs)
        if not budget.total_steps:
            for callback in callbacks:
                callback.on_train_end()
            return
        model.fit(
            feed(training, budget.total_steps, threads=threads, processes=processes),
            epochs=budget.intervals,
            steps_per_epoch=budget.steps_per_interval,
            validation_data=feed(validation, validation.steps_per_epoch, threads=threads),
            validation_steps=validation.steps_per_epoch,
            callbacks=callbacks,
            shuffle=False,  # the loader did
            verbose=0,
        )
