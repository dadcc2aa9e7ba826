"""The parts of a training, made from its options: pictures, network, losses, head."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hornbeam import backend, console
from hornbeam.config import TrainOptions
from hornbeam.data import sources, splits
from hornbeam.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from hornbeam.data.loader import Loader
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.pixels.mixing import Mixing, neutral
from hornbeam.errors import ConfigError
from hornbeam.models.restoring.readers import require_there
from hornbeam.models.zoo import Architecture, find_architecture
from hornbeam.recipe import Recipe
from hornbeam.world.world import World

if TYPE_CHECKING:
    import keras

Training = TypeVar("Training", bound=TrainOptions)

_DEFAULT_SIZE = 224
"""Side of the pictures for a recipe's model, which has no size of its own."""


def begin(
    options: Training, *, restores: bool = True
) -> tuple[Training, Architecture | None, Recipe]:
    """Resolve the options, choose the backend, and load the recipe; see which network it will be.

    Args:
        options: as they were given.
        restores: whether the weights are read here: of several processes the first one does that, and
            who only asks for a schedule needs no file.
    """
    chosen = options.model
    options = options.resolved()
    architecture = find_architecture(options.model) if options.model else None
    if restores and options.weights not in ("none", "imagenet") and not options.resume:
        require_there(Path(options.weights))  # before Keras is loaded, which takes seconds
    backend.select_backend(options.backend)
    if options.deterministic:
        backend.be_deterministic()
    recipe = Recipe.load(options.recipe) if options.recipe else Recipe.none()
    if options.build_model and not recipe.build_model:
        raise ConfigError(f"--build-model: {recipe.path} has no build_model that would take it.")
    if recipe.build_model:
        if chosen:
            raise ConfigError(
                f"{recipe.path} builds a model; leave --model out, or its build_model."
            )
        options, architecture = options.model_copy(update={"model": None}), None
    return options, architecture, recipe


def open_dataset(options: TrainOptions, recipe: Recipe) -> Dataset:
    """List the pictures to train on and those that judge."""
    if options.validation_data and options.data:
        dataset = sources.open_both(options.data, options.validation_data, options)
    else:
        dataset = sources.open_dataset(options.data, options, examples=recipe.examples)
    dataset = splits.with_validation(dataset, options.validation_fraction, options.seed)
    if options.leave_out_test and TEST in dataset.splits:
        dataset = dataset.take(np.setdiff1d(np.arange(len(dataset)), dataset.where(TEST)))
    if options.subset:
        share = options.subset if options.subset < 1 else None
        count = round(share * len(dataset.where(TRAIN))) if share else int(options.subset)
        dataset = sources.subset(dataset, max(1, count), options.seed)
    return dataset


def with_size_and_precision(options: Training, architecture: Architecture | None) -> Training:
    """Fill in what depends on the network and on the device. Imports Keras."""
    size = architecture.size if architecture else _DEFAULT_SIZE
    precision = backend.resolve_precision(options.precision)
    image_size = options.image_size or (size, size, 3)
    return options.model_copy(update={"image_size": image_size, "precision": precision})


def build_loaders(options: TrainOptions, dataset: Dataset, recipe: Recipe) -> tuple[Loader, Loader]:
    """Return what makes the batches of training, and those of validation."""
    assert options.image_size is not None  # resolved by the caller
    augmentation = Augmentation.from_options(options)
    training = Loader(
        dataset.only(TRAIN), batch_size=options.batch_size, image_size=options.image_size,
        seed=options.seed, shuffle=options.shuffle, augment=recipe.augment or augmentation,
        mixing=augmentation.mixing or None, resize_mode=options.resize_mode,
        preprocess=recipe.preprocess, training=True, in_memory=int(options.in_memory * 2**30),
    )  # fmt: skip
    validation = Loader(
        dataset.only(VALIDATION), batch_size=options.batch_size, image_size=options.image_size,
        mixing=Mixing() if training.mixes else None, resize_mode=options.resize_mode,
        preprocess=recipe.preprocess,
    )  # fmt: skip
    return training, validation


def judging(options: TrainOptions, validation: Loader) -> Loader | None:
    """Return what judges during a training: all that is held out, some of it, or nothing."""
    if not options.validation:
        return None
    count = (options.validation_steps or validation.steps_per_epoch) * options.batch_size
    if count >= len(validation.dataset):
        return validation
    rows = np.random.default_rng(options.seed).permutation(len(validation.dataset))[:count]
    return validation.over(validation.dataset.take(np.sort(rows)))


def build_model(
    options: TrainOptions,
    architecture: Architecture | None,
    recipe: Recipe,
    dataset: Dataset,
    precision: str,
    *,
    restored: bool = True,
) -> keras.Model:
    """Build the network that the options ask for, frozen or not.

    It has its first weights; without `restored` any, as others will take their place.
    """
    import keras

    from hornbeam.models import classifier, freezing
    from hornbeam.models.restoring import imagenet, restore, summary
    from hornbeam.models.side_features import SideFeatures

    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(backend.dtype_policy(precision))
    assert options.image_size is not None  # resolved by the caller
    source = options.weights if restored else "none"
    file = Path(source) if source not in ("none", "imagenet") else None
    features = None
    if dataset.features:
        values = dataset.take(dataset.where(TRAIN)).feature_values()
        features = SideFeatures.of(dataset.features, values)
    if recipe.build_model:
        model = classifier.adapt_user_model(
            recipe.build_model, options.image_size, dataset.tasks, features,
            arguments=dict(options.build_model),
        )  # fmt: skip
        if source == "imagenet":
            raise ConfigError("--weights imagenet is for models of the zoo, not for a recipe's.")
    else:
        assert architecture is not None  # options name a model or a recipe
        download = source == "imagenet"
        if download and not architecture.has_imagenet_weights:
            raise ConfigError(f"There are no ImageNet weights of {architecture.name}.")
        with imagenet.imagenet_download(architecture.constructor, download):
            model = classifier.build_classifier(
                architecture, options.image_size, dataset.tasks,
                weights="imagenet" if download else None, dropout=options.dropout,
                features=features,
            )  # fmt: skip
    if file:
        match = restore.restore(
            model, file, rules=options.restore_map, exclude=options.restore_exclude,
            network=architecture.name if architecture else None, partial=options.restore_partial,
        )  # fmt: skip
        summary.tell(match, file)
    # What --finetune trains after the head is freed when the head is cut off.
    first = options.model_copy(update={"trainable": ()}) if options.finetune else options
    freezing.choose_trained(model, first)
    return model


def cut_model(
    options: TrainOptions, model: keras.Model, dataset: Dataset
) -> tuple[keras.Model, keras.Model] | None:
    """Divide a model with a frozen backbone into what is computed once and the head, if wanted.

    Where that is not possible and nobody insists, the head is trained behind the backbone.

    Raises:
        ConfigError: it is not possible, and an option insists.
    """
    from hornbeam.models import cut

    if options.freeze != "backbone" or options.precompute == "off":
        return None
    parts = cut.split_at_backbone(model)
    if parts is None:
        reason = (
            "more than the pixels reach the head, or not all through one layer named 'backbone'"
        )
    else:
        values = options.precompute_views * len(dataset) * math.prod(parts[0].output_shape[1:])
        needed, there = 4 * values / 2**30, backend.memory() / 2**30
        if needed <= there / 2:
            return parts
        reason = f"its features would take {needed:.1f} GiB of the {there:.1f} GiB of memory"
    if options.precompute == "on" or options.finetune:
        insisting = "--precompute on" if options.precompute == "on" else "--finetune"
        raise ConfigError(f"{insisting}: the backbone cannot run once for all, as {reason}.")
    console.say(f"The backbone runs in every epoch, as {reason}.")
    return None


def free_top(options: TrainOptions, model: keras.Model) -> None:
    """Let train what follows the head: what the options say, else the backbone's last stage."""
    from hornbeam.models import freezing, top

    freezing.make_trainable(model)
    if options.trainable or options.lr_mult or options.layer_decay < 1:
        freezing.choose_trained(model, options.model_copy(update={"freeze": "none"}))
    else:
        freezing.train_only(model, top.top_paths(model, options.batch_norm == "train"))


def train_head(
    parts: tuple[keras.Model, keras.Model],
    training: Loader,
    validation: Loader,
    options: TrainOptions,
    dataset: Dataset,
    recipe: Recipe,
    world: World | None = None,
) -> tuple[dict[str, float], float] | None:
    """Train the head of a classifier on what its backbone gives for each picture."""
    from hornbeam.training import head
    from hornbeam.training.objective import class_factors

    return head.train_head(
        parts, training, validation, options,
        lambda model, optimizer, mixes: compile_model(model, optimizer, options, dataset, recipe, mixes),
        class_weights=class_factors(
            dataset.tasks, options.class_weights, _counts(dataset), len(training.dataset)
        ),
        own_loss=recipe.make("loss") is not None,
        recipe=recipe.path.read_text(encoding="utf-8") if recipe.path else "",
        threads=options.threads or backend.cores(),
        world=world,
    )  # fmt: skip


def compile_model(
    learner: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    options: TrainOptions,
    dataset: Dataset,
    recipe: Recipe,
    mixes: bool,
) -> list[str]:
    """Give a network what it is trained by: optimiser, losses, metrics; return the metrics' names."""
    from hornbeam.training.fit import compile_classifier
    from hornbeam.training.objective import losses_of, metrics_of

    losses = losses_of(
        dataset.tasks, options, _counts(dataset), len(dataset.where(TRAIN)), mixes=mixes,
        own=recipe.make("loss"), where=f"{recipe.path}: loss()",
    )  # fmt: skip
    metrics = metrics_of(
        dataset.tasks, losses, names=options.metrics, groups=options.groups, mixes=mixes,
        own=recipe.make("metrics"), where=f"{recipe.path}: metrics()",
    )  # fmt: skip
    return compile_classifier(learner, optimizer, losses, metrics, eager=options.debug)


def with_quickest_precision(
    options: TrainOptions, learner: keras.Model, training: Loader, dataset: Dataset, recipe: Recipe,
    steps: int,
) -> TrainOptions:  # fmt: skip
    """Try which arithmetic is quickest for a compiled network, where that is open, and say so."""
    from hornbeam.training.precision import quickest_precision

    if options.precision != "auto":
        return options
    if options.deterministic:  # a watch does not tell the same each time
        return options.model_copy(update={"precision": "float32"})
    chosen, said = quickest_precision(
        learner,
        lambda model, optimizer: compile_model(
            model, optimizer, options, dataset, recipe, training.mixes
        ),
        training,
        steps,
    )
    if said:
        console.say(said)
    return options.model_copy(update={"precision": chosen})


def recompute_batch_norm(learner: keras.Model, training: Loader, count: int, threads: int) -> None:
    """Compute the averages of batch normalisation from some batches, which are varied but not mixed."""
    from hornbeam.training.batch_norm import recompute_averages

    batches = training.batches(0, count, threads=threads)
    plain = (b if b.mix is None else b._replace(mix=neutral(len(b.images))) for b in batches)
    layers = recompute_averages(learner, (batch.inputs for batch in plain))
    if layers:
        console.say(f"{layers} layers of batch normalisation were averaged over {count} batches.")
    else:
        console.warn(
            "--precise-batch-norm: no layer of batch normalisation learns, so none was averaged."
        )


def _counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Return how many training pictures each class has, by task."""
    return {task.name: dataset.counts(task)[TRAIN] for task in dataset.tasks}
