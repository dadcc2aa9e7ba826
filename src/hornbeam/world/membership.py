"""Which of several processes this one is: told by whoever started it, in the environment.

HORNBEAM_WORLD_SIZE, HORNBEAM_RANK, HORNBEAM_COORDINATOR   `hornbeam train --hosts`, or by hand
SLURM_STEP_NUM_TASKS, SLURM_PROCID                         srun
OMPI_COMM_WORLD_SIZE, OMPI_COMM_WORLD_RANK                 mpirun of OpenMPI
PMI_SIZE, PMI_RANK                                         mpiexec of MPICH and Intel MPI
HORNBEAM_WORLD_SIZE, JOB_COMPLETION_INDEX                  an indexed job of Kubernetes

The coordinator is `host:port` of the first process, which listens there. Slurm tells its host; all
others want HORNBEAM_COORDINATOR.
"""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Mapping

from hornbeam.errors import ConfigError

SIZE, RANK, COORDINATOR, HOST = (
    f"HORNBEAM_{name}" for name in ("WORLD_SIZE", "RANK", "COORDINATOR", "HOST")
)

RAISED_CODES = "HORNBEAM_RAISED_CODES"
"""Variable that lets failures end with other exit codes: see `world.end`."""

_STARTERS = (
    (SIZE, RANK),
    (SIZE, "JOB_COMPLETION_INDEX"),
    ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("PMI_SIZE", "PMI_RANK"),
)
"""Variables that hold the number of processes, and which of them this one is."""

_LOCAL = (
    ("HORNBEAM_LOCAL_SIZE", "HORNBEAM_LOCAL_RANK"),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("MPI_LOCALNRANKS", "MPI_LOCALRANKID"),
    ("SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID"),
)
"""Variables that hold the number of processes on this machine, and which of them this one is."""

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

SLURM_PORTS = (61_440, 4096)
"""First port for the coordinators of Slurm's jobs, and how many there are: one by the job's number. They
are above those that Linux gives to connections, 32768 to 60999."""


@dataclasses.dataclass(frozen=True)
class Membership:
    """What a process knows of the others before it has met them.

    Attributes:
        rank: in `[0, size)`; the first is 0.
        size: number of processes.
        coordinator: `host:port`, at which the first one listens.
        host: what messages call the machine that this process runs on.
    """

    rank: int
    size: int
    coordinator: str
    host: str


def membership(environment: Mapping[str, str]) -> Membership | None:
    """Return which of several processes this one is; `None` where it is alone.

    Raises:
        ConfigError: the variables contradict each other, or one is missing.
    """
    for of_size, of_rank in _STARTERS:
        if of_size in environment and of_rank in environment:
            size, rank = (_number(name, environment) for name in (of_size, of_rank))
            break
    else:
        if SIZE in environment and _number(SIZE, environment) > 1:
            raise ConfigError(f"${SIZE} is set and ${RANK} is not: which of the processes is this?")
        return None
    if size == 1:
        return None
    if not 0 <= rank < size:
        raise ConfigError(
            f"${of_rank} is {rank}; of {size} processes it should be 0 to {size - 1}."
        )
    coordinator = environment.get(COORDINATOR) or _coordinator_of_slurm(environment)
    if not coordinator:
        raise ConfigError(
            f"This is one of {size} processes, and ${COORDINATOR} is not set: it should be HOST:PORT "
            "of the first one, any free port, the same for all."
        )
    if not re.fullmatch(r"\S+:\d+", coordinator):
        raise ConfigError(f"${COORDINATOR} is '{coordinator}'; it should be HOST:PORT.")
    return Membership(rank, size, coordinator, environment.get(HOST) or socket.gethostname())


def alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a process is no member, whatever the one that starts it is."""
    sizes = {of_size for of_size, _ in _STARTERS}
    return {name: value for name, value in environment.items() if name not in sizes}


def local_device(environment: Mapping[str, str]) -> int | None:
    """Return the one GPU that is this process's, where several share a machine; `None` for all.

    Where whoever started them has shown each process its own GPU alone, that is all it sees.
    """
    if any(len(environment.get(name, ",").split(",")) == 1 for name in _VISIBLE):
        return None
    for of_size, of_rank in _LOCAL:
        if of_size in environment and of_rank in environment:
            size = re.match(r"\d+", environment[of_size])  # Slurm's is 4(x2) or 4,3
            return _number(of_rank, environment) if size and int(size[0]) > 1 else None
    return None


def _number(name: str, environment: Mapping[str, str]) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise ConfigError(f"${name} is '{environment[name]}'; it should be a number.") from None


def _coordinator_of_slurm(environment: Mapping[str, str]) -> str | None:
    nodes = environment.get("SLURM_STEP_NODELIST")
    job = environment.get("SLURM_JOB_ID")
    if not nodes or not job:
        return None
    first, count = SLURM_PORTS
    return f"{first_node(nodes)}:{first + _number('SLURM_JOB_ID', environment) % count}"


def first_node(nodes: str) -> str:
    """Return the first of Slurm's list of nodes: `gpu[07-09,12],login` → `gpu07`.

    Raises:
        ConfigError: it is no such list.
    """
    found = re.match(r"(?:[^,\[\]\s]|\[\d[\d,-]*\])+(?=,|$)", nodes)
    if found is None:
        raise ConfigError(
            f"$SLURM_STEP_NODELIST is '{nodes}'; it should be a list of hosts, as in gpu[07-09],login."
        )
    return re.sub(r"\[(\d+)[^\]]*\]", r"\1", found[0])  # rack[1-2]n[3-4] has two
