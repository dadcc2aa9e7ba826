"""The command that trains, on several hosts: a worker on each, watched from here."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

from hornbeam.cluster import checks, choosing, hosts, install, ray_clusters, ray_up, supervisor
from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.cluster.starting.ray import RayStarter
from hornbeam.cluster.starting.ssh import INSTALLED, SshStarter
from hornbeam.cluster.starting.starter import Host, Starter
from hornbeam.cluster.words import words_of
from hornbeam.config import CLUSTER, TrainOptions
from hornbeam.data.remote import is_remote
from hornbeam.errors import ClusterError, ConfigError
from hornbeam.runs import Run, name_of, require_free, reserve

_BY_USER = ("hosts", "user", "identity", "ssh_port", "python", "min_hosts", "launcher",
            "ray_address")  # fmt: skip
"""Options that the command repeats which goes on."""


def train_on_hosts(options: TrainOptions) -> Run:
    """Train on several hosts: see that they are ready, start a worker on each, watch them."""
    if options.ray_address is not None:
        with ray_clusters.connected(options.ray_address, ray_up.token_of(options.ray_address)):
            return _train(options, [node.host for node in ray_clusters.alive_nodes()])
    machines = hosts.hosts_of(options)
    if options.launcher == "ray":
        ray_clusters.import_ray()
        cluster = ray_up.RayCluster(
            f"train-{os.getpid()}", machines, hosts.free_port(machines[0].address), options.python
        )
        ray_up.bring_up(cluster)
        try:
            with ray_clusters.connected(cluster.address, cluster.token):
                return _train(options, [node.host for node in ray_clusters.alive_nodes()])
        finally:
            ray_up.take_down(cluster)
    return _train(options, machines)


def _train(options: TrainOptions, machines: list[Host]) -> Run:
    """Train on machines, by ssh or, where one is connected to Ray, by Ray."""
    by_ray = options.launcher == "ray" or options.ray_address is not None
    if options.run is not None and not (options.resume and Run.is_run(options.run)):
        require_free(options.run, options.overwrite)
    batch_size, paths = _told_by_run(options, machines)
    python = options.python
    if options.install:
        python = f"~/{INSTALLED}"
        install.install([host for host in hosts.distinct(machines) if not host.here])
    folder = (options.run or Path("runs/x")).absolute().parent
    if by_ray:
        _check_nodes(machines, batch_size, options.min_hosts)
    else:
        wanted = checks.Wanted(
            paths, folder, python, options.coordinator_port, writes=True, jax=True
        )
        checks.check(machines, wanted)

    reserved = reserve(name_of(options.data)) if options.run is None else None
    run = options.run or reserved
    assert run is not None
    starters: dict[bool, Starter] = {
        True: LocalStarter(options.deadline),
        False: SshStarter(options.deadline, python),
    }
    if by_ray:
        starters = dict.fromkeys((True, False), RayStarter(options.deadline))
    left_out = CLUSTER | {"config"}
    begun = words_of(options, {"run": run}, left_out)
    gone_on = words_of(options, {"run": run, "resume": True, "overwrite": None}, left_out)
    again = words_of(
        options, {"run": run, "resume": True},
        set(options.model_fields_set) - {*_BY_USER, "run", "resume"},
    )  # fmt: skip
    plan = supervisor.Plan(
        machines, ["train", *begun], ["train", *gone_on], run.absolute(),
        f"To go on: hornbeam train {shlex.join(again)}", batch_size, options.min_hosts,
        options.restarts, options.deadline, lambda: _coordinator(machines, options.coordinator_port),
        lambda host: starters[host.here],
    )  # fmt: skip
    try:
        supervisor.supervise(plan)
    finally:
        if reserved is not None:
            with contextlib.suppress(OSError):
                reserved.rmdir()  # where nothing came of it
    return Run(run)


def _check_nodes(nodes: list[Host], batch_size: int, least: int | None) -> None:
    """Require that a Ray cluster has enough nodes, and that they divide a batch.

    Raises:
        ClusterError: it has too few.
        ConfigError: they do not.
    """
    if len(nodes) < (least or 1):
        raise ClusterError(f"{len(nodes)} nodes of the Ray cluster live; --min-hosts is {least}.")
    if batch_size % len(nodes):
        raise ConfigError(
            f"--batch-size {batch_size} cannot be divided among the {len(nodes)} nodes of the Ray "
            "cluster; make it a multiple of their number."
        )


def _told_by_run(options: TrainOptions, machines: list[Host]) -> tuple[int, list[str]]:
    """Return the pictures of a batch, and the paths that workers will open."""
    batch_size, data = options.batch_size, [options.data, options.validation_data]
    if options.resume and options.run is not None and Run.is_run(options.run):
        stored = Run(options.run).config()
        batch_size = int(stored["batch_size"])
        data = [
            given or stored.get(name)
            for given, name in zip(data, ("data", "validation_data"), strict=True)
        ]
        least = options.min_hosts or len(machines)
        if not choosing.largest_world(machines, least, batch_size):
            raise ConfigError(
                f"The batches of {options.run} are of {batch_size} pictures, which {len(machines)} "
                "hosts cannot divide."
            )
    # Recipe, weights and the like are read by the first process alone, and given to the others.
    places = [place for place in data if place is not None and not is_remote(place)]
    return batch_size, [str(Path(place).absolute()) for place in places]


def _coordinator(machines: list[Host], port: int | None) -> str:
    """Return where the workers of an attempt meet; each has a port of its own, if it may.

    So a worker of an earlier attempt that was cut off cannot come to the next.
    """
    address = hosts.reachable_address(machines[0])
    if port is None:
        # Of another machine we can only guess; where somebody listens, the attempt after it has another.
        port = hosts.free_port(address) if machines[0].here else hosts.likely_port()
    return hosts.joined(address, port)
