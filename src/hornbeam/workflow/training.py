"""The commands that train: from the pictures to a run that is judged."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hornbeam import assembly, backend, console, devices, plot, resuming, telling, together
from hornbeam.config import (
    FindRateOptions,
    ScheduleOptions,
    SearchOptions,
    TrainOptions,
)
from hornbeam.data.dataset import TRAIN, VALIDATION
from hornbeam.data.inspection import checks
from hornbeam.errors import ConfigError, InterruptionError
from hornbeam.evaluation.scoring.shares import Share
from hornbeam.runs import Run, name_of, require_free
from hornbeam.storage import write_table
from hornbeam.training.signals import not_killed_by_saves
from hornbeam.workflow.judgement import Judge
from hornbeam.world.world import is_worker

if TYPE_CHECKING:
    from hornbeam.training.find_rate import Tried
    from hornbeam.training.rates import Rates

_UNKNOWN = 3000
"""Pictures that `hornbeam schedule` plans for, where it is not told of any."""


@not_killed_by_saves()
def train(options: TrainOptions) -> Run | None:
    """Train a classifier on a folder of pictures, and say what it is worth.

    Of several processes that train together only the first returns a run, as only that writes one.
    """
    if options.on_hosts and not is_worker():
        from hornbeam.workflow import clusters

        return clusters.train(options)
    here = together.join(options)
    before = resuming.earlier(options) if here.first else None
    if before:
        options = before.options
    elif here.first and options.run is not None:
        require_free(options.run, options.overwrite or options.resume)
    options = together.agreed(here, options)
    options, architecture, recipe = assembly.begin(options, restores=here.first)
    if before:
        resuming.check_backend(before, backend.running())
    threads = options.threads or backend.cores()
    dataset = assembly.open_dataset(options, recipe)

    # The network. From here on Keras is imported.
    options = assembly.with_size_and_precision(options, architecture)
    listed = dataset
    resumes = here.share(before is not None)
    begun = here.share(before is not None and before.run.has_checkpoints)
    model = assembly.build_model(
        options, architecture, recipe, listed, options.precision,
        restored=here.first and not begun,
    )  # fmt: skip
    parts = assembly.cut_model(options, model, dataset)
    if not all(here.gather(parts is not None)):  # it depends on the memory of each machine
        parts = None
    options = options.planned(len(dataset.where(TRAIN)), apart=parts is not None)
    if options.precompute == "off":
        parts = None
    if options.finetune:
        assembly.free_top(options, model)

    # Each picture is read once. This takes longest of all checks, so it comes last.
    skipped: dict[str, str] = {}
    if options.verify:
        dataset, skipped = checks.verify(dataset, options.on_bad, threads)
        telling.tell_skipped(skipped)
    together.require_same_pictures(here, dataset)
    if before:
        resuming.check_dataset(before, dataset)
    console.say(telling.describe(options, dataset, model))
    telling.tell_plan(options, dataset, model, parts is not None and not begun)
    telling.tell_trained(options, model)

    # How it is trained.
    training, validation = assembly.build_loaders(options, dataset, recipe)
    from hornbeam.training.fit import Place, budget_of, clocked_steps, fit
    from hornbeam.training.following.followers import following
    from hornbeam.training.following.tracking import log_results
    from hornbeam.training.mixing import mixing_model
    from hornbeam.training.optimizers import build_optimizer
    from hornbeam.training.patience import Monitor
    from hornbeam.training.saved import load_checkpoint
    from hornbeam.training.schedules import build_schedule

    steps = budget_of(options, training, parts is not None).steps or clocked_steps(options)
    if not options.time:
        telling.tell_groups(options, steps)
    schedule = build_schedule(options, steps, training.steps_per_epoch)
    distribution = devices.spread(here, options.devices, options.batch_size)
    telling.tell_devices(here, distribution)
    with devices.over(distribution):
        learnt = model
        if distribution is not None:
            # Another network learns there, of the same layers and weights; this one stays on one device.
            learnt = together.spread_model(here, options, architecture, recipe, listed, model)
        learner = mixing_model(learnt) if training.mixes else learnt
        optimizer = build_optimizer(options, schedule, learnt)
        names = assembly.compile_model(learner, optimizer, options, dataset, recipe, training.mixes)
        options = assembly.with_quickest_precision(
            options, learner, training, dataset, recipe, steps
        )
        judging = assembly.judging(options, validation)
        monitor = Monitor.of(options, names) if judging else None
        follow = following(options, judging, recipe, looks_on=here.first)

        # The run: nothing was written before.
        environment = {
            **backend.describe_environment(),
            "command": sys.argv,
            "processes": here.size,
        }
        run = before.run if before else None
        if run is not None:
            run.write_config(resuming.repeatable(options))
        elif here.first:
            run = Run.create(
                options.run, name_of(options.data), options.overwrite or options.resume
            )
            run.write_setup(resuming.repeatable(options), dataset, environment, skipped, recipe)

        # The training: the head alone where the backbone is frozen at first, then all that is trained.
        def head() -> tuple[dict[str, float], float]:
            assert parts is not None
            return together.train_head(
                here, parts, training, validation, options, dataset, recipe, (model, learnt)
            )

        place = Place(Path(here.share(str(run.path) if run else None)))
        if run is not None:
            run.log("start", steps=steps, environment=environment)
            place = Place(run.path, run.files_of_checkpoints(), run.log)
        with (
            run.logging_the_end() if run else contextlib.nullcontext(),
            backend.graph_bfloat16(options.precision == backend.GRAPH_BFLOAT16),
            here.parting(InterruptionError),
        ):
            fit(
                learner, learnt, training.part(here.rank, here.size),
                judging.part(here.rank, here.size) if judging else None, options, place,
                monitor=monitor, follow=follow, head=head if parts else None, resume=resumes,
                world=here,
            )  # fmt: skip
    if run is None:
        return None

    # What it is worth. The kept model is in float32, so that it loads and answers
    # alike anywhere.
    best = load_checkpoint(model, run.checkpoints)
    learner = mixing_model(model) if training.mixes else model
    if options.precise_batch_norm:
        assembly.recompute_batch_norm(learner, training, options.precise_batch_norm, threads)
    if backend.dtype_policy(options.precision) != "float32":
        trained = model.get_weights()
        model = assembly.build_model(
            options, architecture, recipe, listed, "float32", restored=False
        )
        model.set_weights(trained)
    run.save_model(model)
    if options.validation:
        # One device answers now, which has room for its part of a batch, and perhaps not for all.
        share = options.batch_size // devices.count(distribution)
        judge = Judge(run, model, recipe, share, threads)
        judge.judge(dataset.only(VALIDATION), learnt=dataset.only(TRAIN))
    log_results(run.path)
    run.log("end", best_step=best["step"])
    said = f"The model and all about it are in {run.path}"
    console.say(f"{said}; the report is {run.report}." if options.validation else f"{said}.")
    return run


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
    batches = training.batches(0, len(rates), threads=options.threads or backend.cores())
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


def search(options: SearchOptions) -> int:
    """Train with many values of options, and compare; return the exit code: it may be stopped."""
    from hornbeam.search import workers

    given = {k: v for k, v in resuming.repeatable(options).items() if k in options.model_fields_set}
    directory = options.run or Path("runs") / f"{name_of(options.data)}-search"
    try:
        return workers.search(options, given, directory, lambda n, of: Share(n, of).interval)
    except OSError as error:
        error.filename = error.filename or str(directory)  # a full disk names no file
        raise
