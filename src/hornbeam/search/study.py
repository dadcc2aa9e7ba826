"""A study: the trials so far, which comes next, and what is told of each; kept by Optuna."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hornbeam.config import SearchOptions, TrainOptions
from hornbeam.errors import ConfigError
from hornbeam.search.claims import Claim, alone
from hornbeam.search.reading import grid_space, read_space
from hornbeam.search.space import Space, check
from hornbeam.search.storages import import_optuna, is_local, open_storage
from hornbeam.search.trial import Objective, Paths
from hornbeam.storage import write_text

if TYPE_CHECKING:
    import optuna

TRIALS = 20
"""Trials of a search that was not told a number."""

_DIRECTORY = "directory"
"""Attribute of a trial: the directory whose files it has, which another machine may not see."""

_UNKNOWN_FOR = 60.0
"""Seconds after which a trial of a shared database that nobody has put anywhere is taken."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a search is to do, checked.

    Attributes:
        options: of the search.
        given: options of `train` that all trials share.
        space: what is searched.
        directory: of the study.
        objective: what trials are compared by.
    """

    options: SearchOptions
    given: Mapping[str, Any]
    space: Space
    directory: Path
    objective: Objective

    @classmethod
    def of(cls, options: SearchOptions, given: Mapping[str, Any], directory: Path) -> Plan:
        """Read and check what is searched.

        Raises:
            ConfigError: something in it is wrong.
        """
        if options.space:
            space = read_space(options.space, options.recipe)
            where = f"--space {options.space}"
        else:
            space, where = grid_space(options.grid, options.recipe), "--grid"
        # Threads are shared by the workers, and may be others tomorrow.
        shared = {
            name: value for name, value in given.items()
            if name in TrainOptions.model_fields and name != "threads"
        }  # fmt: skip
        shared["leave_out_test"] = True
        check(space, shared, where)
        return cls(options, shared, space, directory, Objective(options.monitor, options.mode))

    @property
    def combinations(self) -> list[dict[str, Any]]:
        """All of a grid, the last name varying quickest; none of a space."""
        if not self.options.grid:
            return []
        names = [p.name for p in self.space.parameters]
        every = itertools.product(*(p.choices for p in self.space.parameters))
        return [dict(zip(names, values, strict=True)) for values in every]

    @property
    def trials(self) -> int:
        """Number of finished trials that the study is to have."""
        if self.options.grid:
            count = len(self.combinations)
            return min(self.options.trials or count, count)
        return self.options.trials or TRIALS

    @property
    def in_order(self) -> bool:
        """Whether each trial depends on the one before."""
        return self.options.until_worse or self.options.warm_start


class Study:
    """A study as one worker sees it; each worker has one of its own."""

    def __init__(self, plan: Plan) -> None:
        optuna = import_optuna()
        self.plan = plan
        self._states = optuna.trial.TrialState
        name = plan.directory.absolute().name
        direction = "maximize" if plan.objective.maximizes else "minimize"
        with alone(plan.directory / "study.lock"):
            self._storage = open_storage(plan.options.storage, plan.directory)
            self._study = optuna.create_study(
                storage=self._storage, study_name=name, direction=direction, load_if_exists=True,
                pruner=_pruner(plan),
            )  # fmt: skip
            self._identity = _identity(plan.directory)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Return all trials, in the order of their numbers."""
        return list(self._study.get_trials(deepcopy=False))

    def next(self) -> tuple[int, dict[str, Any], Claim] | bool:
        """Take up a trial that nobody works on any more, or begin the next.

        Returns:
            Its number, its values and the right to work on it; else whether to wait for others.
        """
        with alone(self.plan.directory / "study.lock"):
            trials = self.trials()
            running = [t for t in trials if t.state == self._states.RUNNING]
            ours = [t for t in running if self._is_ours(t)]
            for trial in ours:
                claim = Claim.take(self._paths(trial.number).claim)
                if claim and self._frozen(trial.number).state == self._states.RUNNING:
                    return trial.number, self._values(trial.number), claim
                if claim:  # its worker has finished it since we looked
                    claim.release()
            if self._has_enough(trials) or (self.plan.in_order and running):
                return bool(ours)
            number = self._begin(trials)
            claim = Claim.take(self._paths(number).claim)
            assert claim is not None, "a new trial that somebody works on"
            return number, self._values(number), claim

    def report(self, number: int, index: int, value: float) -> bool:
        """Tell of a validation, unless that was done before; return whether to give the trial up."""
        if index not in self._frozen(number).intermediate_values:
            self._trial(number).report(value, index)
        frozen = self._frozen(number)
        return bool(frozen.last_step == index and self._study.pruner.prune(self._study, frozen))

    def finish(self, number: int, value: float) -> None:
        """Note that a trial went to its end; without a value it has failed."""
        if np.isfinite(value):
            self._study.tell(number, value)
        else:
            self.fail(number, "no validation gave a number")

    def prune(self, number: int) -> None:
        """Note that a trial was given up."""
        self._study.tell(number, state=self._states.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """Note that a trial failed, and why."""
        self._trial(number).set_user_attr("error", reason)
        self._study.tell(number, state=self._states.FAIL)

    def _has_enough(self, trials: list[optuna.trial.FrozenTrial]) -> bool:
        if len(trials) - sum(t.state == self._states.WAITING for t in trials) >= self.plan.trials:
            return True
        if not self.plan.options.until_worse or len(trials) < 2:
            return False
        last, before = trials[-1].value, trials[-2].value
        if last is None or before is None:
            return False
        return self.plan.objective.is_worse(last, before)

    def _begin(self, trials: list[optuna.trial.FrozenTrial]) -> int:
        """Create the next trial, with the next of a grid, or what the sampler suggests."""
        waiting = [t for t in trials if t.state == self._states.WAITING]
        if self.plan.options.grid and not waiting:
            self._study.enqueue_trial(self.plan.combinations[len(trials)])
        # A sampler of its own for each trial: one with the same seed in each process, and in each that
        # goes on, would begin with the same values each time.
        number = waiting[0].number if waiting else len(trials)
        self._study.sampler = _sampler(self.plan.options, number)
        trial = self._study.ask()
        trial.set_user_attr(_DIRECTORY, self._identity)
        return int(trial.number)

    def _values(self, number: int) -> dict[str, Any]:
        """Return the values of a trial, and decide those that a killed process left open."""
        self._study.sampler = _sampler(self.plan.options, number)
        return self.plan.space.suggest(self._trial(number))

    def _is_ours(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether the files of a trial are in this directory."""
        where = trial.user_attrs.get(_DIRECTORY)
        if where is not None:
            return bool(where == self._identity)
        if is_local(self.plan.options.storage):
            return True
        begun = trial.datetime_start
        return begun is not None and time.time() - begun.timestamp() > _UNKNOWN_FOR

    def _paths(self, number: int) -> Paths:
        return Paths(self.plan.directory, number)

    def _frozen(self, number: int) -> optuna.trial.FrozenTrial:
        return self.trials()[number]

    def _trial(self, number: int) -> optuna.Trial:
        """Return a trial to work on, which another process may have begun."""
        import optuna

        return optuna.Trial(self._study, self._frozen(number)._trial_id)


def remember(plan: Plan) -> None:
    """Note what a study is about; check that it is still about the same.

    Raises:
        ConfigError: it began with other options, another space or another recipe.
    """
    import yaml

    path = plan.directory / "study.yaml"
    about = {
        "options": {k: v for k, v in plan.given.items() if k not in ("threads", "in_memory")},
        "space": plan.space.as_dict(),
        "monitor": plan.objective.monitor, "mode": plan.objective.mode,
        "in_order": plan.options.warm_start,
        "recipe": _digest(plan.options.recipe),
    }  # fmt: skip
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True)
    about = yaml.safe_load(text)  # as it will be read
    if not path.is_file():
        write_text(path, text)
        return
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = [name for name in about if about[name] != before.get(name)]
    if not changed:
        return
    details = []
    for name in changed:
        now, then = about[name], before.get(name)
        if isinstance(now, dict) and isinstance(then, dict):
            keys = [k for k in {**then, **now} if now.get(k) != then.get(k)]
            details += [
                f"{k}: {then.get(k)!r} then, {now.get(k)!r} now" for k in keys if name == "options"
            ] or [f"the {name}"]
        else:
            details.append(f"the {name}")
    raise ConfigError(
        f"The study in {plan.directory} began otherwise ({'; '.join(details)}); its trials would not "
        "compare. Take another --study, or --overwrite to begin anew."
    )


def _sampler(options: SearchOptions, number: int) -> optuna.samplers.BaseSampler:
    """Return what suggests the values of one trial: chance at first, a function of seed and number."""
    import optuna

    seed = int(np.random.SeedSequence([options.seed, number]).generate_state(1)[0])
    if options.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, constant_liar=True)


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    import optuna

    kind = plan.options.pruner
    if kind == "auto":
        kind = "none" if plan.options.grid else "median"
    if kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
    if kind == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.NopPruner()


def _identity(directory: Path) -> str:
    """Return what names a directory on whatever machine sees it."""
    path = directory / "identity.txt"
    if not path.is_file():
        write_text(path, f"{uuid.uuid4()}\n")
    return path.read_text(encoding="utf-8").strip()


def _digest(recipe: Path | None) -> str | None:
    return hashlib.blake2b(recipe.read_bytes(), digest_size=8).hexdigest() if recipe else None
