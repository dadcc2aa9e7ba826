"""The hosts of a command: which of them is this machine, and where the others find it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from hornbeam.cluster.starting.ssh import configured
from hornbeam.cluster.starting.starter import Host
from hornbeam.config import HostsOptions
from hornbeam.config.cluster import parse_host

_LOOPBACK = "127.0.0.1"

_PORTS = range(20_000, 32_000)
"""Below those that Linux gives to connections, from 32768 on: one of these may be taken by the time that
somebody listens there."""


def hosts_of(options: HostsOptions) -> list[Host]:
    """Return the hosts that the options name, the head first."""
    hosts = []
    for name in options.hosts:
        address = parse_host(name)
        identity = options.identity.expanduser().absolute() if options.identity else None
        hosts.append(Host(
            name, address.host, address.user or options.user, address.port or options.ssh_port,
            identity, here=_is_here(address.host),
        ))  # fmt: skip
    return hosts


def reachable_address(host: Host) -> str:
    """Return the address at which workers on other machines find a host.

    A name may be one that only the user's configuration of ssh knows.
    """
    if host.is_localhost:
        return _LOOPBACK
    return host.address if host.here else configured(host.address).get("hostname", host.address)


def joined(address: str, port: int) -> str:
    """Return `address:port`, with brackets around IPv6."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def likely_port() -> int:
    """Return a port that is likely free, of a machine that cannot be asked."""
    return secrets.choice(_PORTS)


def free_port(address: str) -> int:
    """Return a port of this machine that nobody listens at.

    Raises:
        OSError: the machine has none, or no addresses of this kind.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(100):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind(("", likely_port()))
            return int(probe.getsockname()[1])
    raise OSError(f"none of a hundred ports of {address} is free")


def distinct(hosts: Sequence[Host]) -> list[Host]:
    """Return each machine once."""
    found: dict[tuple[str, int | None], Host] = {}
    for host in hosts:
        found.setdefault(("" if host.here else host.address, host.port), host)
    return list(found.values())


def shared_folder_probe(folder: Path) -> Path:
    """Return a file that was made in a folder, by which other hosts tell whether they share it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".hornbeam-{socket.gethostname()}-{os.getpid()}"
    path.touch()
    return path


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's: one can bind to those, and to no others."""
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, _, _, place in found:
        try:
            with socket.socket(family, kind) as trial:
                trial.bind(place)
            return True
        except OSError:
            continue
    return False
