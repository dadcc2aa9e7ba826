"""The commands that get several hosts ready: check them, send data, prepare shards."""

from __future__ import annotations

import shlex
from pathlib import Path

from hornbeam import console
from hornbeam.cluster import checks, hosts, preparing, sending
from hornbeam.cluster.starting.local import LocalStarter
from hornbeam.cluster.starting.ssh import SshStarter
from hornbeam.cluster.starting.starter import Starter
from hornbeam.cluster.words import words_of
from hornbeam.config import CheckHostsOptions, HostsOptions, PrepareOptions, SendOptions
from hornbeam.data.remote import is_remote
from hornbeam.errors import ConfigError


def check_hosts(options: CheckHostsOptions) -> None:
    """Say in a table whether hosts are ready."""
    paths = [] if options.data is None or is_remote(options.data) else [_absolute(options.data)]
    wanted = checks.Wanted(paths, Path.cwd(), options.python, options.coordinator_port, jax=True)
    checks.check(hosts.hosts_of(options), wanted, always_told=True)


def send_data(options: SendOptions) -> None:
    """Copy data to hosts, and compare checksums."""
    machines = [host for host in hosts.hosts_of(options) if not host.here]
    if not machines:
        raise ConfigError("--hosts names this machine alone, where DATA is already.")
    folder = (options.to or options.data.absolute().parent).absolute()
    sending.send(options.data, machines, folder, options.python)


def prepare_parts(options: PrepareOptions) -> None:
    """Let each host write its part of the shards, so that all are here in the end, but for the index."""
    machines = hosts.hosts_of(options)
    if not machines[0].here:
        raise ConfigError(
            f"prepare --hosts: give the command on {machines[0].name}, the first of them, where all "
            "shards are put together."
        )
    out = options.out.absolute()
    paths = [] if is_remote(options.data) else [_absolute(options.data)]
    answers = checks.check(machines, checks.Wanted(paths, out.parent, options.python, writes=True))
    starters: dict[bool, Starter] = {
        True: LocalStarter(preparing.SAVING),
        False: SshStarter(preparing.SAVING, options.python),
    }
    left_out = set(HostsOptions.model_fields)

    words = [
        ["prepare", *words_of(options, {"out": out, "part": f"{part}/{len(machines)}"}, left_out)]
        for part in range(1, len(machines) + 1)
    ]
    preparing.write_parts(machines, lambda host: starters[host.here], words, out)
    apart = [answer.host for answer in answers if not (answer.host.here or answer.facts["shared"])]
    preparing.gather(apart, out)
    if apart:
        names = ",".join(options.hosts)
        command = shlex.join(["hornbeam", "cluster", "send", str(out), "--hosts", names])
        console.say(f"All hosts need all of it: {command}")


def _absolute(place: str | Path) -> str:
    return str(Path(place).absolute())
