"""The commands about Ray clusters on machines that ssh reaches."""

from __future__ import annotations

import getpass
import secrets

from hornbeam import console
from hornbeam.cluster import hosts, ray_up
from hornbeam.cluster.ray_file import ray_file
from hornbeam.config import RAY, ClusterDownOptions, ClusterStatusOptions, ClusterUpOptions
from hornbeam.errors import ClusterError
from hornbeam.storage import write_text

_DEFAULT = "default"


def bring_cluster_up(options: ClusterUpOptions) -> None:
    """Start Ray on all machines, or write a file with which `ray up` does."""
    name = options.name or _DEFAULT
    machines = hosts.hosts_of(options)
    cluster = ray_up.RayCluster(name, machines, options.port, options.python)
    if options.write is not None:
        _write_file(options, cluster)
        return
    ray_up.bring_up(cluster)
    console.say(
        f"The Ray cluster '{name}' is up on {len(machines)} machines, at {cluster.address}."
    )
    console.say(f"hornbeam train DATA --ray-address {cluster.address} trains on them.")


def show_clusters(options: ClusterStatusOptions) -> int:
    """Say which machines live; return 1 where one does not."""
    if options.name is not None:
        clusters = [ray_up.cluster_called(options.name)]
    else:
        clusters = list(ray_up.known().values())
    if not clusters:
        console.say("There is no cluster; `hornbeam cluster up --hosts …` brings one up.")
        return 0
    rows, whole = [], True
    for cluster in clusters:
        try:
            nodes = ray_up.nodes_of(cluster)
        except ClusterError as error:
            console.warn(str(error))
            whole = False
            continue
        alive = sum(lives for _, lives, _ in nodes)
        whole = whole and alive == len(cluster.hosts)
        for address, lives, resources in nodes:
            cores, gpus = (f"{resources.get(what, 0):g}" for what in ("CPU", "GPU"))
            rows.append([cluster.name, address, "lives" if lives else "lost", cores, gpus])
    if rows:
        console.table(["cluster", "machine", "state", "cores", "GPUs"], rows, left=3)
    return 0 if whole else 1


def take_cluster_down(options: ClusterDownOptions) -> None:
    """End Ray on all machines of a cluster."""
    cluster = ray_up.cluster_called(options.name or _DEFAULT)
    missed = ray_up.take_down(cluster)
    for each in missed:
        console.warn(f"{each} could not be reached; if it comes back, `ray stop` there ends Ray.")
    console.say(f"The Ray cluster '{cluster.name}' is down.")


def _write_file(options: ClusterUpOptions, cluster: ray_up.RayCluster) -> None:
    import yaml

    assert options.write is not None
    user = cluster.hosts[0].user or getpass.getuser()
    content = ray_file(options, cluster.hosts, user)
    cluster.token.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not cluster.token.exists():
        cluster.token.touch(mode=0o600)
        cluster.token.write_text(secrets.token_hex(32))
    text = yaml.safe_dump(content, sort_keys=False, width=1000)
    write_text(options.write, f"# For Ray {RAY}, on all machines: ray up {options.write}\n{text}")
    console.say(
        f"The file is {options.write}; bring the cluster up with: RAY_enable_autoscaler_v2=0 "
        f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={cluster.token} ray up {options.write}"
    )
