"""Are the hosts ready? All are asked side by side, and all that is wrong is told in one table."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hornbeam import console
from hornbeam.cluster import probe
from hornbeam.cluster.hosts import (
    distinct,
    reachable_address,
    shared_folder_probe,
)
from hornbeam.cluster.listening import listening
from hornbeam.cluster.starting.ssh import exports, find_python, passed_on, reason_of, run_there
from hornbeam.cluster.starting.starter import LOST, Host
from hornbeam.errors import ClusterError, ConfigError

_LEAST_FREE = 2 * 2**30
"""Bytes of a disk below which checkpoints may not find room."""

_CLOCKS = 5.0
"""Seconds that clocks may differ by: dates of files and certificates are compared."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is asked of the hosts.

    Attributes:
        paths: files and folders that should be the same on all.
        folder: where the run is to be; its disk should have room.
        python: of `--python`.
        port: of the head at which the workers will meet; `None` for one that is free.
        writes: whether workers are to write there: the head must then write where we read.
        jax: whether JAX is needed, as for a training.
    """

    paths: Sequence[str]
    folder: Path
    python: str | None = None
    port: int | None = None
    writes: bool = False
    jax: bool = False


@dataclasses.dataclass
class Answer:
    """What a host said, and what is wrong there."""

    host: Host
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    between: tuple[float, float] = (0, 0)


def check(hosts: Sequence[Host], wanted: Wanted, *, always_told: bool = False) -> list[Answer]:
    """Ask all hosts, and stop where one is not ready; return what each machine said.

    Args:
        hosts: the head first.
        wanted: what is asked.
        always_told: show the table even if all is well; else only a line.

    Raises:
        ConfigError: there is something on this machine that none could have.
        ClusterError: hosts are not ready; the table says why.
    """
    missing = [path for path in wanted.paths if probe.fingerprint(path) is None]
    if missing and hosts[0].here:
        raise ConfigError(f"{missing[0]} does not exist.")
    answers = ask(hosts, wanted)
    problems = [answer for answer in answers if answer.problems]
    if problems or always_told:
        _tell(answers)
    if problems:
        raise ClusterError(
            f"{len(problems)} of {len(answers)} hosts are not ready, see the table; nothing was started."
        )
    are = "1 host is" if len(answers) == 1 else f"{len(answers)} hosts are"
    console.say(f"{are} ready: {', '.join(answer.host.name for answer in answers)}.")
    return answers


def ask(hosts: Sequence[Host], wanted: Wanted) -> list[Answer]:
    """Return what each machine says, with what is wrong there."""
    machines = distinct(hosts)
    shared = shared_folder_probe(wanted.folder) if wanted.writes else None
    try:
        with listening(hosts[0], wanted.port) as (port, fault), ThreadPoolExecutor(64) as pool:
            head = reachable_address(hosts[0])
            ours = pool.submit(probe.look, _question(wanted, None, None))
            futures = [
                pool.submit(
                    _ask, host, wanted, str(shared) if shared else None,
                    [head, port] if port and host is not hosts[0] else None,
                )
                for host in machines
            ]  # fmt: skip
            answers = [future.result() for future in futures]
        if fault:
            answers[0].problems.append(fault)
    finally:
        if shared:
            shared.unlink(missing_ok=True)
    for answer in answers:
        if answer.facts:
            answer.problems += _problems(answer, ours.result(), hosts, wanted)
    return answers


def _question(wanted: Wanted, shared: str | None, head: list[Any] | None) -> dict[str, Any]:
    return {
        "paths": list(wanted.paths),
        "folder": str(wanted.folder),
        "shared": shared,
        "head": head,
    }


def _ask(host: Host, wanted: Wanted, shared: str | None, head: list[Any] | None) -> Answer:
    """Run the probe on a host."""
    answer = Answer(host)
    question = json.dumps(_question(wanted, shared, head))
    script = (
        f"{exports(passed_on(os.environ))}{find_python(wanted.python)}"
        '[ -n "$python" ] || python=$(command -v python3) || { echo "no python3" >&2; exit 127; }; '
        f'exec "$python" - {shlex.quote(question)}'
    )
    begun = time.time()
    done = run_there(host, script, Path(probe.__file__).read_bytes())
    answer.between = (begun, time.time())
    try:
        answer.facts = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        why = reason_of(done.stderr)
        lost = done.returncode == LOST
        answer.problems.append(
            f"cannot be reached: {why}" if lost else f"its Python does not answer: {why}"
        )
    return answer


def _problems(
    answer: Answer, ours: Mapping[str, Any], hosts: Sequence[Host], wanted: Wanted
) -> list[str]:
    """Say what is wrong with a host that answered."""
    facts, host = answer.facts, answer.host
    return [
        *_software(facts, ours, host),
        *_engine(facts, ours, wanted),
        *_data(facts, ours),
        *_surroundings(answer, wanted),
        *_network(facts, hosts, host),
        *_run(facts, wanted, hosts, host),
    ]


def _software(facts: Mapping[str, Any], ours: Mapping[str, Any], host: Host) -> list[str]:
    if host.here:
        return []
    if facts["python"] < [3, 11]:
        found = ".".join(map(str, facts["python"]))
        return [f"Python {found} is too old, 3.11 is needed; name another with --python"]
    if facts["hornbeam"] is None:
        return [f"Hornbeam is not installed in {facts['executable']}; --install does it"]
    problems = []
    if facts["python"][:2] != ours["python"][:2]:
        there, here = (".".join(map(str, each["python"][:2])) for each in (facts, ours))
        problems.append(f"Python is {there} there and {here} here")
    if facts["hornbeam"] != ours["hornbeam"]:
        problems.append(
            f"another Hornbeam: {facts['version']} with sources {facts['hornbeam']}, here "
            f"{ours['version']} with {ours['hornbeam']}; --install brings ours"
        )
    differing = [
        f"{name} {facts['packages'][name] or 'is missing'} (here {version})"
        for name, version in ours["packages"].items()
        if version is not None and facts["packages"][name] != version
    ]
    if differing:
        problems.append(f"other packages: {', '.join(differing)}; --install brings ours")
    return problems


def _engine(facts: Mapping[str, Any], ours: Mapping[str, Any], wanted: Wanted) -> list[str]:
    """Say where JAX is missing, if it is here too: else it is told as a difference."""
    if not wanted.jax or facts["packages"]["jax"] or ours["packages"]["jax"]:
        return []
    return [
        "JAX, by which several machines train together, is missing: pip install 'hornbeam[gpu]' for "
        "NVIDIA GPUs, 'hornbeam[tpu]' for TPUs, or jax for CPUs"
    ]


def _data(facts: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    problems = []
    for path, here in ours["paths"].items():
        there = facts["paths"][path]
        copies = f"`hornbeam cluster send {shlex.quote(path)} --hosts …` copies it"
        if there is None and here is not None:
            problems.append(f"{path} is not there; {copies}")
        elif there != here and here is not None:
            what = (
                f"{there[0]} files, {there[1]:,} bytes; here {here[0]} and {here[1]:,}"
                if there[:2] != here[:2] else "as many bytes, but others"
            )  # fmt: skip
            problems.append(f"{path} is not as here: {what}; {copies}")
    return problems


def _surroundings(answer: Answer, wanted: Wanted) -> list[str]:
    problems, facts = [], answer.facts
    if facts["free"] < _LEAST_FREE and wanted.writes:
        problems.append(
            f"only {_size(facts['free'])} are free where {wanted.folder} is, or would be; "
            f"{_size(_LEAST_FREE)} are wanted"
        )
    # Their clock was read between ours, so the difference is known within the time that it took.
    least, most = facts["clock"][1] - answer.between[1], facts["clock"][0] - answer.between[0]
    if least > _CLOCKS or most < -_CLOCKS:
        off = least if least > 0 else most
        way = "ahead" if off > 0 else "behind"
        problems.append(f"its clock is {abs(off):.0f} s {way} of ours; let NTP set both")
    return problems


def _network(facts: Mapping[str, Any], hosts: Sequence[Host], host: Host) -> list[str]:
    problems = []
    several = len(distinct(hosts)) > 1
    loopback = [place for place in facts["resolves"] if place.startswith("127.") or place == "::1"]
    # Without an accelerator the sums go through gloo, which offers the others what this name means.
    if several and not facts["accelerator"] and loopback == facts["resolves"]:
        name = facts["hostname"]
        what = f"means {loopback[0]} there" if loopback else "is unknown there"
        problems.append(
            f"its own name '{name}' {what}, and this is where it would tell the others to find it; in "
            f"its /etc/hosts write '{_numeric(host)} {name}' in place of such a line"
        )
    if several and hosts[0].is_localhost and host is hosts[0]:
        problems.append(
            "the others cannot find 'localhost'; name this machine as they know it, in the first place"
        )
    elif facts["head"]:
        problems.append(
            f"it does not reach the head {reachable_address(hosts[0])}: {facts['head']}; open the "
            "port in its firewall, and name it with --coordinator-port"
        )
    return problems


def _run(facts: Mapping[str, Any], wanted: Wanted, hosts: Sequence[Host], host: Host) -> list[str]:
    if not wanted.writes or host is not hosts[0] or host.here or facts["shared"]:
        return []
    return [
        f"it is the head, and would write the run to a {wanted.folder} that cannot be seen here; give "
        f"the command on {host.name}, or use a folder that both share"
    ]


def _tell(answers: Sequence[Answer]) -> None:
    rows = []
    for answer in answers:
        facts = answer.facts
        told = ["", "", ""]
        if facts:
            told = [
                ".".join(map(str, facts["python"])), _size(facts["free"]),
                f"{sum(found[0] for found in facts['paths'].values() if found)} files",
            ]  # fmt: skip
        problems = answer.problems or ["ready"]
        rows.append([answer.host.name, *told, problems[0]])
        rows += [["", "", "", "", problem] for problem in problems[1:]]
    console.table(["host", "Python", "free", "data", "state"], rows, left=5)


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"


def _numeric(host: Host) -> str:
    address = reachable_address(host)
    return "ITS ADDRESS" if address == "127.0.0.1" else address
