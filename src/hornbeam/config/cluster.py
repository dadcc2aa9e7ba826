"""Options of many machines: which hosts there are, how they are reached, what they do about losses."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from hornbeam.options import Data, Names, Options, flag, option, positional

LOCAL = "localhost"
"""The host that may be named several times: each is a process on this machine, started without ssh."""


@dataclasses.dataclass(frozen=True)
class Address:
    """What `[user@]host[:port]` says."""

    user: str | None
    host: str
    port: int | None


def parse_host(text: str) -> Address:
    """Return the parts of `[user@]host[:port]`; an IPv6 address with a port stands in brackets.

    Raises:
        ValueError: it has another form; the message is a predicate.

    Example:
        >>> parse_host("ubuntu@[fe80::1]:2222")
        Address(user='ubuntu', host='fe80::1', port=2222)
    """
    user, at, rest = text.rpartition("@")
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\](?::(\d+))?", rest)
    plain = re.fullmatch(r"(\w[\w.-]*)(?::(\d+))?", rest)
    bare = re.fullmatch(r"([0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(?:%[\w.-]+)?)()", rest)
    found = bracketed or plain or bare
    port = int(found[2]) if found and found[2] else None
    # What begins with a hyphen would be an option of ssh.
    if (
        not found
        or (at and not re.fullmatch(r"\w[\w.\\-]*", user))
        or (port is not None and not 0 < port < 65536)
    ):
        raise ValueError(
            f"should be [user@]host[:port],…, as in 10.0.0.1,ubuntu@gpu2:2222 ('{text}')"
        )
    return Address(user or None, found[1], port)


def _checked_hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the hosts, if all are well formed and none but localhost comes twice."""
    names = tuple(name.strip() for name in names)
    places = []
    for name in names:
        address = parse_host(name)
        place = (address.host.lower(), address.port)
        if place in places and address.host != LOCAL:
            raise ValueError(f"names '{name}' twice; only {LOCAL} may stand there several times")
        places.append(place)
    return names


Hosts = Annotated[Names, AfterValidator(_checked_hosts)]


class HostsOptions(Options):
    """Which hosts there are, and how they are reached."""

    hosts: Hosts = option(
        (), "machines, as [user@]host[:port], separated by commas; the first is the head, where the "
        "command is given; 'localhost,localhost' = two processes here", section="cluster",
        names=("--ip-list",), metavar="HOST,…",
    )  # fmt: skip
    user: str | None = option(
        None, "name to log in with, where a host has none before its @", section="cluster",
        names=("--username",), metavar="NAME",
    )  # fmt: skip
    identity: Path | None = option(
        None, "file of the private key for ssh", section="cluster", metavar="KEY"
    )
    ssh_port: int | None = option(
        None, "port of ssh, where a host has none after its colon", section="cluster", ge=1, le=65535
    )  # fmt: skip
    python: str | None = option(
        None, "Python on the hosts; else the one at the same path as here, or the one of --install",
        section="cluster", metavar="PATH",
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_hosts(self) -> Self:
        problems = [*self._hosts_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _hosts_problems(self) -> list[str]:
        """Return what is wrong with the options together."""
        problems = [
            f"{flag(name)} goes with --hosts"
            for name in ("user", "identity", "ssh_port", "python")
            if getattr(self, name) is not None and not self.hosts
        ]
        if self.identity is not None and not self.identity.expanduser().is_file():
            problems.append(f"--identity {self.identity}: there is no such file")
        if self.user is not None and not re.fullmatch(r"\w[\w.\\-]*", self.user):
            problems.append(f"--user {self.user} is no name to log in with")
        return problems


class ClusterOptions(HostsOptions):
    """How a training is spread over hosts, and what happens when one is lost."""

    install: bool = option(
        False, "install this Hornbeam on the hosts first, in ~/.hornbeam/venv, with pip as it is set "
        "up there", section="cluster",
    )  # fmt: skip
    min_hosts: int | None = option(
        None, "go on with as few hosts as this when others are lost, with the same batches; else wait "
        "for all", section="cluster", ge=1,
    )  # fmt: skip
    restarts: int = option(
        3, "times that the training goes on from its last checkpoint after a host or process was lost",
        section="cluster", ge=0,
    )  # fmt: skip
    launcher: Literal["ssh", "ray"] = option(
        "ssh", "what starts the workers on the hosts", section="cluster"
    )
    ray_address: str | None = option(
        None, "a Ray cluster that is there already, in place of --hosts: ADDRESS:PORT, or auto",
        section="cluster", metavar="ADDRESS",
    )  # fmt: skip
    deadline: float = option(
        30.0, "seconds that a worker gets to save after SIGTERM, before SIGKILL", section="cluster",
        ge=0,
    )  # fmt: skip
    coordinator_port: int | None = option(
        None, "port of the head at which the workers meet; else one that is free", section="cluster",
        ge=1, le=65535,
    )  # fmt: skip

    @property
    def on_hosts(self) -> bool:
        """Whether the training is started elsewhere too, by a supervisor here."""
        return bool(self.hosts) or self.ray_address is not None

    def _hosts_problems(self) -> list[str]:
        """Return what is wrong with the options together."""
        problems = super()._hosts_problems()
        if self.ray_address is not None:
            if self.hosts:
                problems.append("--hosts and --ray-address exclude each other; give one")
            if self.install:
                problems.append("--install is for --hosts; a Ray cluster has its own environment")
        elif not self.hosts:
            problems += [
                f"{flag(name)} goes with --hosts"
                for name in ("install", "min_hosts", "coordinator_port")
                if getattr(self, name) not in (None, False)
            ]
            if self.launcher == "ray":
                problems.append("--launcher ray needs --hosts or --ray-address")
        if self.min_hosts is not None and self.hosts and self.min_hosts > len(self.hosts):
            problems.append(
                f"--min-hosts {self.min_hosts} is more than the {len(self.hosts)} of --hosts"
            )
        if self.install and self.python is not None:
            problems.append("--install makes a Python of its own; leave --python out")
        return problems


CLUSTER = frozenset(ClusterOptions.model_fields)
"""Names of the options that say where a training runs, and not what it is."""


class SendOptions(HostsOptions):
    """Copy data to all hosts, what is missing there, and compare checksums."""

    data: Path = positional("folder or file that is to be on every host", metavar="DATA")
    to: Path | None = option(
        None, "folder of the hosts that DATA comes into; else the one that it is in here",
        section="cluster", metavar="DIR",
    )  # fmt: skip

    def _hosts_problems(self) -> list[str]:
        """Return what is wrong with the options together."""
        problems = super()._hosts_problems()
        return problems if self.hosts else [*problems, "--hosts is missing: where to send DATA"]


class CheckHostsOptions(HostsOptions):
    """Say whether hosts are ready to train: reachable, alike, with the same data. Starts nothing."""

    data: Data | None = positional(
        "folder, manifest or TFRecord files that should be the same on all", None, metavar="DATA"
    )
    coordinator_port: int | None = option(
        None, "port of the head that the others should reach; else one that is free",
        section="cluster", ge=1, le=65535,
    )  # fmt: skip

    def _hosts_problems(self) -> list[str]:
        """Return what is wrong with the options together."""
        problems = super()._hosts_problems()
        return problems if self.hosts else [*problems, "--hosts is missing: which ones to check"]
