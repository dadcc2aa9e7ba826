"""The search itself: some workers, each of which trains one trial after the other."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from hornbeam import backend, console
from hornbeam.config import SearchOptions
from hornbeam.errors import ConfigError, RunError
from hornbeam.handlers import handling
from hornbeam.search import grid, results
from hornbeam.search.claims import Claim
from hornbeam.search.rows import Interval
from hornbeam.search.space import merged
from hornbeam.search.storages import JOURNAL
from hornbeam.search.study import Plan, Study, remember
from hornbeam.search.trial import Paths, read_validations, run_trial, write_options

_WAIT = 1.0
"""Seconds between looks at what other processes are doing."""

_FAILURES = 3
"""Failures, with no trial that went well, after which something is wrong with all of them."""


def search(
    options: SearchOptions, given: Mapping[str, Any], directory: Path, interval: Interval
) -> int:
    """Run trials until the study has as many as it is to have, then show what came of them.

    Args:
        options: of the search.
        given: those options of `train` that were given, with absolute paths.
        directory: of the study; made where there is none, else the study goes on.
        interval: of successes and trials, the ends of a 95 % interval.

    Returns:
        The exit code: 0, or 128 and the number of the signal that stopped it.

    Raises:
        ConfigError: the space, the options or the study are wrong.
        RunError: trials fail one after the other.
    """
    plan = Plan.of(options, given, directory)
    _prepare(plan)
    studies = [Study(plan) for _ in range(options.workers)]  # opened here, where an error is told
    crew = _Crew(plan)
    with _signals(crew) as received:
        threads = [
            threading.Thread(target=crew.work, args=(study,), name=f"worker {index + 1}")
            for index, study in enumerate(studies)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # in slices, so that signals are heard
                thread.join(0.2)
    if crew.error:
        raise crew.error
    if received:
        console.say(f"The search was stopped; the same command goes on with {directory}.")
        return 128 + received[0]
    results.conclude(plan, studies[0].trials(), interval)
    return 0


class _Crew:
    """What the workers of one process share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.stop = threading.Event()
        self.error: BaseException | None = None
        cores = backend.cores()
        several = plan.options.workers > 1
        self._operations = max(1, cores // plan.options.workers) if several else 0
        self._decoding = plan.options.threads or self._operations

    def work(self, study: Study) -> None:
        """Train trials until there is nothing left to do, or the search stops."""
        try:
            while not self.stop.is_set():
                task = study.next()
                if task is False:
                    return
                if task is True:
                    self.stop.wait(_WAIT)
                    continue
                self._try(study, *task)
        except BaseException as error:  # raised anew by who waits for us
            self.error = self.error or error
            self.stop.set()

    def _try(self, study: Study, number: int, values: dict[str, Any], claim: Claim) -> None:
        """Train one trial, and note how it ended."""
        paths = Paths(self.plan.directory, number)
        objective = self.plan.objective
        options = merged(self.plan.given, {**self.plan.space.constants, **values})
        if self._decoding:
            options["threads"] = self._decoding
        if self.plan.options.warm_start:
            options |= grid.warm_start(self.plan, study.trials()[:number])
        if not paths.options.is_file():
            write_options(paths, options)
        told = ", ".join(f"{name} {value}" for name, value in values.items())
        goes_on = " goes on" if paths.run.exists() else ""
        console.say(f"trial {number}{goes_on}: {told}")
        try:
            ending, reason = run_trial(
                paths, claim, self.stop, self._operations,
                lambda index, row: study.report(number, index, objective.of(row)),
            )  # fmt: skip
            if ending == "stopped":
                return
            self._note(study, number, paths, ending, reason)
        finally:
            claim.release()

    def _note(self, study: Study, number: int, paths: Paths, ending: str, reason: str) -> None:
        objective = self.plan.objective
        seen = [objective.of(row) for row in read_validations(paths.metrics)]
        best = objective.best(seen)
        if ending == "failed":
            study.fail(number, reason)
            console.warn(f"trial {number} failed: {reason}")
            self._check_failures(study, reason)
            return
        if ending == "pruned":
            study.prune(number)
        else:
            study.finish(number, best)
        validations = "1 validation" if len(seen) == 1 else f"{len(seen)} validations"
        console.say(f"trial {number} {ending}: {objective.name} {best:.4g} after {validations}")

    def _check_failures(self, study: Study, reason: str) -> None:
        """Stop where it is not the values of one trial that are wrong.

        Raises:
            RunError: the first trials all failed.
        """
        states = [trial.state.name for trial in study.trials()]
        failed = states.count("FAIL")
        if {"COMPLETE", "PRUNED"} & set(states) or failed < min(_FAILURES, self.plan.trials):
            return
        raise RunError(f"All of the first {failed} trials failed; the last: {reason}")


def _prepare(plan: Plan) -> None:
    """Make the directory of the study, or check that it is one and about the same."""
    directory = plan.directory
    known = (directory / "study.yaml").is_file()
    if directory.exists() and not known and any(directory.iterdir()):
        raise ConfigError(f"--study {directory}: there is something that is no study.")
    if plan.options.overwrite and known:
        if plan.options.storage and "://" in plan.options.storage:
            raise ConfigError(
                "--overwrite does not empty a database; take another --study, whose name it has there."
            )
        shutil.rmtree(directory)
    journal = Path(plan.options.storage or directory / JOURNAL)
    directory.mkdir(parents=True, exist_ok=True)
    if plan.options.overwrite and known:
        journal.unlink(missing_ok=True)
    remember(plan)


@contextlib.contextmanager
def _signals(crew: _Crew) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM stop the search in order; the second one ends it at once."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        if received:
            os._exit(128 + number)  # the children notice, and save
        received.append(number)
        crew.stop.set()

    with handling({signal.SIGINT: stop, signal.SIGTERM: stop}, always=None):
        yield received
