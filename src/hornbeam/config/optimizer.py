"""Options of the optimiser and of the loss."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from hornbeam.config.schedule import RateOptions
from hornbeam.options import Patterns, Rates, flag, option

_MOMENTS = {"beta_1": "beta_1", "beta_2": "beta_2", "epsilon": "epsilon"}
OPTIMIZER_ARGUMENTS: dict[str, dict[str, str]] = {
    "adam": _MOMENTS,
    "adamw": _MOMENTS,
    "sgd": {},
    "momentum": {"momentum": "momentum", "nesterov": "nesterov"},
    "rmsprop": {"rmsprop_decay": "rho", "rmsprop_momentum": "momentum", "epsilon": "epsilon"},
    "adadelta": {"adadelta_rho": "rho", "epsilon": "epsilon"},
    "adagrad": {
        "adagrad_initial_accumulator_value": "initial_accumulator_value", "epsilon": "epsilon",
    },
    "ftrl": {
        "ftrl_learning_rate_power": "learning_rate_power",
        "ftrl_initial_accumulator_value": "initial_accumulator_value",
        "ftrl_l1": "l1_regularization_strength",
        "ftrl_l2": "l2_regularization_strength",
    },
    "lion": {"beta_1": "beta_1", "beta_2": "beta_2"},
    "lamb": _MOMENTS,
    "muon": {
        "momentum": "momentum", "beta_1": "adam_beta_1", "beta_2": "adam_beta_2",
        "epsilon": "epsilon",
    },
    "nadam": _MOMENTS,
    "adamax": _MOMENTS,
    "adafactor": {},
}  # fmt: skip
"""Which of the options each optimiser takes, and what Keras' class calls them."""


class OptimizerOptions(RateOptions):
    """What makes the loss small, and what the loss is."""

    lr_mult: Rates = option(
        (), "factors on the rate by pattern, as in 'backbone/.*=0.1,head/.*=1'; the first match counts, "
        "0 freezes", section="learning rate", metavar="PATTERN=X,…",
    )  # fmt: skip
    layer_decay: float = option(
        1.0, "factor on the rate from each block of the backbone to the one before it",
        section="learning rate", gt=0, le=1,
    )  # fmt: skip

    optimizer: Literal[
        "adam", "adamw", "sgd", "momentum", "rmsprop", "adadelta", "adagrad", "ftrl", "lion", "lamb",
        "muon", "nadam", "adamax", "adafactor",
    ] = option(
        "adam", "what turns gradients into steps", section="optimizer", names=("--opt",)
    )  # fmt: skip
    momentum: float | None = option(
        None, "of momentum and of muon; else 0.9, or 0.95 of muon", section="optimizer", ge=0, lt=1
    )
    nesterov: bool = option(False, "of momentum: look ahead", section="optimizer")
    beta_1: float | None = option(
        None, "of adam and its kin: decay of the mean of gradients; else Keras' (mostly 0.9)",
        section="optimizer", names=("--adam-beta1",), ge=0, lt=1,
    )  # fmt: skip
    beta_2: float | None = option(
        None, "of adam and its kin: decay of the mean of squares; else Keras' (mostly 0.999)",
        section="optimizer", names=("--adam-beta2",), ge=0, lt=1,
    )  # fmt: skip
    epsilon: float | None = option(
        None, "what keeps divisions from zero; else Keras' (mostly 1e-7)",
        section="optimizer", names=("--opt-epsilon",), gt=0,
    )  # fmt: skip
    adadelta_rho: float = option(
        0.95, "of adadelta: decay of the mean of squares", section="optimizer", ge=0, lt=1
    )
    adagrad_initial_accumulator_value: float = option(
        0.1, "of adagrad: what its sum of squares begins at", section="optimizer", ge=0
    )
    ftrl_learning_rate_power: float = option(
        -0.5, "of ftrl: power of the sum of squares in the rate; 0 = not at all",
        section="optimizer", le=0,
    )  # fmt: skip
    ftrl_initial_accumulator_value: float = option(
        0.1, "of ftrl: what that sum begins at", section="optimizer", ge=0
    )
    ftrl_l1: float = option(0.0, "of ftrl: strength of L1", section="optimizer", ge=0)
    ftrl_l2: float = option(0.0, "of ftrl: strength of L2", section="optimizer", ge=0)
    rmsprop_momentum: float = option(
        0.0, "of rmsprop: share of the last step in the next", section="optimizer", ge=0, lt=1
    )
    rmsprop_decay: float = option(
        0.9, "of rmsprop: decay of the mean of squares", section="optimizer", ge=0, lt=1
    )
    weight_decay: float | None = option(
        None, "share of each weight that a step of rate 1 takes away (decoupled, as in AdamW); else "
        "0.004 for adamw and muon, 0 for the others", section="optimizer", ge=0,
    )  # fmt: skip
    no_decay: Patterns = option(
        (r".*/(bias|gamma|beta)",), "patterns of the variables without weight decay",
        section="optimizer",
    )  # fmt: skip
    clip_norm: float | None = option(
        None, "largest norm of all gradients together", section="optimizer", gt=0
    )
    clip_value: float | None = option(
        None,
        "largest value of each part of a gradient; not with --clip-norm",
        section="optimizer",
        gt=0,
    )
    ema: float | None = option(
        None, "average the weights over the steps with this decay (0.999, say); the averages are what "
        "is validated and kept", section="optimizer", gt=0, lt=1,
    )  # fmt: skip

    loss: str = option(
        "auto", "auto, categorical, binary, focal, or the name of one of Keras' losses; auto = binary "
        "for multi-label tasks, else categorical", section="loss", names=("--objectives",),
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, "share of each target that is spread over all classes", section="loss", ge=0, lt=1
    )
    focal_gamma: float = option(
        2.0, "of focal: how much less easy pictures count", section="loss", ge=0
    )
    class_weights: str = option(
        "none", "none, balanced (rare classes count more), or 'class=weight,…'", section="loss"
    )
    loss_weights: Rates = option(
        (), "how much each task counts, as in 'colour=1,kind=0.5'", section="loss",
        metavar="TASK=X,…",
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_optimizer(self) -> Self:
        known = OPTIMIZER_ARGUMENTS[self.optimizer]
        others = dict.fromkeys(name for names in OPTIMIZER_ARGUMENTS.values() for name in names)
        for name in others:
            # As given as its default: nothing that the run would not do.
            if name not in known and getattr(self, name) != type(self).model_fields[name].default:
                of = [
                    optimizer for optimizer, names in OPTIMIZER_ARGUMENTS.items() if name in names
                ]
                raise ValueError(
                    f"{flag(name)} is for --optimizer {' or '.join(of)}, not for {self.optimizer}"
                )
        if self.clip_norm and self.clip_value:
            raise ValueError("--clip-norm and --clip-value exclude each other; give one")
        if any(factor < 0 for _, factor in self.lr_mult):
            raise ValueError("--lr-mult takes factors from 0 on")
        rates = self.resolved_rates()
        if self.optimizer == "ftrl" and (rates["schedule"] != "fixed" or rates["warmup"]):
            raise ValueError(
                "--optimizer ftrl needs --schedule fixed --warmup 0, because its weights shrink and "
                "grow with the rate"
            )
        return self
