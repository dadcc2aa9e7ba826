"""The commands about the learning rate: what a schedule makes of it, and where to begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hornbeam import assembly, backend, console, plot, telling
from hornbeam.config import FindRateOptions, ScheduleOptions
from hornbeam.data.dataset import TRAIN
from hornbeam.data.inspection import verifying
from hornbeam.errors import ConfigError
from hornbeam.storage import write_table

if TYPE_CHECKING:
    from hornbeam.training.find_rate import Tried
    from hornbeam.training.rates import Rates

_UNKNOWN = 3000
"""Pictures that `hornbeam schedule` plans for, where it is not told of any."""


def show_schedule(options: ScheduleOptions) -> Rates:
    """Show the learning rate of every step: a table, or a plot."""
    from hornbeam.training.rates import Rates

    plot.require_plot(options.plot)
    per_epoch, pictures = None, _UNKNOWN
    if options.data or options.recipe:
        options, _, recipe = assembly.begin(options, restores=False)
        pictures = len(assembly.open_dataset(options, recipe).only(TRAIN))
        per_epoch = -(-pictures // options.batch_size)
    else:
        options = options.resolved()
    options = options.planned(pictures)
    steps = options.steps or (per_epoch or 0) * (options.epochs or 0)
    if options.time:
        raise ConfigError(
            "With --time the rate follows the clock; give any --steps in its place to see its form."
        )
    if not steps:
        raise ConfigError(
            "Nothing is trained in steps: the head of the frozen backbone is solved. With --epochs, "
            "--finetune or --freeze none there is a schedule."
        )
    total = -(-steps // options.accumulate) * options.accumulate
    rates = Rates.of(options, total, per_epoch)
    if options.plot:
        drawn = np.unique(np.linspace(0, total - 1, 2000).astype(int))
        plot.write_plot(
            options.plot, drawn, {"learning rate": rates(drawn)}, labels=("step", "learning rate"),
            title=f"{options.schedule}, {total} steps",
        )  # fmt: skip
    telling.tell_rates(rates)
    return rates


def find_learning_rate(options: FindRateOptions) -> Tried:
    """Train on a few batches at rising rates, and suggest where to begin."""
    plot.require_plot(options.plot)
    options, architecture, recipe = assembly.begin(options)
    dataset = assembly.open_dataset(options, recipe)
    options = options.planned(len(dataset.where(TRAIN)))
    options = assembly.with_size_and_precision(options, architecture)
    model = assembly.build_model(options, architecture, recipe, dataset, options.precision)
    threads = options.threads or backend.cores()
    # Else a few batches do not wait for a look at all pictures.
    if options.verify and options.on_bad == "skip":
        dataset, skipped = verifying.verify(dataset, options.on_bad, threads)
        telling.tell_skipped(skipped)
    training, _ = assembly.build_loaders(options, dataset, recipe)
    from hornbeam.training.find_rate import rising_rates, try_rates
    from hornbeam.training.mixing import mixing_model
    from hornbeam.training.optimizers import build_optimizer

    learner = mixing_model(model) if training.mixes else model
    optimizer = build_optimizer(
        options.model_copy(update={"accumulate": 1, "ema": None}), options.lowest_rate, model
    )
    assembly.compile_model(learner, optimizer, options, dataset, recipe, training.mixes)
    rates = rising_rates(options.lowest_rate, options.highest_rate, options.steps)
    batches = training.batches(0, len(rates), threads=threads)
    with console.progress("trying rates", len(rates)) as advance:
        tried = try_rates(
            learner, batches, rates, lambda rate, loss: advance(1, f"{rate:.2g}: loss {loss:.3f}")
        )
    telling.tell_tried(tried)
    if options.plot:
        telling.plot_tried(tried, options.plot)
    if options.csv_file:
        columns = {"learning_rate": tried.rates, "loss": tried.losses, "smoothed": tried.smoothed}
        write_table(options.csv_file, pa.table(columns))
    return tried
