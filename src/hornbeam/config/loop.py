"""Options of the loop: how long, how often, what is kept, what is done when something goes wrong."""

from __future__ import annotations

from typing import Literal

from hornbeam.config.cluster import CLUSTER
from hornbeam.options import Count, Options, Rhythm, Time, option

BUDGETS = ("epochs", "steps", "examples", "time")
"""Options that say how long to train; one of them is given at most."""

MAY_CHANGE = frozenset({
    *BUDGETS, *CLUSTER, "run", "resume", "resume_anyway", "overwrite", "config", "threads", "processes",
    "in_memory", "devices", "verify", "on_bad", "keep", "save_every", "max_decays", "early_stopping",
    "on_nan", "nan_factor", "tensorboard", "tensorboard_images", "tensorboard_histograms", "mlflow",
})  # fmt: skip
"""Options that a run may go on with otherwise than it began; all others would make it another run."""

DEBUG_STEPS = 8
"""Steps, and batches of validation, with --debug."""


class LoopOptions(Options):
    """How long a network is trained, when it is judged, and what is kept."""

    epochs: int | None = option(
        None, "times that each picture is seen; else 20; 2 to 10 to finetune; 10 for a head alone, if "
        "it is not solved", section="training", names=("--num-epochs",), ge=1,
    )  # fmt: skip
    steps: int | None = option(
        None, "batches to train on, in place of --epochs",
        section="training", names=("--train-steps",), ge=1,
    )  # fmt: skip
    examples: Count | None = option(
        None, "pictures to train on, each as often as it comes, in place of --epochs",
        section="training", ge=1,
    )  # fmt: skip
    time: Time | None = option(
        None, "how long to train, as in 30min or 2h, in place of --epochs; the learning rate then "
        "follows the clock", section="training", metavar="TIME",
    )  # fmt: skip
    batch_size: int = option(32, "pictures per step", section="training", names=("-b",), ge=1)
    accumulate: int = option(
        1, "batches whose gradients are averaged before the weights change",
        section="training", names=("--replicas-to-aggregate",), ge=1,
    )  # fmt: skip
    deterministic: bool = option(
        False, "let the backend compute alike each time, bit for bit, where it can; slower",
        section="training",
    )  # fmt: skip
    debug: bool = option(
        False, "a few steps without shuffling and augmentation, each function run line by line",
        section="training",
    )  # fmt: skip

    validation: bool = option(
        True, "judge the network on the validation pictures, while it trains and at the end; off = "
        "train only, and let `hornbeam watch` or `evaluate` judge",
        section="validation", names=("--validate",),
    )  # fmt: skip
    validate_every: Rhythm | None = option(
        None, "how often: 500steps, 1epoch, 1e5examples or 10min; else each epoch",
        section="validation", names=("--val-interval",), seconds=("--eval-throttle-secs",),
        metavar="LENGTH",
    )  # fmt: skip
    validation_steps: int | None = option(
        None, "batches of validation pictures, drawn by the seed, that judge meanwhile; else all",
        section="validation", names=("--val-steps", "--eval-freq"), ge=1,
    )  # fmt: skip
    monitor: str = option(
        "auto", "what makes one validation better than another: val_loss, val_accuracy, …; auto = "
        "accuracy and then the loss, or with --schedule plateau the loss", section="validation",
    )  # fmt: skip
    mode: Literal["auto", "min", "max"] = option(
        "auto", "whether less or more of it is better; auto = less of what has loss or entropy in its "
        "name", section="validation",
    )  # fmt: skip
    early_stopping: int | None = option(
        None, "stop after this many validations without a better one", section="validation", ge=1
    )

    save_every: Rhythm | None = option(
        None, "how often a checkpoint is written, beside those after each validation",
        section="checkpoints", metavar="LENGTH",
    )  # fmt: skip
    keep: int = option(
        3, "newest checkpoints to keep, beside the best", section="checkpoints", ge=1
    )
    on_nan: Literal["stop", "rollback"] = option(
        "stop", "what to do when the loss is no number: stop, or go back to the last checkpoint with a "
        "smaller learning rate, three times at most", section="checkpoints",
    )  # fmt: skip
    nan_factor: float = option(
        0.5,
        "of --on-nan rollback: what the rate is multiplied by",
        section="checkpoints",
        gt=0,
        lt=1,
    )
