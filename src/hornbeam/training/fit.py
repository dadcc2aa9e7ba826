"""Compile and fit: the one place where weights change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from hornbeam import backend, console
from hornbeam.config import TrainOptions
from hornbeam.data.feed import feed, feeding, plain_errors
from hornbeam.data.loader import Loader
from hornbeam.errors import ConfigError, InterruptionError, TrainingError
from hornbeam.training.averages import Judged, ValidateAverages
from hornbeam.training.batch_norm import WarmUpBatchNorm
from hornbeam.training.callbacks import Callbacks, Clock, Logs, MetricsFile, Progress
from hornbeam.training.checkpoints import Checkpoints, resume_command, silent
from hornbeam.training.faults import NoNumberError, WatchTheLoss, write_batch
from hornbeam.training.following.followers import Follow
from hornbeam.training.patience import EarlyStopping, Monitor, Plateau
from hornbeam.training.rates import Rates
from hornbeam.training.rhythm import Budget, Every, FollowTheClock, Rhythm
from hornbeam.training.saved import is_within_interval
from hornbeam.training.signals import Requests, heard
from hornbeam.world.world import World, lost_peers

_ENDLESS = 2**31
"""Steps and epochs for Keras, where `Rhythm` says when it is enough."""

_MOST_ROLLBACKS = 3


def compile_classifier(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    losses: Mapping[str, keras.losses.Loss],
    metrics: Mapping[str, Sequence[Any]],
    *,
    eager: bool = False,
) -> list[str]:
    """Give a classifier its optimiser, losses and metrics.

    All metrics are weighted, so that padding, whose weight is 0, counts in none of them.

    Args:
        model: from pixels to logits by task.
        optimizer: with its rate or schedule.
        losses: by task; see `objective.losses_of`, which weighs the tasks as well.
        metrics: by task; see `objective.metrics_of`.
        eager: run each operation as Python comes to it.

    Returns:
        The names that the metrics have in logs.
    """
    model.compile(
        optimizer=optimizer,
        loss=dict(losses),
        weighted_metrics={task: list(named) for task, named in metrics.items()},
        jit_compile=False if eager else backend.compiles_with_xla(),
        run_eagerly=eager,
    )
    names = [
        getattr(m, "name", getattr(m, "__name__", str(m))) for ms in metrics.values() for m in ms
    ]
    if len(metrics) == 1:
        return names
    tasks = [task for task, ms in metrics.items() for _ in ms]
    return [f"{task}_{name}" for task, name in zip(tasks, names, strict=True)]


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a training is noted.

    Attributes:
        directory: of the run: gets `checkpoints/`, `metrics.csv` and `tensorboard/`. Only the first of
            several processes uses it.
        files: what each checkpoint gets beside weights and state.
        log: is told of what happens.
    """

    directory: Path
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    log: Callable[..., None] = silent


def fit(
    model: keras.Model,
    classifier: keras.Model,
    training: Loader,
    validation: Loader | None,
    options: TrainOptions,
    place: Place,
    *,
    monitor: Monitor | None = None,
    follow: Follow | None = None,
    head: Callable[[], tuple[Logs, float]] | None = None,
    resume: bool = False,
    world: World | None = None,
) -> None:
    """Train a compiled classifier, with everything noted in a run directory.

    Args:
        model: gets the last weights; the best are in the checkpoints.
        classifier: the model, or the part of it that is kept.
        training: shuffled.
        validation: in order, padded; `None` validates nothing.
        options: resolved and planned.
        place: where all is noted.
        monitor: what makes one validation better than another; `None` where there is none.
        follow: makes callbacks that look on.
        head: trains the head before all else, see `head.train_head`; noted as epoch 0.
        resume: go on from the newest checkpoint, where there is one.
        world: the processes that train together, each with its part of the batches. All have the same
            callbacks but for those that only look on; the first one writes.

    Raises:
        InterruptionError: a signal ended the training, which is saved.
        LostPeerError: another process was lost.
        TrainingError: the loss is no number.
    """
    world = world or World()
    budget = budget_of(options, training, head is not None)
    by_clock = budget.seconds is not None or any(
        length and Every.of(length, 1, 1).steps is None
        for length in (options.validate_every, options.save_every)
    )
    agree = world.share if by_clock and world.size > 1 else None
    clock = Clock(budget.steps, training.batch_size, budget.seconds, agree)
    directory = place.directory
    requests = Requests(f"To go on: {resume_command(directory)}", world)
    per_epoch = training.steps_per_epoch
    every = Every(min(per_epoch, budget.steps or per_epoch))
    if options.validate_every:
        every = Every.of(options.validate_every, per_epoch, training.batch_size)
    judged: list[Judged] = [ValidateAverages()]
    if options.batch_norm_warmup:
        judged.append(WarmUpBatchNorm(clock))
    noted = [MetricsFile(directory / "metrics.csv", clock, place.log)] if world.first else []
    rhythm = Rhythm(clock, every)
    patience = _patience(options, clock, monitor, lambda: saver.go_back())
    followers = follow(directory, clock) if follow else []
    stateful = [
        c for c in (clock, *noted, rhythm, *patience, *followers) if hasattr(c, "get_state")
    ]
    saver = Checkpoints(
        directory / "checkpoints", clock, classifier, monitor=monitor, keep=options.keep,
        every=Every.of(options.save_every, per_epoch, training.batch_size)
        if options.save_every else None,
        requests=requests, judged=judged, stateful=stateful, files=dict(place.files),
        log=place.log, world=world,
    )  # fmt: skip
    by_epoch = every.steps is not None and every.steps in (per_epoch, budget.steps)
    epochs = -(-budget.steps // every.steps) if budget.steps and by_epoch and every.steps else None
    timed = []
    if options.time:
        timed = [FollowTheClock(clock, Rates.of(options, clocked_steps(options), per_epoch))]
    with (
        heard(requests),
        console.progress("training", budget.steps) as advance,
        lost_peers(),
        plain_errors(),
    ):
        progress = Progress(clock, epochs, advance)
        watch = [WatchTheLoss(clock)]
        # What finds a fault before a validation comes before what changes the weights for it.
        ordered = [clock, *watch, *judged, *timed, *followers, *noted, *patience, progress, rhythm,
                   saver]  # fmt: skip
        model.optimizer.build(model.trainable_variables)
        callbacks = Callbacks(ordered, model=model, add_history=True)
        session = _Session(model, training, validation, options, callbacks, clock, saver)
        together = False
        try:
            session.begin(resume, head, place)
            for rollbacks in range(_MOST_ROLLBACKS + 1):
                try:
                    session.run()
                    together = True
                    return
                except InterruptionError:
                    together = True
                    raise
                except NoNumberError as error:
                    last = options.on_nan == "stop" or rollbacks == _MOST_ROLLBACKS
                    session.mend(error, place, last)
                except Exception:
                    # A signal to all processes may have ended those that make the batches.
                    saver.rescue()
                    raise
        finally:
            saver.close()
            requests.close(orderly=together)


def budget_of(options: TrainOptions, training: Loader, with_head: bool) -> Budget:
    """Return how long to train in steps: not at all where only the head is trained, apart.

    Raises:
        ConfigError: the head alone is to be trained for a time.
    """
    if with_head and not options.finetune:
        if options.time:
            raise ConfigError(
                "--time: a head that learns from what the backbone gave once counts epochs; give "
                "--epochs, or --precompute off."
            )
        # Epochs of a head alone are over what was computed once: `train_head` has them.
        return Budget(0)
    return Budget.of(options, training.steps_per_epoch)


def clocked_steps(options: TrainOptions) -> int:
    """Return into how many steps a schedule divides a time: enough for any."""
    return 1_000_000 if options.time else 0


def _patience(
    options: TrainOptions, clock: Clock, monitor: Monitor | None, go_back: Callable[[], None]
) -> list[keras.callbacks.Callback]:
    found: list[keras.callbacks.Callback] = []
    if monitor and options.schedule == "plateau":
        back = go_back if options.rollback else None
        found.append(
            Plateau(clock, monitor, options.patience, options.factor, options.max_decays, back)
        )
    if monitor and options.early_stopping:
        found.append(EarlyStopping(clock, monitor, options.early_stopping))
    return found


class _Session:
    """One process' part of a training: from a checkpoint, or the start, to the end."""

    def __init__(
        self, model: keras.Model, training: Loader, validation: Loader | None,
        options: TrainOptions, callbacks: Callbacks, clock: Clock, saver: Checkpoints,
    ) -> None:  # fmt: skip
        self._model = model
        self._training = training
        self._validation = validation
        self._options = options
        self._callbacks = callbacks
        self._clock = clock
        self._saver = saver
        self._epoch = 0
        self._threads = options.threads or backend.cores()

    def begin(
        self, resume: bool, head: Callable[[], tuple[Logs, float]] | None, place: Place
    ) -> None:
        """Go on from a checkpoint; where there is none, train the head, if there is one to train."""
        if resume and self._go_on():
            if not self._clock.over:
                console.say(f"Going on after step {self._clock.step}.")
            place.log("resume", step=self._clock.step)
            return
        if head is not None:
            logs, self._clock.training_seconds = head()
            self._callbacks.end_interval(-1, logs)
        elif self._options.on_nan == "rollback":
            self._saver.begin()

    def _go_on(self) -> bool:
        """Put the newest checkpoint back; return whether there is one."""
        found = self._saver.newest()
        if found is None:
            return False
        state, arrays = found
        if is_within_interval(state):
            # Keras makes the variables of metrics at their first use.
            batch = self._training.empty_batch()
            self._model.test_on_batch(batch.inputs, batch.targets, batch.weights)
        self._saver.restore(state, arrays)
        self._epoch = state["epoch"]
        if not self._options.time and self._clock.factor("clock") != 1:
            self._clock.set_factor("clock", 1.0)  # of an earlier session, perhaps
        if state["waiting"] is not None:
            self._validate(state["waiting"])
        return True

    def _validate(self, logs: Logs) -> None:
        """Validate an interval that was ended before its validation was."""
        if self._validation is not None:
            judged = self._model.evaluate(
                feed(self._validation, self._validation.steps_per_epoch, threads=self._threads),
                steps=self._validation.steps_per_epoch, callbacks=self._callbacks, verbose=0,
                return_dict=True,
            )  # fmt: skip
            logs |= {f"val_{name}": value for name, value in judged.items()}
        self._callbacks.end_interval(self._epoch, logs)
        self._epoch += 1

    def run(self) -> None:
        """Train until it is over."""
        clock, validation = self._clock, self._validation
        if clock.over:
            for callback in self._callbacks.callbacks:
                callback.on_train_end()
            return
        left = _ENDLESS if clock.total_steps is None else clock.total_steps - clock.step
        judge: dict[str, Any] = {}
        if validation is not None:
            steps = validation.steps_per_epoch
            judge = {
                "validation_data": feed(validation, steps, threads=self._threads),
                "validation_steps": steps,
            }
        with feeding(
            self._training, left, clock.step, threads=self._threads,
            processes=self._options.processes,
        ) as batches:  # fmt: skip
            self._model.fit(
                batches,
                initial_epoch=self._epoch,
                epochs=_ENDLESS,
                steps_per_epoch=_ENDLESS,
                callbacks=self._callbacks,
                shuffle=False,  # the loader did
                verbose=0,
                **judge,
            )

    def mend(self, error: NoNumberError, place: Place, last: bool) -> None:
        """Show the batch whose loss is no number; go back to a checkpoint, or give up.

        Raises:
            TrainingError: there is no going back.
        """
        directory = place.directory / f"bad-step-{error.step:08}"
        if self._saver.writes:
            write_batch(self._training.part(0, 1), error.step, directory)
        what = f"{error.what}, at a learning rate of {error.rate:.3g}; its pictures are in {directory}."
        place.log("no number", step=error.step, learning_rate=error.rate)
        self._saver.wait()
        if last:
            tried = " after going back 3 times" if self._options.on_nan == "rollback" else ""
            advice = (
                "Try a lower --learning-rate, --clip-norm 1, or --on-nan rollback."
                if not tried else "Try a lower --learning-rate, or --clip-norm 1."
            )  # fmt: skip
            raise TrainingError(f"{what} Stopped{tried}. {advice}")
        factor = self._clock.factor("no number") * self._options.nan_factor
        spent = self._clock.seconds
        assert self._go_on()  # `begin` saved
        self._clock.count_as_spent(spent)
        self._clock.set_factor("no number", factor)
        console.warn(
            f"{what} Going back to step {self._clock.step}, with {factor:g} times the learning rate."
        )
