"""Trains on several hosts: starts the workers, and goes on after losses from the last checkpoint."""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from hornbeam import console
from hornbeam.cluster.attempt import Attempt
from hornbeam.cluster.causes import USAGE, Ended, explain, find_cause, is_hopeless
from hornbeam.cluster.choosing import wait_for
from hornbeam.cluster.logs import Logs
from hornbeam.cluster.requests import Requests
from hornbeam.cluster.starting.starter import Host, Starter
from hornbeam.errors import ClusterError, ConfigError, InterruptionError
from hornbeam.runs import Run
from hornbeam.world.membership import COORDINATOR


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training on several hosts.

    Attributes:
        hosts: the head first.
        words: of the command, behind `hornbeam`, to begin with.
        words_on: the same, to go on.
        run: directory of the run.
        advice: the command that goes on, for sentences.
        batch_size: of all hosts together.
        min_hosts: that are enough to go on; `None` for all.
        restarts: at most.
        deadline: seconds that workers get to save.
        coordinator: returns `ADDRESS:PORT`, where the workers of an attempt meet.
        starter_of: how a worker is started on a host.
    """

    hosts: Sequence[Host]
    words: Sequence[str]
    words_on: Sequence[str]
    run: Path
    advice: str
    batch_size: int
    min_hosts: int | None
    restarts: int
    deadline: float
    coordinator: Callable[[], str]
    starter_of: Callable[[Host], Starter]


def supervise(plan: Plan) -> None:
    """Train to the end.

    Raises:
        ConfigError: a worker finds fault with options.
        ClusterError: a worker was lost, and there is no going on; the sentence names host and cause.
        InterruptionError: a signal ended it, after saving.
    """
    requests = Requests()
    with requests.heard():
        _Supervisor(plan, requests).train()


class _Supervisor:
    def __init__(self, plan: Plan, requests: Requests) -> None:
        self._plan = plan
        self._requests = requests
        self._before = _identity(plan.run)
        self._logs = Logs(plan.run, inside=_goes_on(plan))
        self._left_out: set[str] = set()

    def train(self) -> None:
        plan = self._plan
        hosts, words = list(plan.hosts), plan.words
        before: tuple[object, int | None] | None = None
        restarts = 0
        while True:
            attempt = Attempt(
                plan.starter_of, self._logs, self._requests, plan.deadline, self._look
            )
            environment = {COORDINATOR: plan.coordinator(), "PYTHONUNBUFFERED": "1"}
            ended = attempt.run(hosts, [words] * len(hosts), environment)
            self._look()
            if any(each.rank == 0 and each.code == 0 for each in ended):
                self._tell_late(ended)
                return
            self._leave_if_stopped(ended)
            cause = find_cause(ended)
            assert cause is not None
            if cause.code == USAGE:
                self._logs.forget()
                same = cause.rank == 0 and cause.sentence
                raise ConfigError(cause.sentence if same else f"{_capital(explain(cause))}.")
            now = (cause.kind, _newest(plan.run))
            self._stop_if_hopeless(cause, again=now == before, restarts=restarts)
            before = now
            restarts += 1
            hosts = self._hosts_to_go_on_with(cause)
            words = plan.words_on
            step = f"from step {now[1]}" if now[1] is not None else "anew"
            fewer = f"{len(hosts)} of " if len(hosts) < len(plan.hosts) else ""
            console.warn(
                f"{explain(cause)}. The training goes on {step} on {fewer}{len(plan.hosts)} hosts, with "
                f"the same batches of {plan.batch_size} (restart {restarts} of {plan.restarts})."
            )

    def _look(self) -> None:
        """Move what was printed into the run as soon as there is one."""
        now = _identity(self._plan.run)
        if now != self._before:
            self._before = now
            if now is not None:  # else it is being replaced
                self._logs.move_into_run()

    def _tell_late(self, ended: Sequence[Ended]) -> None:
        for each in ended:
            if each.code != 0 and not each.asked:
                console.warn(f"{explain(each)}, when the run was complete already.")

    def _leave_if_stopped(self, ended: Sequence[Ended]) -> None:
        """End as a training on one machine does, when a signal asked for that.

        Raises:
            InterruptionError: it did.
        """
        number = self._requests.stop
        if number is None:
            return
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        head = next((each.sentence for each in ended if each.rank == 0), "")
        step = re.search(r"at step (\d+), which is saved", head)
        newest = _newest(self._plan.run)
        if step:
            how = f" at step {step[1]}, which is saved"
        elif newest is not None:
            how = f"; the last checkpoint is that of step {newest}"
        else:
            how = " before there was a checkpoint"
        raise InterruptionError(f"Stopped by {name}{how}. {self._plan.advice}", 128 + number)

    def _stop_if_hopeless(self, cause: Ended, *, again: bool, restarts: int) -> None:
        """End where going on would come to the same.

        Raises:
            ClusterError: it would, or there was enough of it.
        """
        plan = self._plan
        if again or is_hopeless(cause):
            if self._can_do_without(cause.host):
                self._left_out.add(cause.host.name)
                return
            self._give_up(explain(cause) + (", twice in a row" if again else ""))
        if restarts >= plan.restarts:
            tries = f", after {restarts} restarts" if restarts else ""
            self._give_up(f"{explain(cause)}{tries}")

    def _can_do_without(self, host: Host) -> bool:
        plan = self._plan
        left = [h for h in plan.hosts if h.name not in self._left_out and h.name != host.name]
        return host.name != plan.hosts[0].name and len(left) >= (plan.min_hosts or len(plan.hosts))

    def _hosts_to_go_on_with(self, cause: Ended) -> list[Host]:
        """Return the hosts that answer, once they are enough.

        Raises:
            ClusterError: they do not become enough.
        """
        plan = self._plan
        least = plan.min_hosts or len(plan.hosts)
        chosen, missing = wait_for(
            plan.hosts, least, plan.batch_size,
            lambda host: plan.starter_of(host).unreachable(host), self._left_out,
            stopped=lambda: self._requests.stop is not None,
        )  # fmt: skip
        if self._requests.stop is not None:
            self._leave_if_stopped([])
        if not chosen:
            said = "; ".join(f"{name} does not answer ({why})" for name, why in missing.items())
            answering = len(plan.hosts) - len(missing) - len(self._left_out)
            said = said or f"no {least} hosts or more divide the batch of {plan.batch_size}"
            self._give_up(
                f"{explain(cause)}; {said}, and {answering} of {len(plan.hosts)} hosts are left"
            )
        return chosen

    def _give_up(self, why: str) -> None:
        printed = f"What the workers printed is in {self._logs.folder}."
        raise ClusterError(f"{_capital(why)}. {printed} {self._plan.advice}")


def _goes_on(plan: Plan) -> bool:
    return Run.is_run(plan.run) and list(plan.words) == list(plan.words_on)


def _identity(run: Path) -> tuple[int, int] | None:
    """Return what changes when a run is made, or replaced, or gone on with."""
    try:
        found = (run / "config.yaml").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _newest(run: Path) -> int | None:
    """Return the step of the newest checkpoint."""
    steps = [path.name.partition("-")[2] for path in (run / "checkpoints").glob("step-*")]
    return max((int(step) for step in steps if step.isdecimal()), default=None)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
