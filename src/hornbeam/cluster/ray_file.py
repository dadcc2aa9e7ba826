"""A file for Ray's own `ray up`, which brings the same cluster up without us."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hornbeam.cluster.hosts import reachable_address
from hornbeam.cluster.starting.ssh import find_python
from hornbeam.cluster.starting.starter import Host
from hornbeam.config import ClusterUpOptions

_TOKEN = "~/.hornbeam/clusters/{name}.token"


def ray_file(options: ClusterUpOptions, hosts: Sequence[Host], user: str) -> dict[str, Any]:
    """Return what `ray up FILE` reads: Ray's provider for machines that are there.

    Args:
        options: of the command.
        hosts: the head first.
        user: of ssh, which the file must name.
    """
    token = _TOKEN.format(name=options.name or "default")
    # Ray 2.60's second autoscaler does not know this provider.
    variables = {
        "RAY_enable_autoscaler_v2": 0,
        "RAY_worker_niceness": 0,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
    }
    environment = " ".join(f"{name}={value}" for name, value in variables.items())
    ray = f'{find_python(options.python)}{environment} "$python" -m ray.scripts.scripts'
    start = f"{ray} start --disable-usage-stats"
    auth: dict[str, Any] = {"ssh_user": user}
    if options.identity is not None:
        auth["ssh_private_key"] = str(options.identity.expanduser())
    head, *workers = [reachable_address(host) for host in hosts]
    return {
        "cluster_name": options.name or "default",
        "provider": {"type": "local", "head_ip": head, "worker_ips": workers},
        "auth": auth,
        "min_workers": len(workers),
        "max_workers": len(workers),
        "file_mounts": {token: str(Path(token).expanduser())},
        "head_start_ray_commands": [
            f"{ray} stop",
            f"{start} --head --port={options.port} "
            "--autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            f"{ray} stop",
            f"{start} --address=$RAY_HEAD_IP:{options.port}",
        ],
    }
