"""Ray clusters that are there: how one connects to them, and which of their nodes live."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hornbeam.cluster.starting.starter import Host
from hornbeam.config import RAY
from hornbeam.errors import ClusterError, ConfigError

_MARK = "#"
"""Stands between the address and the identity of a node, where several have one address."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a Ray cluster that lives.

    Attributes:
        host: it, called by its address, or by more where two have the same.
        identity: Ray's.
        gpus: it has.
    """

    host: Host
    identity: str
    gpus: float


def import_ray() -> None:
    """Check that Ray, which is an extra, is installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            f"Ray is not installed here: pip install 'hornbeam[ray]'. All machines need Ray {RAY}."
        )


@contextlib.contextmanager
def connected(address: str, token: Path | None = None) -> Iterator[None]:
    """Be connected to a Ray cluster inside this block.

    Args:
        address: `HOST:PORT` of its head, `auto` on one of its machines, or `ray://HOST:PORT`.
        token: file of the secret of a cluster that demands one.

    Raises:
        ConfigError: Ray is not installed here.
        ClusterError: there is no such cluster, or it refuses.
    """
    import_ray()
    if token is not None:  # read when Ray is imported
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    try:
        ray.init(
            address=address, namespace="hornbeam", log_to_driver=False, logging_level="ERROR",
            configure_logging=False,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as e:
        reason = " ".join(str(e).split())[:200].rstrip(".")
        raise ClusterError(
            f"The Ray cluster {address} cannot be reached from here: {reason}. One of its machines can "
            "(--ray-address auto), or ray://HOST:10001 from elsewhere."
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def alive_nodes() -> list[Node]:
    """Return the nodes that live, this machine first, of the cluster that one is connected to."""
    import ray

    found = [node for node in ray.nodes() if node["Alive"]]
    with contextlib.suppress(Exception):  # a client of ray:// is on no node
        here = ray.get_runtime_context().get_node_id()
        found.sort(key=lambda node: node["NodeID"] != here)
        return _named(found, here)
    return _named(found, None)


def find_node(host: Host) -> Node | None:
    """Return the node that lives of a host that `alive_nodes` returned, then or earlier.

    A node that comes back has another identity and the same address.
    """
    nodes = alive_nodes()
    prefix = host.name.partition(_MARK)[2]
    if prefix:
        return next((node for node in nodes if node.identity.startswith(prefix)), None)
    return next((node for node in nodes if node.host.address == host.address), None)


def _named(found: list[dict[str, object]], here: str | None) -> list[Node]:
    addresses = [str(node["NodeManagerAddress"]) for node in found]
    several = Counter(addresses)
    nodes = []
    for node, address in zip(found, addresses, strict=True):
        identity = str(node["NodeID"])
        name = address if several[address] == 1 else f"{address}{_MARK}{identity[:6]}"
        resources = node["Resources"]
        assert isinstance(resources, dict)
        host = Host(name, address, here=identity == here)
        nodes.append(Node(host, identity, float(resources.get("GPU", 0))))
    return nodes
