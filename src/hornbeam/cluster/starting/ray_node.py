"""A worker on a node of Ray: an actor there that holds it as it would be held on this machine."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.cluster.starting.starter import Host


class NodeWorker:
    """What the actor runs. When Ray ends it, because the supervisor has gone, the guard notices.

    Args:
        rank: of the worker.
        host: what the supervisor calls the node.
        words: of the command, behind `hornbeam`.
        environment: variables that it has beside those of the node.
        deadline: seconds from SIGTERM to SIGKILL.
        folder: to run in, where there is one of that name.
    """

    def __init__(
        self,
        rank: int,
        host: Host,
        words: Sequence[str],
        environment: Mapping[str, str],
        deadline: float,
        folder: str,
    ) -> None:
        # Ray sets this to 1 for an actor that reserves no core, and the worker would compute on one.
        os.environ.pop("OMP_NUM_THREADS", None)
        with contextlib.suppress(OSError):
            os.chdir(Path(folder) if Path(folder).is_dir() else Path.home())
        self._lines: list[tuple[str, str]] = []
        self._news = threading.Condition()
        self._worker = LocalStarter(deadline).start(rank, host, words, environment, self._told)

    def news(self, patience: float) -> tuple[list[tuple[str, str]], int | None]:
        """Return what was printed since the last call, and the exit code after the last line.

        Args:
            patience: seconds to wait for something.
        """
        with self._news:
            if not self._lines:
                self._news.wait(patience)
        code = self._worker.poll()
        with self._news:
            lines, self._lines = self._lines, []
        return lines, code

    def save(self) -> None:
        """Ask for a checkpoint."""
        self._worker.save()

    def terminate(self) -> None:
        """Ask the worker to save and end."""
        self._worker.terminate()

    def kill(self) -> None:
        """End the worker at once."""
        self._worker.kill()

    def _told(self, stream: str, line: str) -> None:
        with self._news:
            self._lines.append((stream, line))
            self._news.notify_all()
