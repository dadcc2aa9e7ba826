"""Ray clusters that are brought up by ssh, one process tree on each machine, behind a secret token.

What is known of one is in `~/.hornbeam/clusters/NAME.json`. On each machine `NAME-RANK.pid` is the
process that holds Ray together there, `NAME-RANK.log` what it said, and `NAME.token` the secret.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hornbeam.cluster.hosts import joined, reachable_address
from hornbeam.cluster.starting.ssh import find_python, reason_of, run_there
from hornbeam.cluster.starting.starter import Host
from hornbeam.errors import ClusterError, ConfigError, did_you_mean
from hornbeam.storage import write_json

_FOLDER = ".hornbeam/clusters"
"""Below the home, here and on each machine."""

_PATIENCE = 90.0
"""Seconds until all machines have joined; Ray takes ten or so to start."""

_BUSY = 3
"""Exit code of `_START` where a cluster of this name runs that was brought up from elsewhere."""

# The process stays and ends all of Ray that it started when it is told to end: `ray stop` would end
# whatever Ray this user has on the machine.
_START = """\
umask 077; mkdir -p "$HOME/{folder}" && cd "$HOME/{folder}" || exit 1
kill -0 "$(cat {own}.pid 2>/dev/null)" 2>/dev/null &&
    {{ echo "a cluster '{name}' runs here already" >&2; exit {busy}; }}
cat > {name}.token
{python}
[ -n "$python" ] || {{ echo "Hornbeam is not installed there" >&2; exit 1; }}
"$python" -c "import ray" 2>/dev/null || {{ echo "Ray is not installed there" >&2; exit 1; }}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/{folder}/{name}.token"
export RAY_worker_niceness=0  # it is 15 otherwise, and a training would wait for all else
setsid "$python" -m ray.scripts.scripts start --block --disable-usage-stats {words} \\
    > {own}.log 2>&1 < /dev/null &
echo $! > {own}.pid
"""

_STOP = """\
cd "$HOME/{folder}" 2>/dev/null || exit 0
pid=$(cat {own}.pid 2>/dev/null) || exit 0
if grep -q ray "/proc/$pid/cmdline" 2>/dev/null; then
    kill -TERM "$pid" 2>/dev/null
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "-$pid" 2>/dev/null
fi
rm -f {own}.pid {own}.log {name}.token
"""

_NODES = """\
cd "$HOME/{folder}" && {python}
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/{folder}/{name}.token"
exec "$python" -c '
import json, ray
ray.init("{address}", log_to_driver=False, logging_level="ERROR", configure_logging=False)
print(json.dumps([[n["NodeManagerAddress"], n["Alive"], n["Resources"]] for n in ray.nodes()]))'
"""


@dataclasses.dataclass(frozen=True)
class RayCluster:
    """A cluster that was brought up.

    Attributes:
        name: of it.
        hosts: its machines, the head first.
        port: of the head.
        python: on the machines; `None` where it is found there.
    """

    name: str
    hosts: Sequence[Host]
    port: int
    python: str | None

    @property
    def address(self) -> str:
        """What `--ray-address` takes."""
        return joined(reachable_address(self.hosts[0]), self.port)

    @property
    def token(self) -> Path:
        """File of the secret, here."""
        return _folder() / f"{self.name}.token"

    def write(self) -> None:
        """Keep what is known of it here."""
        hosts = [{k: v and str(v) if k == "identity" else v
                  for k, v in dataclasses.asdict(host).items()} for host in self.hosts]  # fmt: skip
        values = {"hosts": hosts, "port": self.port, "python": self.python, "address": self.address}
        write_json(_folder() / f"{self.name}.json", values)

    def forget(self) -> None:
        """Remove what is known of it here."""
        for path in (_folder() / f"{self.name}.json", self.token):
            path.unlink(missing_ok=True)


def bring_up(cluster: RayCluster) -> None:
    """Start Ray on all machines, the head first, and wait until all have joined.

    Raises:
        ConfigError: there is a cluster of this name.
        ClusterError: it fails somewhere; nothing is left running then.
    """
    if cluster.name in known():
        raise ConfigError(
            f"There is a cluster '{cluster.name}' already; `hornbeam cluster down {cluster.name}` takes "
            "it down."
        )
    _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    token = secrets.token_hex(32)
    cluster.token.touch(mode=0o600)
    cluster.token.write_text(token)
    cluster.write()
    head, *others = range(len(cluster.hosts))
    begun: list[int] = []
    try:
        _start(cluster, head, token, begun)
        _wait(cluster, 1)
        with ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(lambda rank: _start(cluster, rank, token, begun), others))
        _wait(cluster, len(cluster.hosts))
    except BaseException:
        take_down(cluster, begun)
        raise


def take_down(cluster: RayCluster, ranks: Sequence[int] | None = None) -> list[str]:
    """End Ray on all machines or some, and forget the cluster; return what could not be reached."""
    ranks = range(len(cluster.hosts)) if ranks is None else ranks

    def stop(rank: int) -> str | None:
        host = cluster.hosts[rank]
        script = _STOP.format(folder=_FOLDER, name=cluster.name, own=f"{cluster.name}-{rank}")
        done = run_there(host, script, timeout=60)
        return f"{host.name} ({reason_of(done.stderr)})" if done.returncode == 255 else None

    with ThreadPoolExecutor(max_workers=16) as pool:
        missed = list(filter(None, pool.map(stop, ranks)))
    cluster.forget()
    return missed


def nodes_of(cluster: RayCluster) -> list[tuple[str, bool, dict[str, float]]]:
    """Return address, whether it lives, and resources of each machine that ever joined.

    Raises:
        ClusterError: the head does not answer.
    """
    script = _NODES.format(
        folder=_FOLDER, name=cluster.name, python=find_python(cluster.python).rstrip("; "),
        address=cluster.address,
    )  # fmt: skip
    done = run_there(cluster.hosts[0], script, timeout=60)
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or not lines:
        raise ClusterError(
            f"The head of the cluster '{cluster.name}', {cluster.hosts[0].name}, does not answer: "
            f"{reason_of(done.stderr)}."
        )
    return [(str(a), bool(b), dict(c)) for a, b, c in json.loads(lines[-1])]


def known() -> dict[str, RayCluster]:
    """Return all clusters that were brought up from here, by name."""
    found = {}
    for path in sorted(_folder().glob("*.json")):
        values: dict[str, Any] = json.loads(path.read_text())
        hosts = [
            Host(**{**each, "identity": each["identity"] and Path(each["identity"])})
            for each in values["hosts"]
        ]
        found[path.stem] = RayCluster(path.stem, hosts, values["port"], values["python"])
    return found


def cluster_called(name: str) -> RayCluster:
    """Return a cluster by its name.

    Raises:
        ConfigError: there is none.
    """
    clusters = known()
    if name not in clusters:
        listed = f" There are {', '.join(clusters)}." if clusters else " There is none."
        raise ConfigError(f"There is no cluster '{name}'.{did_you_mean(name, clusters) or listed}")
    return clusters[name]


def token_of(address: str) -> Path | None:
    """Return the file of the secret of a cluster at an address, if it was brought up from here."""
    clusters = [c for c in known().values() if address in ("auto", c.address) and c.token.is_file()]
    return clusters[0].token if clusters else None


def _start(cluster: RayCluster, rank: int, token: str, begun: list[int]) -> None:
    host = cluster.hosts[rank]
    begun.append(rank)
    address = reachable_address(cluster.hosts[0])
    words = ["--address", cluster.address]
    if rank == 0:
        words = ["--head", "--port", str(cluster.port), "--include-dashboard=false",
                 "--node-ip-address", address]  # fmt: skip
    elif host.is_localhost:
        words += ["--node-ip-address", address]
    script = _START.format(
        folder=_FOLDER, name=cluster.name, own=f"{cluster.name}-{rank}", words=shlex.join(words),
        python=find_python(cluster.python), busy=_BUSY,
    )  # fmt: skip
    done = run_there(host, script, token.encode(), timeout=120)
    if done.returncode == _BUSY:
        begun.remove(rank)  # it is not ours to end
    if done.returncode:
        raise ClusterError(f"Ray does not start on {host.name}: {reason_of(done.stderr)}.")


def _wait(cluster: RayCluster, count: int) -> None:
    """Wait until so many machines have joined.

    Raises:
        ClusterError: they do not, in time.
    """
    end = time.monotonic() + _PATIENCE
    alive: list[str] = []
    while time.monotonic() < end:
        try:
            alive = [address for address, lives, _ in nodes_of(cluster) if lives]
        except ClusterError:
            alive = []
        if len(alive) >= count:
            return
        time.sleep(1)
    host = cluster.hosts[0 if not alive else -1].name
    said = _last_words(cluster, 0 if not alive else len(cluster.hosts) - 1)
    raise ClusterError(
        f"{len(alive)} of {count} machines joined the Ray cluster in {_PATIENCE:g} s. {host} said: "
        f"{said}"
    )


def _last_words(cluster: RayCluster, rank: int) -> str:
    log = f"$HOME/{_FOLDER}/{cluster.name}-{rank}.log"
    done = run_there(cluster.hosts[rank], f'tail -n 5 "{log}"', timeout=30)
    return " ".join(done.stdout.decode(errors="replace").split())[-300:] or "nothing"


def _folder() -> Path:
    return Path.home() / _FOLDER
