"""What is done when validations stop getting better: drop the rate, go back, stop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras

from hornbeam import console
from hornbeam.config import TrainOptions
from hornbeam.errors import ConfigError, did_you_mean
from hornbeam.measures import less_is_better
from hornbeam.training.callbacks import Clock, Logs, validation_score


class Monitor:
    """What makes one validation better than another.

    Args:
        name: of a metric; `auto` is accuracy and then the loss.
        mode: `min`, `max`, or `auto`: less is better of what has loss, entropy or error in its name.
    """

    def __init__(self, name: str = "auto", mode: str = "auto") -> None:
        self.name = name
        less = mode == "min" or (mode == "auto" and less_is_better(name))
        self._sign = -1.0 if less else 1.0

    @classmethod
    def of(cls, options: TrainOptions, names: Iterable[str]) -> Monitor:
        """Return what options ask for.

        Args:
            options: resolved.
            names: of the metrics that validation gives, without `val_`.

        Raises:
            ConfigError: there is no such metric.
        """
        name = options.monitor
        if name == "auto":
            return cls("val_loss" if options.schedule == "plateau" else "auto", options.mode)
        known = [f"val_{known}" for known in ("loss", *names)]
        for spelling in (name, f"val_{name}"):
            if spelling in known:
                return cls(spelling, options.mode)
        raise ConfigError(
            f"--monitor: there is no '{name}'.{did_you_mean(name, known)} "
            f"There are {', '.join(known)}."
        )

    def score(self, logs: Logs) -> tuple[float, ...]:
        """Return the score of a validation: the higher the better; of no number, the lowest."""
        if self.name == "auto":
            scores: tuple[float, ...] = validation_score(logs)
        else:
            scores = (self._sign * float(logs[self.name]),)
        return tuple(score if score == score else float("-inf") for score in scores)


class _Waits(keras.callbacks.Callback):  # type: ignore[misc]
    """Count the validations since the best one."""

    def __init__(self, clock: Clock, monitor: Monitor) -> None:
        super().__init__()
        self._clock = clock
        self._monitor = monitor
        self._best: tuple[float, ...] | None = None
        self._waited = 0

    def get_state(self) -> dict[str, Any]:
        """Return the counters."""
        return {"best": self._best, "waited": self._waited}

    def set_state(self, state: dict[str, Any]) -> None:
        """Count on from there."""
        self._best = None if state["best"] is None else tuple(state["best"])
        self._waited = state["waited"]

    def _count(self, logs: Logs) -> None:
        score = self._monitor.score(logs)
        if self._best is None or score > self._best:
            self._best, self._waited = score, 0
        else:
            self._waited += 1


class EarlyStopping(_Waits):
    """Stop the training when a number of validations in a row were no better than the best one.

    Args:
        clock: is stopped.
        monitor: what better means.
        patience: that number.
    """

    def __init__(self, clock: Clock, monitor: Monitor, patience: int) -> None:
        super().__init__(clock, monitor)
        self._patience = patience

    def set_state(self, state: dict[str, Any]) -> None:
        """Count on from there; what had stopped stays so."""
        super().set_state(state)
        self._decide()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare."""
        self._count(logs or {})
        self._decide()

    def _decide(self) -> None:
        if self._waited >= self._patience:
            times = "validation" if self._waited == 1 else "validations"
            self._clock.stop(f"early stopping: {self._waited} {times} without a better one")


class Plateau(_Waits):
    """Drop the learning rate when validations stop getting better, and go back to the best weights.

    What is gone back to is the model and the optimiser's state of the best checkpoint; the steps and
    the order of the pictures go on. It happens when the next interval begins, so that the checkpoint
    of a validation holds what was validated.

    Args:
        clock: has the factor on the rate, and is stopped.
        monitor: what better means.
        patience: validations without a better one before the rate drops.
        factor: by which it does.
        max_decays: drops before the training is stopped instead; `None` = no limit.
        go_back: puts the best checkpoint back; `None` = the weights stay.
    """

    def __init__(
        self, clock: Clock, monitor: Monitor, patience: int, factor: float,
        max_decays: int | None = None, go_back: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(clock, monitor)
        self._patience = patience
        self._factor = factor
        self._max_decays = max_decays
        self._go_back = go_back
        self._decays = 0
        self._goes_back = False

    def get_state(self) -> dict[str, Any]:
        """Return the counters."""
        return super().get_state() | {"decays": self._decays, "goes_back": self._goes_back}

    def set_state(self, state: dict[str, Any]) -> None:
        """Count on from there; what had stopped stays so."""
        super().set_state(state)
        self._decays, self._goes_back = state["decays"], state["goes_back"]
        self._decide()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Go back, if the last validation said so."""
        if self._goes_back and self._go_back:
            self._go_back()
            # The optimiser of then had the rate of then.
            self._clock.set_factor("plateau", self._factor**self._decays)
        self._goes_back = False

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and drop the rate where patience has run out."""
        self._count(logs or {})
        if self._decide() or self._waited < self._patience:
            return
        self._decays += 1
        self._waited = 0
        self._goes_back = self._go_back is not None
        self._clock.set_factor("plateau", self._factor**self._decays)
        back = ", from the best weights" if self._goes_back else ""
        console.say(f"No better validation in {self._patience}: the rate drops to {self._factor:g}"
                    f" of what it was{back}.")  # fmt: skip

    def _decide(self) -> bool:
        ended = self._decays == self._max_decays and self._waited >= self._patience
        if ended:
            self._clock.stop(f"the rate has dropped {self._decays} times, and it helps no more")
        return ended
