"""What every way to start a worker can do."""

from __future__ import annotations

import abc
import dataclasses
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from hornbeam.config.cluster import LOCAL

Told = Callable[[Literal["stdout", "stderr"], str], None]
"""Is told of each line that a worker prints, without its end, by any thread."""

LOST = 255
"""What ssh ends with when there is no connection, or none any more."""

SAVED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes above 128 of a training's own: a signal ended it, after all workers have saved."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A machine.

    Attributes:
        name: as the user wrote it.
        address: what ssh is given; for workers on other machines see `hosts.reachable_address`.
        user: to log in as; else ssh decides.
        port: of ssh; else ssh decides.
        identity: file of the private key; else ssh decides.
        here: whether it is this machine, which needs no ssh.
    """

    name: str
    address: str
    user: str | None = None
    port: int | None = None
    identity: Path | None = None
    here: bool = False

    @property
    def is_localhost(self) -> bool:
        """Whether it was called localhost, a name that means another machine everywhere."""
        return self.address == LOCAL


class Worker(abc.ABC):
    """A process on a host that trains its part."""

    host: Host
    rank: int

    @abc.abstractmethod
    def poll(self) -> int | None:
        """Return the exit code once all that it printed was told; `None` while it runs.

        It is negative where a signal killed it, and `LOST` where the connection was lost.
        """

    @abc.abstractmethod
    def save(self) -> None:
        """Ask for a checkpoint (SIGUSR1)."""

    @abc.abstractmethod
    def terminate(self) -> None:
        """Ask it to save and end (SIGTERM)."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End it at once (SIGKILL), with all that it has started."""


class Starter(abc.ABC):
    """A way to start workers."""

    @abc.abstractmethod
    def unreachable(self, host: Host) -> str | None:
        """Return why no worker can be started on a host just now; `None` where one can."""

    @abc.abstractmethod
    def start(
        self,
        rank: int,
        host: Host,
        words: Sequence[str],
        environment: Mapping[str, str],
        told: Told,
    ) -> Worker:
        """Start `hornbeam WORDS…` on a host.

        Args:
            rank: of the worker.
            host: where.
            words: of the command, behind `hornbeam`.
            environment: variables that it has beside those of the host.
            told: is told what it prints.
        """
