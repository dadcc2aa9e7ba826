"""The command that trains: from the pictures to a run that is judged."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from hornbeam import assembly, backend, console, devices, resuming, telling, together
from hornbeam.config import TrainOptions
from hornbeam.data.dataset import TRAIN, VALIDATION
from hornbeam.data.inspection import verifying
from hornbeam.errors import InterruptionError
from hornbeam.runs import Run, name_of, require_free
from hornbeam.training.signals import not_killed_by_saves
from hornbeam.workflow.judgement import Judge
from hornbeam.world.world import is_worker


@not_killed_by_saves()
def train(options: TrainOptions) -> Run | None:
    """Train a classifier on a folder of pictures, and say what it is worth.

    Of several processes that train together only the first returns a run, as only that writes one.
    """
    if options.on_hosts and not is_worker():
        from hornbeam.workflow.hosts_training import train_on_hosts

        return train_on_hosts(options)
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
        dataset, skipped = verifying.verify(dataset, options.on_bad, threads)
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
    if learnt is not model:
        del learner, learnt, optimizer, follow  # the memory of the devices is needed again
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
