"""The head of a classifier trained on features that were computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hornbeam import console
from hornbeam.config import TrainOptions
from hornbeam.data.dataset import Dataset
from hornbeam.data.feed import feed
from hornbeam.data.loader import Loader
from hornbeam.data.targets import labels_of
from hornbeam.data.tasks import Task
from hornbeam.models.cut import linear_layers
from hornbeam.training.callbacks import Clock, Logs, validation_score
from hornbeam.training.features import (
    FeatureLoader,
    Features,
    Floats,
    compute_features,
    in_order,
)
from hornbeam.training.linear import LinearHead, solve_linear_head
from hornbeam.training.losses import smoothing_of
from hornbeam.training.optimizers import build_optimizer
from hornbeam.training.rhythm import Every, Rhythm
from hornbeam.training.schedules import build_schedule
from hornbeam.world.world import World

Compile = Callable[[keras.Model, Any, bool], object]
"""Gives a model an optimiser, and the losses and metrics of the options, for shares of classes as
targets or for indices."""

LARGEST = 2**31
"""Pictures times features times classes up to which a linear head is solved; 40 s at 2**29 on two
cores. Beyond, steps of gradients are quicker."""


_EPOCHS = 10
"""Over the features, for a head that cannot be solved, where the options name no number."""

_RATE = 0.001


def train_head(
    parts: tuple[keras.Model, keras.Model],
    training: Loader,
    validation: Loader,
    options: TrainOptions,
    compile_model: Compile,
    *,
    class_weights: Mapping[str, Sequence[float]],
    own_loss: bool = False,
    recipe: str = "",
    threads: int = 1,
    world: World | None = None,
) -> tuple[Logs, float] | None:
    """Train the head of a frozen backbone on what that gives for each picture.

    A linear head is solved, where the loss is cross-entropy and no epochs are asked for; any other
    learns in steps, and is left as it was after its best epoch.

    Args:
        parts: extractor and head, from `models.cut.split_at_backbone`.
        training: shuffled.
        validation: chooses the strength of L2, or the epoch.
        options: resolved and planned.
        compile_model: gives a model an optimiser, and the losses and metrics of the options.
        class_weights: by task, one a class; tasks without any are left out.
        own_loss: the recipe has a loss of its own.
        recipe: text of the recipe file, which decides what pictures look like.
        threads: pictures decoded at a time.
        world: processes that run the backbone together; the first one then trains the head.

    Returns:
        What `fit` would log of training and validation, and how many seconds it took; `None` where
        another process does that.
    """
    start = time.perf_counter()
    extractor, head = parts
    tasks = training.dataset.tasks
    made: dict[str, Any] = {
        "recipe": recipe,
        "threads": threads,
        "processes": options.processes,
        "world": world,
    }
    learnt = compute_features(extractor, training, views=options.precompute_views, **made)
    judged = compute_features(extractor, validation, runtime=learnt.runtime, **made)
    if world is not None and not world.first:
        return None
    console.say(_computed(learnt, judged, time.perf_counter() - start))
    asked = not options.finetune and (options.epochs or options.steps or options.time)
    layers = None if own_loss or asked else linear_layers(head, tasks)
    if layers and _solvable(tasks, options, class_weights, learnt.values):
        heads = solve_heads(
            layers, tasks, (training.dataset, learnt.values), (validation.dataset, judged.values),
            {name: np.asarray(w, np.float32) for name, w in class_weights.items()},
            options.label_smoothing,
        )  # fmt: skip
        found = ", ".join(f"{found.penalty:.2g}" for found in heads.values())
        console.say(f"The head was solved by L-BFGS; L2 of {found} suits the validation pictures.")
    else:
        on_features = FeatureLoader(training, learnt.values)
        held_out = FeatureLoader(validation, judged.values)
        _train_in_steps(head, on_features, held_out, options, compile_model, training.mixes)
    compile_model(head, keras.optimizers.SGD(0.0), False)
    logs = _evaluate(head, FeatureLoader(in_order(training), learnt.values[:1]))
    of_validation = _evaluate(head, FeatureLoader(in_order(validation), judged.values))
    logs |= {f"val_{name}": value for name, value in of_validation.items()}
    return logs, time.perf_counter() - start


def _computed(learnt: Features, judged: Features, seconds: float) -> str:
    """Say over how much the backbone ran, and what that was done by."""
    computed = learnt.computed + judged.computed
    pictures = learnt.values.shape[1] + judged.values.shape[1]
    if not computed:
        return f"The backbone need not run: what it gave was kept, for all {pictures} pictures."
    what = "pictures" if len(learnt.values) == 1 else "views of pictures"
    assert judged.runtime is not None  # at the latest then something ran
    return f"The backbone ran over {computed} {what} in {seconds:.0f} s ({judged.runtime.name})."


def _solvable(
    tasks: Sequence[Task], options: TrainOptions, class_weights: Mapping[str, Any], values: Floats
) -> bool:
    """Whether the loss is plain cross-entropy, and L-BFGS quick enough."""
    classes = max(len(task.classes) for task in tasks)
    if values.size * classes > LARGEST:
        return False
    for task in tasks:
        usual = "binary" if task.multi_label else "categorical"
        if options.loss not in ("auto", usual) or (task.multi_label and task.name in class_weights):
            return False
    return True


def _train_in_steps(
    head: keras.Model, training: FeatureLoader, validation: FeatureLoader, options: TrainOptions,
    compile_model: Compile, mixes: bool,
) -> None:  # fmt: skip
    changes: dict[str, Any] = {"lr_mult": (), "layer_decay": 1.0, "accumulate": 1, "ema": None}
    if options.finetune:  # what is said of steps and rates is meant for that
        changes |= {"learning_rate": _RATE, "schedule": "cosine", "learning_rate_phases": None,
                    "epochs": None, "steps": None, "time": None}  # fmt: skip
    options = options.model_copy(update=changes)
    steps = options.steps or training.steps_per_epoch * (options.epochs or _EPOCHS)
    epochs = -(-steps // training.steps_per_epoch)
    schedule = build_schedule(options, steps, training.steps_per_epoch)
    compile_model(head, build_optimizer(options, schedule, head), mixes)
    best = _Best()
    clock = Clock(steps, training.batch_size)
    with console.progress("head", steps):
        head.fit(
            feed(training, steps),
            epochs=epochs,
            steps_per_epoch=training.steps_per_epoch,
            validation_data=feed(validation, validation.steps_per_epoch),
            validation_steps=validation.steps_per_epoch,
            callbacks=[clock, best, Rhythm(clock, Every(training.steps_per_epoch))],
            shuffle=False,
            verbose=0,
        )
    head.set_weights(best.weights)
    console.say(f"The head was trained on that for {epochs} epochs; the best was {best.epoch + 1}.")


class _Best(keras.callbacks.Callback):  # type: ignore[misc]
    """Keep the weights of the best epoch, by the mended logs of a `Clock` before it."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Any] = []
        self.epoch = -1
        self._score: tuple[float, float] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare."""
        score = validation_score(logs or {})
        if self._score is None or score > self._score:
            self._score, self.epoch, self.weights = score, epoch, self.model.get_weights()


def _evaluate(head: keras.Model, loader: FeatureLoader) -> Logs:
    steps = loader.steps_per_epoch
    return dict(head.evaluate(feed(loader, steps), steps=steps, verbose=0, return_dict=True))


def solve_heads(
    layers: dict[str, keras.layers.Dense],
    tasks: Sequence[Task],
    training: tuple[Dataset, Floats],
    validation: tuple[Dataset, Floats],
    class_weights: Mapping[str, Floats] | None = None,
    label_smoothing: float = 0.0,
) -> dict[str, LinearHead]:
    """Set the last layer of each task to what fits the features best.

    Args:
        layers: the last layer of each task, from `models.cut.linear_layers`.
        tasks: what is asked.
        training: examples and their features, float32 `[views, examples, features]`.
        validation: others, which choose the strength of L2; of these only view 0 counts.
        class_weights: by task, float32 `[classes]`.
        label_smoothing: share of each target that is spread over all classes.
    """
    dataset, features = training
    held_out, held_out_features = validation
    flat = features.reshape(-1, features.shape[-1])
    heads = {}
    for task in tasks:
        shares, weights = _targets(dataset, task)
        judged_shares, judged_weights = _targets(held_out, task)
        if class_weights and task.name in class_weights:
            weights = weights * _weights_of(shares, class_weights[task.name], task)
        if label_smoothing:
            shares = shares * (1 - label_smoothing) + smoothing_of(task) * label_smoothing
        heads[task.name] = head = solve_linear_head(
            flat,
            np.tile(shares, (len(features), 1)),
            np.tile(weights, len(features)),
            held_out_features[0],
            judged_shares,
            judged_weights,
            multi_label=task.multi_label,
        )
        layers[task.name].set_weights([head.kernel, head.bias])
    return heads


def _targets(dataset: Dataset, task: Task) -> tuple[Floats, Floats]:
    """Return the share of each class, float32 `[examples, classes]`, and what each example counts."""
    rows = np.arange(len(dataset))
    labels = labels_of(dataset, task)
    weights = np.asarray(labels.known(rows), np.float32)
    shares: NDArray[Any] = labels.rows(rows, soft=True)
    return np.asarray(shares, np.float32) * weights[:, None], weights


def _weights_of(shares: Floats, class_weights: Floats, task: Task) -> Floats:
    counted = shares @ class_weights
    if task.multi_label:
        counted = counted / np.maximum(shares.sum(axis=1), 1)
    return np.asarray(counted, np.float32)
