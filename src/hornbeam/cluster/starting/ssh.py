"""Workers on other machines, by the system's own ssh and the user's own configuration of it."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hornbeam.cluster.starting.guarded import GuardedWorker
from hornbeam.cluster.starting.starter import LOST, Host, Starter, Told
from hornbeam.errors import ConfigError

INSTALLED = ".hornbeam/venv/bin/python"
"""The Python that `--install` makes, below the home of the host."""

CONNECT_TIMEOUT = 10
"""Seconds."""

_PASSED_ON = re.compile(
    r"(HORNBEAM|JAX|XLA|KERAS|TF|NCCL|GLOO|OMP|LIBTPU)_\w+|PYTHONPATH|PYTHONUNBUFFERED|PYTHONHASHSEED"
)
"""Variables of the environment that a worker elsewhere gets, too."""

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|KEY")
"""What stays here: everybody on the host can read the command line."""


def ssh_words(host: Host) -> list[str]:
    """Return `ssh OPTIONS… HOST`, to which a command is added.

    It never asks anything, gives up a host that does not answer for 15 s, and takes the key of a host
    that it has not seen before, unless the user's own configuration says something about that.
    """
    words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT}",
             "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]  # fmt: skip
    if configured(host.address).get("stricthostkeychecking", "ask") == "ask":
        words += ["-o", "StrictHostKeyChecking=accept-new"]
    words += ["-p", str(host.port)] if host.port else []
    words += ["-l", host.user] if host.user else []
    words += ["-i", str(host.identity)] if host.identity else []
    return [*words, "--", host.address]


@functools.cache
def configured(address: str) -> dict[str, str]:
    """Return what the user's configuration of ssh says about a host, by lower-case name.

    Raises:
        ConfigError: there is no ssh here.
    """
    try:
        done = subprocess.run(
            ["ssh", "-G", "--", address], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise ConfigError("--hosts needs ssh, which is not installed here.") from None
    pairs = [line.partition(" ") for line in done.stdout.splitlines()]
    return {name.lower(): value for name, _, value in reversed(pairs)}


def in_shell(script: str) -> str:
    """Return the one word of a remote command that runs a script in sh, whatever the login shell is."""
    return f"exec sh -c {shlex.quote(script)}"


def run_there(
    host: Host, script: str, stdin: bytes = b"", timeout: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a script in sh on a host, or here where it is this machine; `LOST` is a lost connection."""
    command = ["sh", "-c", script] if host.here else [*ssh_words(host), in_shell(script)]
    try:
        return subprocess.run(
            command, input=stdin, capture_output=True, check=False, timeout=timeout,
            start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired as expired:
        return subprocess.CompletedProcess(
            command, LOST, b"", expired.stderr or b"no answer in time"
        )


def reason_of(stderr: bytes) -> str:
    """Return why ssh failed, in its own words and one sentence."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    own = [line for line in lines if line.startswith(("ssh:", "Host key", "Permission"))
           or "Permission denied" in line or "Timeout" in line]  # fmt: skip
    # A changed key fills a page; its last line says what it comes to.
    chosen = (own or lines or ["no answer"])[-1]
    return chosen.removeprefix("ssh: ").rstrip(".")


def find_python(python: str | None) -> str:
    """Return lines of sh that set `$python` to the Python of a host, or to nothing.

    It is the one that the user named, else the first of ours and `--install`'s that has Hornbeam.
    """
    if python is not None:
        below_home = '"$HOME"/' if python.startswith("~/") else ""
        return f"python={below_home}{shlex.quote(python.removeprefix('~/'))}; "
    return (
        "python=; "
        f'for p in {shlex.quote(sys.executable)} "$HOME/{INSTALLED}"; do '
        '[ -x "$p" ] && "$p" -c "import hornbeam" 2>/dev/null && python=$p && break; done; '
    )


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those variables of an environment that workers elsewhere get, too: no secrets."""
    return {
        name: value
        for name, value in environment.items()
        if _PASSED_ON.fullmatch(name) and not _SECRET.search(name)
    }


def exports(environment: Mapping[str, str]) -> str:
    """Return lines of sh that set variables."""
    return "".join(f"export {name}={shlex.quote(value)}; " for name, value in environment.items())


class SshStarter(Starter):
    """Starts workers by ssh.

    Args:
        deadline: seconds from SIGTERM to SIGKILL.
        python: on the hosts; `None` for the one at the same path as here, or the one of `--install`.
        command: what the words follow, in place of `PYTHON -m hornbeam`.
    """

    def __init__(
        self, deadline: float, python: str | None = None, command: Sequence[str] | None = None
    ) -> None:
        self._deadline = deadline
        self._python = python
        self._command = command

    def unreachable(self, host: Host) -> str | None:
        """Return what ssh says where it does not get there."""
        done = run_there(host, "true", timeout=2 * CONNECT_TIMEOUT)
        return reason_of(done.stderr) if done.returncode else None

    def start(
        self,
        rank: int,
        host: Host,
        words: Sequence[str],
        environment: Mapping[str, str],
        told: Told,
    ) -> GuardedWorker:
        """Start `hornbeam WORDS…` on another machine."""
        script = self.script(words, {**passed_on(os.environ), **environment})
        return GuardedWorker(rank, host, [*ssh_words(host), in_shell(script)], os.environ, told)

    def script(self, words: Sequence[str], environment: Mapping[str, str]) -> str:
        """Return what sh runs there: in the directory of the same name, with the environment."""
        command = shlex.join(self._command) if self._command else '"$python" -m hornbeam'
        return (
            f"cd {shlex.quote(str(Path.cwd()))} 2>/dev/null || cd; "
            f"{exports(environment)}{find_python(self._python)}"
            '[ -n "$python" ] || { echo "hornbeam: Hornbeam is not installed here; --install does it." '
            ">&2; exit 2; }; "
            f'exec "$python" -m hornbeam.cluster.guard --deadline {self._deadline:g} -- '
            f"{command} {shlex.join(words)}"
        )  # fmt: skip
