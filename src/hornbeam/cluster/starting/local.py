"""Workers on this machine, behind the same guard as elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from hornbeam.cluster.starting.guarded import GuardedWorker
from hornbeam.cluster.starting.starter import Host, Starter, Told


class LocalStarter(Starter):
    """Starts workers here, with this Python.

    Args:
        deadline: seconds from SIGTERM to SIGKILL.
        command: what the words follow.
    """

    def __init__(
        self, deadline: float, command: Sequence[str] = (sys.executable, "-m", "hornbeam")
    ) -> None:
        self._deadline = deadline
        self._command = command

    def unreachable(self, host: Host) -> str | None:
        """Return nothing: this machine is here."""
        return None

    def start(
        self,
        rank: int,
        host: Host,
        words: Sequence[str],
        environment: Mapping[str, str],
        told: Told,
    ) -> GuardedWorker:
        """Start `hornbeam WORDS…` here."""
        guard = (sys.executable, "-m", "hornbeam.cluster.guard", "--deadline", str(self._deadline))
        command = [*guard, "--", *self._command, *words]
        return GuardedWorker(rank, host, command, {**os.environ, **environment}, told)
