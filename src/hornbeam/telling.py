"""What the commands tell a person: tables of scores and splits, the line before a training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hornbeam import backend, console, plot
from hornbeam.config import FINETUNE_FROM, TrainOptions
from hornbeam.data.dataset import Dataset
from hornbeam.evaluation.scoring.scores import Scores
from hornbeam.evaluation.scoring.shares import ends_in_words, number, with_interval
from hornbeam.evaluation.trust.measuring import Trust
from hornbeam.world.world import World

if TYPE_CHECKING:
    import keras

    from hornbeam.training.find_rate import Tried
    from hornbeam.training.rates import Rates

_MOST_CLASSES = 30
"""Classes that are listed on a terminal; the report has all."""

_RATES = 11
"""Steps whose learning rate is listed: each tenth of a training."""


def tell_skipped(skipped: dict[str, str]) -> None:
    """Warn of pictures that were left out: the sentences of the first few, and how many in all."""
    for sentence in list(skipped.values())[:5]:
        console.warn(sentence)
    if skipped:
        what = "1 bad picture was" if len(skipped) == 1 else f"{len(skipped)} bad pictures were"
        console.warn(f"{what} skipped.")


def tell_devices(world: World, distribution: Any) -> None:
    """Say over how many devices a training is spread, if it is."""
    if distribution is None:
        return
    count = distribution.device_mesh.devices.size
    where = f" of {world.size} processes" if world.size > 1 else ""
    console.say(f"Each batch is divided among {count} devices{where}.")


def tell_split(dataset: Dataset) -> None:
    """Show how many pictures each side has of each class."""
    for task in dataset.tasks:
        counts = dataset.counts(task)
        sides = list(counts)
        names = list(task.classes)
        if len(names) > _MOST_CLASSES:
            names.sort(key=lambda name: sum(counts[side][name] for side in sides))
            console.say(f"The {_MOST_CLASSES} smallest of {len(names)} classes:")
        rows = [[name, *(str(counts[side][name]) for side in sides)] for name in names]
        console.table([task.name, *sides], rows[:_MOST_CLASSES])


def tell_scores(all_scores: list[Scores]) -> None:
    """Show the scores of every task, by class, and what the number of pictures allows to tell."""
    for scores in all_scores:
        name = scores.task.name
        _tell_classes(name if len(all_scores) > 1 else "class", scores)
        console.table(
            ["over all classes", "", "95 %"],
            [
                [measure, number(e.value), ends_in_words(e)]
                for measure, e in scores.measures.items()
            ],
        )
        of_task = f"{name}: " if len(all_scores) > 1 else ""
        kind = "all labels right in" if scores.task.multi_label else "accuracy"
        console.say(
            f"{of_task}{kind} {scores.accuracy}, cross-entropy "
            f"{with_interval(scores.cross_entropy)}, Brier score {with_interval(scores.brier_score)}. "
            f"{scores.advice}"
        )
        if scores.groups is not None:
            _tell_classes(f"group of {name}" if len(all_scores) > 1 else "group", scores.groups)
            console.say(
                f"{of_task}group_accuracy {scores.groups.accuracy}: the group of the class is right."
            )


def tell_trust(trusts: Mapping[str, Trust]) -> None:
    """Say whether the probabilities of each task mean what they say, and what guards its answers."""
    for name, trust in trusts.items():
        of_task = f"{name}: " if len(trusts) > 1 else ""
        measured = trust.after or trust.before
        said = (
            f"{of_task}Probabilities claim {measured.claimed:.1%}, {measured.accuracy.value:.1%} is "
            f"right; calibration error {measured.error:.3f}"
        )
        if trust.after:
            said += f", {trust.before.error:.3f} before calibration"
        low, high = measured.corrected.interval
        if not math.isnan(low):  # as of a single group
            said += f"; without what chance adds {low:.3f} to {high:.3f}"
        console.say(f"{said}.")
        marking = trust.thresholds if trust.marks else ()  # the report has what nobody asked for
        for sentence in (*(t.sentence for t in marking), *trust.sentences):
            console.say(f"{of_task}{sentence}")


def _tell_classes(head: str, scores: Scores) -> None:
    shown = scores.classes
    if len(shown) > _MOST_CLASSES:
        shown = tuple(sorted(shown, key=lambda c: (math.isnan(c.f1.value), c.f1.value)))
    console.table(
        [head, "pictures", "recall (95 %)", "precision (95 %)", "F1", "AUC"],
        [
            [c.name, str(c.recall.trials), str(c.recall), str(c.precision), number(c.f1.value),
             number(c.ranking.auc.value)]
            for c in shown[:_MOST_CLASSES]
        ],
    )  # fmt: skip
    if len(shown) > _MOST_CLASSES:
        console.say(f"These are the {_MOST_CLASSES} weakest of {len(shown)} classes.")


def tell_rates(rates: Rates) -> None:
    """Show the learning rate of some steps, and where it is highest."""
    steps = np.arange(rates.total_steps)
    values = rates(steps)
    shown = np.unique([*np.linspace(0, len(steps) - 1, _RATES).astype(int), values.argmax()])
    console.table(
        ["step", "learning rate"], [[str(step), f"{values[step]:.3g}"] for step in shown], left=0
    )
    console.say(
        f"{len(steps)} steps of {rates.schedule}; the rate is highest, {values.max():.3g}, at step "
        f"{values.argmax()}."
    )


def tell_tried(tried: Tried) -> None:
    """Show what came of rising learning rates, and what they suggest."""
    shown = np.unique(np.linspace(0, len(tried.rates) - 1, _RATES).astype(int))
    console.table(
        ["learning rate", "loss", "smoothed"],
        [[f"{v[i]:.{digits}}" for v, digits in
          ((tried.rates, "3g"), (tried.losses, "4f"), (tried.smoothed, "4f"))] for i in shown],
        left=0,
    )  # fmt: skip
    count = len(tried.rates)
    if not tried.falls:
        console.say(
            f"The loss never fell in {count} batches, so nothing is suggested; try more --steps, or a "
            "lower --lowest-rate."
        )
        return
    end = "" if tried.diverged else "; it did not explode, so a higher --highest-rate may tell more"
    console.say(
        f"The smoothed loss falls most steeply at {tried.steepest:.2g}, and a tenth of the rate of its "
        f"least is {tried.tenth_of_best:.2g}; {count} batches{end}. "
        f"Try --learning-rate {tried.tenth_of_best:.2g}."
    )


def plot_tried(tried: Tried, path: Path) -> None:
    """Write a plot of the losses over the learning rates."""
    finite = np.isfinite(tried.smoothed)
    if not finite.any():
        console.warn("No loss was a number, so nothing was drawn.")
        return
    # What has exploded would flatten all that there is to see.
    early = slice(0, max(2, len(tried.rates) // 2))
    shown = finite & (tried.smoothed <= 1.5 * tried.smoothed[early][finite[early]].max())
    rates, smoothed = tried.rates[shown], tried.smoothed[shown]
    suggested = [(tried.tenth_of_best, "least / 10"), (tried.steepest, "steepest")]
    plot.write_plot(
        path, rates,
        {"loss": np.minimum(tried.losses[shown], 1.5 * smoothed.max()), "smoothed": smoothed},
        labels=("learning rate", "loss"), title="loss of one batch at each learning rate", log_x=True,
        marks=[(r, float(np.interp(r, rates, smoothed)), f"{words}: {r:.2g}") for r, words in suggested]
        if tried.falls else [],
    )  # fmt: skip


def describe(options: TrainOptions, dataset: Dataset, model: keras.Model) -> str:
    """Say in a line what is about to be trained."""
    counts = ", ".join(f"{len(dataset.only(split))} {split}" for split in dataset.splits)
    trained = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    height, width, channels = options.image_size or (0, 0, 0)
    shape = f"{height}x{width}" + (f"x{channels}" if channels != 3 else "")
    name = options.model or f"{options.recipe}"
    classes = " + ".join(str(len(task.classes)) for task in dataset.tasks)
    precision = "float32" if options.precision == "auto" else options.precision
    alone = options.freeze == "backbone" and not options.finetune
    frozen = ", backbone frozen" if alone else ""
    return (
        f"{classes} classes, {counts} pictures; {name} at {shape}, "
        f"{trained:,} weights to train{frozen}; {precision} on {_engine()}."
    )


def tell_plan(options: TrainOptions, dataset: Dataset, model: keras.Model, in_two: bool) -> None:
    """Say what is done with a network that was trained before, and why."""
    if not in_two:
        return
    pictures = len(dataset.only("train"))
    said = (
        f"{pictures} training pictures: first the head alone, on what the frozen backbone gives for "
        "each picture once;"
    )
    if options.finetune:
        weights = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
        length = f"{options.steps} steps" if options.steps else f"{options.epochs} epochs"
        length = options.time or length
        length = length[:-1] if length.startswith("1 ") else length
        said += (
            f" then {weights:,} weights for {length}, kept only if the validation pictures gain "
            "(--no-finetune leaves that out)."
        )
    elif pictures < FINETUNE_FROM:
        said += " they are few to move the backbone by (--finetune would try)."
    else:
        said += " the backbone stays as it is."
    console.say(said)


def tell_trained(options: TrainOptions, model: keras.Model) -> None:
    """Show what is trained at which factor on the rate, where an option says so."""
    from hornbeam.models.freezing import rate_factors, summary

    if options.trainable or options.lr_mult or options.layer_decay < 1:
        rows = summary(model, rate_factors(model, options))
        console.table(["factor on the rate", "variables", "weights", "first … last"], rows, left=0)


def tell_groups(options: TrainOptions, total_steps: int) -> None:
    """Say that the steps were rounded up to whole groups of batches, if they were."""
    if options.accumulate > 1:
        console.say(
            f"{total_steps} batches, in groups of {options.accumulate} whose gradients are averaged: "
            f"{total_steps // options.accumulate} updates, each of "
            f"{options.accumulate * options.batch_size} pictures."
        )


def _engine() -> str:
    import keras

    return f"{keras.config.backend()} ({backend.device_kind()})"
