"""Workers on the nodes of a Ray cluster, one on each, as ordinary processes that an actor holds."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from hornbeam.cluster.ray_clusters import Node, find_node
from hornbeam.cluster.starting.ray_node import NodeWorker
from hornbeam.cluster.starting.ssh import passed_on
from hornbeam.cluster.starting.starter import LOST, Host, Starter, Told, Worker

_PATIENCE = 0.5
"""Seconds for which one question to an actor waits for news."""

_CREATION = 60.0
"""Seconds in which a node has to start an actor; else something else has its GPUs."""

_ANSWER = 20.0
"""Seconds in which a node answers that lives; Ray starts a process for it."""

_REST = 10.0
"""Seconds from the order to kill a worker to the end of its actor."""


class RayStarter(Starter):
    """Starts workers by Ray; the process must be connected (`ray_clusters.connected`).

    Args:
        deadline: seconds from SIGTERM to SIGKILL.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def unreachable(self, host: Host) -> str | None:
        """Return why a node cannot be used: Ray has lost it, or it does not answer.

        Ray counts a node as alive until it has missed its heartbeats for half a minute.
        """
        import ray

        node = find_node(host)
        if node is None:
            return "Ray has lost this node"
        answer = ray.remote(_answer).options(
            num_cpus=0, scheduling_strategy=_on(node), max_retries=0
        )
        try:
            ray.get(answer.remote(), timeout=_ANSWER)
        except ray.exceptions.RayError:  # the time-out is one
            return "it does not answer Ray"
        return None

    def start(
        self,
        rank: int,
        host: Host,
        words: Sequence[str],
        environment: Mapping[str, str],
        told: Told,
    ) -> RayWorker:
        """Start `hornbeam WORDS…` on a node, with all of its GPUs."""
        import ray

        node = find_node(host)
        if node is None:
            return RayWorker(rank, host, None, told)
        options = {
            "num_cpus": 0,
            "num_gpus": node.gpus,
            "max_concurrency": 4,  # it is asked for news while it is told to end
            "scheduling_strategy": _on(node),
        }
        given = {**passed_on(os.environ), **environment}
        actor = ray.remote(NodeWorker).options(**options)
        created = actor.remote(rank, host, list(words), given, self._deadline, str(Path.cwd()))
        return RayWorker(rank, host, created, told)


class RayWorker(Worker):
    """A worker that an actor holds; a thread here asks it for news.

    Args:
        rank: of the worker.
        host: its node.
        actor: a handle; `None` where the node is gone already.
        told: is told what it prints.
    """

    def __init__(self, rank: int, host: Host, actor: Any, told: Told) -> None:
        self.rank = rank
        self.host = host
        self._actor = actor
        self._told = told
        self._code: int | None = LOST if actor is None else None
        if actor is not None:
            threading.Thread(target=self._listen, daemon=True).start()

    def poll(self) -> int | None:
        """Return the exit code, once all that it printed was told."""
        return self._code

    def save(self) -> None:
        """Ask for a checkpoint."""
        self._ask("save")

    def terminate(self) -> None:
        """Ask it to save and end."""
        self._ask("terminate")

    def kill(self) -> None:
        """End it at once, and then the actor, whose guard ends what may be left."""
        self._ask("kill")
        giving_up = threading.Timer(_REST, self._end_actor)
        giving_up.daemon = True
        giving_up.start()

    def _ask(self, what: str) -> None:
        if self._code is None:
            with contextlib.suppress(Exception):  # the thread finds out what is the matter
                getattr(self._actor, what).remote()

    def _listen(self) -> None:
        import ray

        limit: float | None = _CREATION
        try:
            while True:
                lines, code = ray.get(self._actor.news.remote(_PATIENCE), timeout=limit)
                limit = None
                for stream, line in lines:
                    self._told(cast(Literal["stdout", "stderr"], stream), line)
                if code is not None:
                    break
        except ray.exceptions.GetTimeoutError:
            self._told("stderr", "hornbeam: Ray cannot start a worker here: its GPUs are in use.")
            code = 1
        except ray.exceptions.RayError as error:
            # The first lines are where in Ray it happened, the last one is what.
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            self._told("stderr", f"Ray: {last.strip()[:300]}")
            code = LOST
        except Exception as error:  # Ray's connection was shut down
            self._told("stderr", f"Ray: {type(error).__name__}: {error}")
            code = LOST
        self._end_actor()
        self._code = code

    def _end_actor(self) -> None:
        import ray

        with contextlib.suppress(Exception):
            ray.kill(self._actor)


def _answer() -> None:
    """Do nothing, on a node."""


def _on(node: Node) -> Any:
    """Return what makes Ray run something on a node, and on no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.identity, soft=False)
