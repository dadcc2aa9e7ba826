"""Copies data to hosts by rsync, what is missing there, and compares checksums of every file.

Every host holds all data (decisions/0015), so each gets the same.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hornbeam import console
from hornbeam.cluster import checksums
from hornbeam.cluster.starting.ssh import find_python, reason_of, run_there, ssh_words
from hornbeam.cluster.starting.starter import Host
from hornbeam.errors import ClusterError, ConfigError

_AT_A_TIME = 4
"""Hosts that are sent to side by side: more than that share the line of this machine anyway."""


@dataclasses.dataclass
class Sent:
    """What became of one host.

    Attributes:
        host: it.
        sent: bytes that went over the line.
        seconds: that it took, with the checksums.
        differing: files whose checksum is not ours.
        fault: why it failed, if it did.
    """

    host: Host
    sent: int = 0
    seconds: float = 0
    differing: list[str] = dataclasses.field(default_factory=list)
    fault: str = ""


def send(data: Path, hosts: Sequence[Host], folder: Path, python: str | None) -> list[Sent]:
    """Copy a file or folder into a folder of each host; tell a table.

    Args:
        data: what to copy.
        hosts: where to; this machine itself is left out.
        folder: that it comes into.
        python: of `--python`.

    Raises:
        ConfigError: there is nothing to copy, or rsync is not installed.
        ClusterError: some host does not have all of it.
    """
    if not data.exists():
        raise ConfigError(f"{data} does not exist.")
    if shutil.which("rsync") is None:
        raise ConfigError("hornbeam cluster send needs rsync, which is not installed here.")
    data = data.absolute()
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        expected = pool.submit(checksums.of, str(data))
        results = list(pool.map(lambda h: _send(data, h, folder), hosts))
        ours = expected.result()
        list(pool.map(lambda r: _verify(r, folder / data.name, ours, python), results))
    rows = [
        [each.host.name, each.fault or _verdict(each, ours), str(len(ours)), f"{each.sent:,}",
         f"{each.seconds:.1f}"]
        for each in results
    ]  # fmt: skip
    console.table(["host", "state", "files", "bytes sent", "seconds"], rows, left=2)
    bad = [each.host.name for each in results if each.fault or each.differing]
    if bad:
        raise ClusterError(
            f"{', '.join(bad)} {'does' if len(bad) == 1 else 'do'} not have all of {data}; the same "
            "command goes on with what is missing."
        )
    return results


def rsync_words(host: Host) -> list[str]:
    """Return `rsync OPTIONS…`, to which source and target are added."""
    shell = shlex.join(ssh_words(host)[:-2])  # rsync adds the host itself
    return ["rsync", "--archive", "--partial", "--stats", "--no-owner", "--no-group", "-e", shell]


def place_of(host: Host, path: str) -> str:
    """Return what rsync calls a path of a host."""
    address = f"[{host.address}]" if ":" in host.address else host.address
    return f"{address}:{path}"


def _send(data: Path, host: Host, folder: Path) -> Sent:
    """Copy what is missing."""
    result, begun = Sent(host), time.monotonic()
    made = run_there(host, f"mkdir -p {shlex.quote(str(folder))} && command -v rsync >/dev/null")
    if made.returncode:
        said = reason_of(made.stderr) if made.stderr.strip() else "rsync is not installed there"
        result.fault = said
        return result
    done = subprocess.run(
        [*rsync_words(host), "--protect-args", str(data), place_of(host, f"{folder}/")],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip
    sent = re.search(r"Total bytes sent: ([\d,.]+)", done.stdout)
    result.sent = int(re.sub(r"\D", "", sent[1])) if sent else 0
    result.seconds = time.monotonic() - begun
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("rsync error")]
        result.fault = (lines or [f"rsync ended with {done.returncode}"])[0]
    return result


def _verify(result: Sent, path: Path, ours: dict[str, str], python: str | None) -> None:
    """Compare checksums on the host with ours."""
    if result.fault:
        return
    begun = time.monotonic()
    script = (
        f"{find_python(python)}"
        '[ -n "$python" ] || python=python3; '
        f'exec "$python" - {shlex.quote(str(path))}'
    )
    done = run_there(result.host, script, Path(checksums.__file__).read_bytes())
    result.seconds += time.monotonic() - begun
    try:
        theirs = json.loads(done.stdout)
    except ValueError:
        result.fault = f"cannot be verified: {reason_of(done.stderr)}"
        return
    result.differing = [name for name, digest in ours.items() if theirs.get(name) != digest]


def _verdict(result: Sent, ours: dict[str, str]) -> str:
    if result.differing:
        return f"{len(result.differing)} of {len(ours)} files differ, {result.differing[0]} first"
    return "complete, checksums are equal"
