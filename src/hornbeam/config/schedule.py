"""Options of the learning rate."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import model_validator

from hornbeam.options import Options, Phases, flag, option

_OF_SCHEDULES = {
    "learning_rate": ("cosine", "fixed", "exponential", "polynomial", "one-cycle", "plateau"),
    "end_learning_rate": ("cosine", "polynomial"),
    "learning_rate_decay_factor": ("exponential",),
    "epochs_per_decay": ("exponential",),
    "polynomial_power": ("polynomial",),
    "patience": ("plateau",),
    "factor": ("plateau",),
    "rollback": ("plateau",),
    "max_decays": ("plateau",),
}
"""Options that belong to some schedules only."""


class RateOptions(Options):
    """How the learning rate changes from step to step."""

    learning_rate: float | None = option(
        None, "at its highest; else 0.005 from scratch, and with --weights 0.0002, or 0.001 for a head "
        "alone",
        section="learning rate", names=("--lr",), gt=0,
    )  # fmt: skip
    schedule: Literal[
        "cosine", "fixed", "exponential", "polynomial", "one-cycle", "phases", "plateau"
    ] = option(
        "cosine", "how the rate changes after the warm-up; `hornbeam schedule --plot` shows it",
        section="learning rate", names=("--learning-rate-decay-type",),
    )  # fmt: skip
    warmup: float | None = option(
        None, "steps in which the rate rises at first; below 1, a share of all steps; else 0.1, of "
        "one-cycle 0.3, and none with phases", section="learning rate", names=("--warmup-steps",), ge=0,
    )  # fmt: skip
    end_learning_rate: float = option(
        0.0, "that cosine and polynomial end with", section="learning rate", ge=0
    )
    learning_rate_decay_factor: float = option(
        0.94, "of exponential: what the rate is multiplied by", section="learning rate", gt=0, le=1
    )
    epochs_per_decay: float = option(
        2.0, "of exponential: after how many epochs",
        section="learning rate", names=("--num-epochs-per-decay",), gt=0,
    )  # fmt: skip
    polynomial_power: float = option(
        1.0, "of polynomial: 1 falls along a line, more falls faster at first",
        section="learning rate", gt=0,
    )  # fmt: skip
    learning_rate_phases: Phases = option(
        (), "of phases: rates and for how many steps each, as in 0.1:1000,0.01:1000; the last goes on",
        section="learning rate", metavar="RATE:STEPS,…",
    )  # fmt: skip

    patience: int = option(
        3, "of plateau: validations without a better one before the rate drops",
        section="learning rate", ge=1,
    )  # fmt: skip
    factor: float = option(
        0.1, "of plateau: what the rate is multiplied by then", section="learning rate", gt=0, lt=1
    )
    rollback: bool = option(
        False, "of plateau: go back to the best weights then", section="learning rate"
    )
    max_decays: int | None = option(
        None, "of plateau: stop when the rate would drop once more than this often",
        section="learning rate", ge=0,
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_rates(self) -> Self:
        if self.learning_rate_phases and "schedule" in self.model_fields_set:
            if self.schedule != "phases":
                raise ValueError(f"--learning-rate-phases is not for --schedule {self.schedule}")
        elif self.schedule == "phases" and not self.learning_rate_phases:
            raise ValueError(
                "--schedule phases needs --learning-rate-phases, as in 0.1:1000,0.01:1000"
            )
        schedule = "phases" if self.learning_rate_phases else self.schedule
        for name, schedules in _OF_SCHEDULES.items():
            given = getattr(self, name) != type(self).model_fields[name].default
            if given and schedule not in schedules:
                stop = "; to stop a training early: --early-stopping" * (name == "patience")
                raise ValueError(
                    f"{flag(name)} is not for --schedule {schedule} "
                    f"(but for {', '.join(schedules)}){stop}"
                )
        return self

    def resolved_rates(self) -> dict[str, Any]:
        """Return the values of schedule and warm-up with what depends on others filled in."""
        schedule = "phases" if self.learning_rate_phases else self.schedule
        usual = {"one-cycle": 0.3, "phases": 0.0}.get(schedule, 0.1)
        return {"schedule": schedule, "warmup": usual if self.warmup is None else self.warmup}
