"""Each command as one function, read from top to bottom: from the pictures to the result."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hornbeam import assembly, backend, console, plot, resuming, telling
from hornbeam.config import (
    AugmentPreviewOptions,
    CheckOptions,
    EvaluateOptions,
    ExportOptions,
    FindRateOptions,
    InspectOptions,
    ModelsOptions,
    PredictOptions,
    PrepareOptions,
    SampleOptions,
    ScheduleOptions,
    SearchOptions,
    SplitOptions,
    TrainOptions,
    WatchOptions,
)
from hornbeam.data import sample, sources, splits
from hornbeam.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from hornbeam.data.inspection import checks
from hornbeam.data.loader import Loader
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.remote import is_remote
from hornbeam.durations import Duration
from hornbeam.errors import ConfigError
from hornbeam.evaluation.shares import Share
from hornbeam.evaluation.statistics import Scores
from hornbeam.models.zoo import ZOO, find_architecture
from hornbeam.recipe import Recipe
from hornbeam.runs import Run, require_free
from hornbeam.storage import write_table
from hornbeam.training.signals import not_killed_by_saves

if TYPE_CHECKING:
    import keras

    from hornbeam.evaluation.predictions import Predictions
    from hornbeam.training.find_rate import Tried
    from hornbeam.training.rates import Rates

_UNKNOWN = 3000
"""Pictures that `hornbeam schedule` plans for, where it is not told of any."""

_COMPARED = 64
"""Held-out pictures on which an export is compared with the model."""


def draw_sample(options: SampleOptions) -> None:
    """Draw a small dataset to try things on."""
    try:
        count = sample.draw_sample(options.directory, options.per_class, options.size, options.seed)
    except FileExistsError:
        raise ConfigError(f"{options.directory} exists already and is not empty.") from None
    console.say(
        f"{count} pictures of {len(sample.SHAPES)} classes are in {options.directory}; "
        f"now: hornbeam train {options.directory}"
    )


def check(options: CheckOptions) -> int:
    """Say what is wrong with pictures and labels; return the exit code, 3 if there are problems."""
    from hornbeam.data.inspection import check_page, facts, findings

    told: list[tuple[str, str]] = []
    dataset = sources.open_dataset(
        options.data, options, tell=lambda kind, sentence: told.append((kind, sentence))
    )
    threads = options.threads or backend.cores()
    seen = facts.gather(dataset, threads, cache=options.cache)
    found = checks.find_faults(
        dataset, seen, near=options.near, smallest_class=options.smallest_class, threads=threads,
        folder=Path(options.data) if Path(options.data).is_dir() else None, told=told,
    )  # fmt: skip
    rows = findings.summary(found)
    for severity in ("problem", "note"):
        chosen = [row for row in rows if findings.KINDS[row[0]].severity == severity]
        if chosen:
            console.table(
                [f"{severity}s", "example", "number"],
                [
                    [findings.KINDS[kind].title, example, str(count)]
                    for kind, count, example in chosen
                ],
                left=2,
            )
    if options.json_file:
        findings.write_report(options.json_file, dataset.root, len(dataset), found)
    if options.fix_list:
        findings.write_fixes(options.fix_list, found)
    if options.html:
        check_page.write_check_page(options.html, dataset, seen, found)
    console.say(findings.conclusion(len(dataset), found, options.html, options.fix_list))
    return 3 if any(finding.severity == "problem" for finding in found) else 0


def split(options: SplitOptions) -> Dataset:
    """Divide pictures into train, validation and test, and write a manifest."""
    from hornbeam.data.inspection.duplicates import near_duplicate_groups
    from hornbeam.data.inspection.facts import gather
    from hornbeam.data.tables import manifest_writer

    dataset = sources.open_dataset(options.data, options)
    threads = options.threads or backend.cores()
    together = []
    if options.near >= 0:
        facts = gather(dataset, threads)
        dataset, skipped = checks.sift(dataset, facts, options.on_bad)
        telling.tell_skipped(skipped)
        seen = facts.rows[facts.good()]
        copies = np.unique(seen["digest"], return_inverse=True)[1]
        near = near_duplicate_groups(seen["hash"], seen["thumbnail"], options.near, threads)
        together = [copies, near]
    previous = options.previous or (options.out if options.out.is_file() else None)
    given = splits.sides_of(dataset)
    if (given >= 0).all() and not options.keep:
        given = np.full(len(dataset), -1)
        if previous is None:
            console.say(f"The split of {options.data} itself is given up; --keep would keep it.")
    if previous is not None:
        earlier = manifest_writer.earlier_sides(dataset, previous)
        given = np.where(earlier >= 0, earlier, given)
        console.say(f"{np.count_nonzero(earlier >= 0)} pictures stay where {previous} has them.")
    sides = splits.divide(
        dataset, options.ratios, options.seed, together=together,
        fixed=given if (given >= 0).any() else None, exact=options.exact,
    )  # fmt: skip
    dataset = splits.with_sides(dataset, sides)
    needed = manifest_writer.write_manifest(dataset, options.out)
    telling.tell_split(dataset)
    command = " ".join(["hornbeam train", str(options.out), *needed])
    console.say(f"{len(dataset)} pictures are in {options.out}; now: {command}")
    return dataset


def prepare(options: PrepareOptions) -> None:
    """Write pictures into TFRecord shards."""
    from hornbeam.data.shards import prepare as preparing

    dataset = sources.open_dataset(options.data, options)
    done = preparing.prepare(dataset, options)
    telling.tell_skipped({path: f"{path}: {reason}" for path, reason in done.skipped.items()})
    if done.missing:
        console.say(
            f"Part {options.part} of {options.out} is written; {done.missing} of {done.shards} shards "
            "are missing still, and the last part makes the index."
        )
        return
    how = "are" if done.written else "were already"
    console.say(
        f"{done.examples} pictures {how} in {done.shards} shards in {options.out}; "
        f"now: hornbeam train {options.out}"
    )


def preview_augmentation(options: AugmentPreviewOptions) -> None:
    """Write a page that shows what augmentation makes of some pictures."""
    from hornbeam.data.augment_page import write_augment_page

    dataset = sources.open_dataset(options.data, options)
    if TRAIN in dataset.splits:
        dataset = dataset.only(TRAIN)
    write_augment_page(
        options.html, dataset, Augmentation.from_options(options), options.augment,
        pictures=options.pictures, variations=options.variations, image_size=options.image_size,
        resize_mode=options.resize_mode, seed=options.seed,
    )  # fmt: skip
    console.say(f"{options.html} shows {options.variations} variations of each picture.")


@not_killed_by_saves()
def train(options: TrainOptions) -> Run:
    """Train a classifier on a folder of pictures, and say what it is worth."""
    before = resuming.earlier(options)
    if before:
        options = before.options
    elif options.run is not None:
        require_free(options.run, options.overwrite or options.resume)
    options, architecture, recipe = assembly.begin(options)
    if before:
        resuming.check_backend(before, backend.running())
    threads = options.threads or backend.cores()
    dataset = assembly.open_dataset(options, recipe)

    # The network. From here on Keras is imported.
    options = assembly.with_size_and_precision(options, architecture)
    listed = dataset
    begun = before is not None and before.run.has_checkpoints
    model = assembly.build_model(
        options, architecture, recipe, listed, options.precision, restored=not begun
    )
    parts = assembly.cut_model(options, model, dataset)
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
    if before:
        resuming.check_dataset(before, dataset)
    console.say(telling.describe(options, dataset, model))
    telling.tell_plan(options, dataset, model, parts is not None and not begun)
    telling.tell_trained(options, model)

    # How it is trained.
    training, validation = assembly.build_loaders(options, dataset, recipe)
    from hornbeam.training.checkpoints import load_checkpoint
    from hornbeam.training.fit import Place, budget_of, clocked_steps, fit
    from hornbeam.training.following.followers import following
    from hornbeam.training.following.tracking import log_results
    from hornbeam.training.mixing import mixing_model
    from hornbeam.training.optimizers import build_optimizer
    from hornbeam.training.patience import Monitor
    from hornbeam.training.schedules import build_schedule

    steps = budget_of(options, training, parts is not None).steps or clocked_steps(options)
    if not options.time:
        telling.tell_groups(options, steps)
    schedule = build_schedule(options, steps, training.steps_per_epoch)
    learner = mixing_model(model) if training.mixes else model
    optimizer = build_optimizer(options, schedule, model)
    names = assembly.compile_model(learner, optimizer, options, dataset, recipe, training.mixes)
    options = assembly.with_quickest_precision(options, learner, training, dataset, recipe, steps)
    judging = assembly.judging(options, validation)
    monitor = Monitor.of(options, names) if judging else None
    follow = following(options, judging, recipe)

    # The run: nothing was written before.
    environment = {**backend.describe_environment(), "command": sys.argv}
    if before:
        run = before.run
        run.write_config(resuming.repeatable(options))
    else:
        run = Run.create(options.run, _name_of(options.data), options.overwrite or options.resume)
        run.write_setup(resuming.repeatable(options), dataset, environment, skipped, recipe)

    # The training: the head alone where the backbone is frozen at first, then all that is trained.
    run.log("start", steps=steps, environment=environment)
    with run.logging_the_end(), backend.graph_bfloat16(options.precision == backend.GRAPH_BFLOAT16):
        fit(
            learner, model, training, judging, options,
            Place(run.path, run.files_of_checkpoints(), run.log), monitor=monitor, follow=follow,
            head=(lambda: assembly.train_head(
                parts, training, validation, options, dataset, recipe
            )) if parts else None,
            resume=before is not None,
        )  # fmt: skip

    # What it is worth. The kept model is in float32, so that it loads and answers
    # alike anywhere.
    best = load_checkpoint(model, run.checkpoints)
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
        _judge(run, model, dataset.only(VALIDATION), recipe, options.batch_size, threads)
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
        options, _, recipe = assembly.begin(options)
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
    directory = options.run or Path("runs") / f"{_name_of(options.data)}-search"
    return workers.search(options, given, directory, lambda n, of: Share(n, of).interval)


def evaluate(options: EvaluateOptions) -> list[Scores]:
    """Say how good a trained model is, with error bars."""
    run = Run.open(options.run)
    backend.select_backend(options.backend)
    threads = options.threads or backend.cores()
    dataset = _pictures_to_judge(run, options, options.split)
    model, recipe = run.load_model(), run.recipe() or Recipe.none()
    scores = _judge(
        run, model, dataset, recipe, options.batch_size, threads, options.tta, options.groups
    )
    console.say(f"The report is {run.report}.")
    return scores


def watch(options: WatchOptions) -> Path:
    """Evaluate each checkpoint of a training as it appears; return the CSV file of the scores."""
    from hornbeam.evaluation import watch as watching
    from hornbeam.evaluation.statistics import score

    run, timeout = Run(options.run), Duration.parse(options.timeout).amount
    if not options.once:
        watching.wait_for(run.path, lambda: run.is_set_up, options.poll, timeout)
    run = Run.open(options.run)
    backend.select_backend(options.backend)
    from hornbeam.evaluation.predictions import predict as ask

    threads = options.threads or backend.cores()
    split = options.split or ("auto" if options.data else "validation")
    dataset = _pictures_to_judge(run, options, split)
    name = "-".join([_name_of(options.data)] * bool(options.data) + [split] * (split != "auto"))
    pipeline = _pipeline(run, run.recipe() or Recipe.none())
    size, tasks = run.image_size(), run.tasks()
    models: list[keras.Model] = []

    def judge(checkpoint: Path) -> list[Scores]:
        loaded = Run.open(checkpoint).load_model()
        if models:
            models[0].set_weights(loaded.get_weights())  # what was compiled for it serves again
        else:
            models.append(loaded)
        predictions = ask(
            models[0], dataset, tasks, image_size=size, batch_size=options.batch_size,
            threads=threads, **pipeline,
        )  # fmt: skip
        return [score(predictions, task) for task in tasks]

    curve = watching.Curve(run.path, name)
    console.say(f"{len(dataset)} pictures judge each checkpoint; the scores are in {curve.path}.")
    try:
        watching.watch(
            run.path, judge, curve, poll=options.poll, timeout=timeout, once=options.once
        )
    finally:
        curve.close()
    return curve.path


def predict(options: PredictOptions) -> Predictions:
    """Name what is in pictures."""
    from hornbeam.evaluation.answers import answer_lines, write_answers
    from hornbeam.evaluation.predictions import predict as ask

    run = Run.open(options.run)
    dataset = sources.open_pictures(
        options.images, image_column=options.image_column, features=run.features(),
        allow_outside=options.allow_outside,
    )  # fmt: skip
    dataset = dataclasses.replace(dataset, max_pixels=options.max_pixels)
    backend.select_backend(options.backend)
    threads = options.threads or backend.cores()
    dataset, skipped = checks.verify(dataset, options.on_bad, threads)
    telling.tell_skipped(skipped)
    predictions = ask(
        run.load_model(), dataset, run.tasks(),
        image_size=run.image_size(), batch_size=options.batch_size, threads=threads,
        views=options.tta, **_pipeline(run, run.recipe() or Recipe.none()),
    )  # fmt: skip
    if options.out:
        write_answers(predictions, options.top, skipped, options.out)
        console.say(f"{len(predictions)} answers are in {options.out}.")
    else:
        for line in answer_lines(predictions, options.top):
            console.say(line)
    return predictions


def export(options: ExportOptions) -> dict[str, float]:
    """Write the trained model for use elsewhere, and prove that it answers as before."""
    from hornbeam.deployment import export as exporting

    run = Run.open(options.run)
    tasks = run.tasks()
    backend.select_backend(options.backend)
    model = run.load_model()
    held_out = _choose_split(run.dataset(), "auto")
    count = min(_COMPARED, len(held_out))
    spread = held_out.take(np.linspace(0, len(held_out) - 1, count).astype(int))  # over all classes
    pipeline = _pipeline(run, run.recipe() or Recipe.none())
    loader = Loader(spread, batch_size=count, image_size=run.image_size(), **pipeline)
    differences = exporting.export(
        model, tasks, options.format, options.out, loader.batch(0).inputs, options.overwrite,
        resize_mode=pipeline["resize_mode"], features=run.features(),
        preprocess=str(run.path / "recipe.py") if pipeline["preprocess"] else None,
    )  # fmt: skip
    for name, difference in differences.items():
        console.say(
            f"{options.out / f'model.{name}'}: answers as the model did on "
            f"{loader.batch_size} pictures (probabilities within {difference:.1g})."
        )
    return differences


def inspect(options: InspectOptions) -> None:
    """List the variables of a run or of a file of weights, and say how they would be restored."""
    if options.file is None:
        from hornbeam.models.restoring.inspection import tell_rules

        tell_rules()
        return
    architecture = find_architecture(options.model) if options.model else None
    backend.select_backend(options.backend)
    from hornbeam.models.restoring import inspection, readers

    if Run.is_run(options.file):
        run = Run.open(options.file)
        if architecture is None:
            from hornbeam.models import freezing

            model = run.load_model()  # in which nothing is frozen, whatever was in training
            kept = {k: v for k, v in run.config().items() if k in TrainOptions.model_fields}
            freezing.choose_trained(model, TrainOptions(**kept))
            inspection.tell_model(model, options.match)
            return
        options = options.model_copy(update={"file": run.path / "model.keras"})
    assert options.file is not None
    file = readers.read_weight_file(options.file, "inspect")
    if architecture is None:
        inspection.tell_file(file, options.match)
        return
    inspection.tell_mapping(file, architecture, options.restore_map, options.match)


def list_models(_: ModelsOptions) -> None:
    """List the networks of the zoo."""
    rows = [
        [a.name, f"{a.parameters:,}", str(a.size), "imagenet" if a.has_imagenet_weights else "–"]
        for a in ZOO.values()
    ]
    console.table(["model", "parameters", "size", "weights"], rows)
    console.say("Parameters are without the head; size is --image-size's default, in pixels.")


def _judge(
    run: Run, model: keras.Model, dataset: Dataset, recipe: Recipe, batch_size: int, threads: int,
    views: int = 1, groups: dict[str, Any] | None = None,
) -> list[Scores]:  # fmt: skip
    """Ask the model about pictures with labels; note and tell what came of it."""
    from hornbeam.evaluation.grouped import groupings_for
    from hornbeam.evaluation.predictions import predict as ask
    from hornbeam.evaluation.report import write_report
    from hornbeam.evaluation.scores_file import write_scores
    from hornbeam.evaluation.statistics import score_all

    config = run.config()
    groupings = groupings_for(run.tasks(), groups or config.get("groups"))
    predictions = ask(
        model, dataset, run.tasks(),
        image_size=run.image_size(), batch_size=batch_size, threads=threads, views=views,
        **_pipeline(run, recipe),
    )  # fmt: skip
    predictions.save(run.path / "predictions.parquet")
    all_scores = score_all(predictions, config.get("metrics") or (), groupings)
    write_scores(run.path / "scores.json", predictions, all_scores)
    write_report(
        run.report, run.path.name, config, predictions, all_scores, run.path / "metrics.csv"
    )
    telling.tell_scores(all_scores)
    return all_scores


def _pictures_to_judge(run: Run, options: EvaluateOptions | WatchOptions, split: str) -> Dataset:
    """Return the pictures that a model is asked about: other ones, or those held out from the run's."""
    if options.data is None:
        dataset = run.dataset()
    else:
        if options.label_separator is None:
            separator = run.config().get("label_separator")
            options = options.model_copy(update={"label_separator": separator})
        if set(options.feature_columns) - set(run.features()):
            takes = ", ".join(run.features()) or "no numbers beside pictures"
            raise ConfigError(f"--feature-columns: the model takes {takes}; leave the option out.")
        dataset = sources.open_dataset(
            options.data, options, tasks=run.tasks(), features=run.features()
        )
    dataset = _choose_split(dataset, split)
    if options.verify:
        threads = options.threads or backend.cores()
        dataset, skipped = checks.verify(dataset, options.on_bad, threads)
        telling.tell_skipped(skipped)
    return dataset


def _pipeline(run: Run, recipe: Recipe) -> dict[str, Any]:
    """Return how the run's model is used to seeing pictures."""
    resize_mode = run.config().get("resize_mode", "crop")
    return {"resize_mode": resize_mode, "preprocess": recipe.preprocess}


def _choose_split(dataset: Dataset, split: str) -> Dataset:
    """Return the pictures of one split; `auto` prefers test, then validation, then all."""
    if split != "auto":
        return dataset.only(split)
    for preferred in (TEST, VALIDATION):
        if preferred in dataset.splits:
            return dataset.only(preferred)
    return dataset


def _name_of(data: str | None) -> str:
    """Return what a run on these pictures is called: their folder, or the manifest."""
    if data is None:
        return "examples"
    path = Path(data if is_remote(data) else Path(data).absolute())
    name = path.stem if path.suffix else path.name
    if not re.fullmatch(r"[\w. -]+", name):  # a pattern of files
        name = path.parent.name
    return name or "pictures"
