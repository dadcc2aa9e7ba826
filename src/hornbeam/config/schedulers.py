"""Options of what starts trainings by somebody else's scheduler: Slurm, Kubernetes, Ray."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from hornbeam.config.cluster import CLUSTER, HostsOptions
from hornbeam.config.search import SearchOptions
from hornbeam.config.training import TrainOptions
from hornbeam.options import Options, flag, option, positional

LAST_SECONDS = 120
"""Seconds from SIGTERM to SIGKILL in which a training saves; a checkpoint takes a few."""

RAY = "2.60.0"
"""The Ray that is pinned in constraints.txt: all nodes of a Ray cluster need the same one."""

_CLUSTER = "cluster"
_SLURM_TIME = r"\d+(:\d\d){0,2}|\d+-\d\d?(:\d\d){0,2}"
_QUANTITY = r"\d+(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?"
_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"


class ScheduledOptions(Options):
    """A training that a scheduler starts, on machines that it chooses, as often as need be.

    It stands before `TrainOptions` among the bases, whose fields and checks it replaces.
    """

    def _hosts_problems(self) -> list[str]:
        """Return what is wrong with the options together."""
        theirs = CLUSTER - {"restarts", "python"}
        given = [
            name for name in TrainOptions.model_fields if name in theirs & self.model_fields_set
        ]
        problems = [
            f"{flag(name)} is for `hornbeam train`; here a scheduler decides" for name in given
        ]
        if getattr(self, "overwrite", False):
            problems.append("--overwrite would begin anew at each start; choose another --run")
        if getattr(self, "resume", False):
            problems.append("--resume is not needed: each start goes on with what is there")
        return problems


class SlurmOptions(ScheduledOptions):
    """What Slurm is asked for."""

    partition: str | None = option(None, "partition of Slurm; else its default", section=_CLUSTER)
    account: str | None = option(None, "account that the job is charged to", section=_CLUSTER)
    time_limit: str | None = option(
        None, "how long a start may take, as Slurm writes it: 90, 12:00:00, 2-00:00:00. The job saves "
        f"{LAST_SECONDS} seconds before, and queues again to go on", section=_CLUSTER, metavar="TIME",
    )  # fmt: skip
    gpus_per_node: int = option(0, "GPUs of each node", section=_CLUSTER, ge=0)
    cpus_per_node: int = option(
        0, "cores of each node; 0 = whole nodes, which nobody shares", section=_CLUSTER, ge=0
    )
    restarts: int = option(
        3, "starts up to which the job queues again by itself after a worker was lost",
        section=_CLUSTER, ge=0,
    )  # fmt: skip
    slurm_options: str | None = option(
        None, "further options of sbatch, as in '--qos=long --constraint=a100'", section=_CLUSTER,
        metavar="WORDS",
    )  # fmt: skip
    setup: str | None = option(
        None, "shell command that comes first, as in 'module load cuda'", section=_CLUSTER,
        metavar="COMMAND",
    )  # fmt: skip
    python: str | None = option(
        None, "Python with Hornbeam on the nodes; else the one that runs this", section=_CLUSTER,
        metavar="PATH",
    )  # fmt: skip
    submit: bool | None = option(
        None, "submit the script; else only where there is an sbatch", section=_CLUSTER
    )
    out: Path | None = option(
        None, "the script; else beside the run, RUN.sbatch", section=_CLUSTER, metavar="FILE"
    )

    @model_validator(mode="after")
    def _check_slurm(self) -> Self:
        if self.time_limit is not None and not re.fullmatch(_SLURM_TIME, self.time_limit):
            raise ValueError(
                f"--time-limit {self.time_limit} should be minutes, HOURS:MM:SS or DAYS-HOURS:MM:SS"
            )
        try:
            words = shlex.split(self.slurm_options or "")
        except ValueError as error:
            raise ValueError(f"--slurm-options cannot be divided into words ({error})") from None
        if bad := [word for word in words if not re.fullmatch(r"-\w\S*|--[\w-]+(=.*)?", word)]:
            raise ValueError(
                f"--slurm-options: '{bad[0]}' should be like --qos=long, one word for each"
            )
        for line in (self.setup, self.partition, self.account, self.slurm_options):
            if line and "\n" in line:
                raise ValueError("options of Slurm are lines; leave line ends out")
        return self


class SbatchOptions(SlurmOptions, TrainOptions):
    """Train as a job of Slurm: write a script, submit it, and say its number. Takes the options of
    train, for all nodes; DATA and the run must be where all nodes see them.
    """  # noqa: D205 - it is the text of `hornbeam cluster sbatch --help`

    nodes: int = option(1, "machines that train together", section=_CLUSTER, ge=1)


class SbatchSearchOptions(SlurmOptions, SearchOptions):
    """Search as an array of jobs of Slurm, each of which trains one trial after the other, all for one
    study. Takes the options of search; DATA and the study must be where all nodes see them.
    """  # noqa: D205 - it is the text of `hornbeam cluster sbatch-search --help`

    array: int = option(4, "jobs that search together, each on a node", section=_CLUSTER, ge=1)

    @model_validator(mode="after")
    def _check_sbatch(self) -> Self:
        if self.until_worse or self.warm_start:
            raise ValueError("--until-worse and --warm-start are for one worker, not for an array")
        return self


class ManifestOptions(ScheduledOptions, TrainOptions):
    """Write a manifest with which Kubernetes trains. Takes the options of train, with paths as the
    containers see them.
    """  # noqa: D205 - it is the text of `hornbeam cluster manifest --help`

    kind: Literal["job", "jobset", "rayjob"] = option(
        "job", "an Indexed Job, which any Kubernetes knows; a JobSet; or a RayJob of KubeRay",
        section=_CLUSTER,
    )  # fmt: skip
    image: str = option(..., "container image with Hornbeam, as docker/Dockerfile makes it",
                        section=_CLUSTER)  # fmt: skip
    nodes: int = option(1, "pods that train together, one a machine", section=_CLUSTER, ge=1)
    gpus: int = option(0, "GPUs of each pod", section=_CLUSTER, ge=0)
    cpus: str | None = option(None, "cores of each pod, as in 8", section=_CLUSTER, metavar="N")
    memory: str | None = option(None, "memory of each pod, as in 32Gi", section=_CLUSTER)
    claim: str = option(
        ..., "PersistentVolumeClaim that holds the run, and the pictures unless they are remote; with "
        "several pods it must be ReadWriteMany", section=_CLUSTER,
    )  # fmt: skip
    mount: str = option("/data", "where the containers see it", section=_CLUSTER)
    name: str | None = option(None, "of what is made; else that of the run", section=_CLUSTER)
    namespace: str | None = option(None, "of Kubernetes; else that of kubectl", section=_CLUSTER)
    restarts: int = option(3, "failures after which it is given up", section=_CLUSTER, ge=0)
    out: Path | None = option(
        None, "the manifest; else it is printed", section=_CLUSTER, metavar="FILE"
    )

    @model_validator(mode="after")
    def _check_manifest(self) -> Self:
        for name in ("name", "namespace", "claim"):
            value = getattr(self, name)
            if value is not None and not (re.fullmatch(_LABEL, value) and len(value) <= 40):
                raise ValueError(
                    f"--{name} {value} should be small letters, digits and hyphens, 40 at most"
                )
        for name in ("cpus", "memory"):
            value = getattr(self, name)
            if value is not None and not re.fullmatch(_QUANTITY, value):
                raise ValueError(f"--{name} {value} should be a number such as 8, 500m or 32Gi")
        if not self.mount.startswith("/"):
            raise ValueError(f"--mount {self.mount} should begin with /")
        inside = self.mount.rstrip("/") + "/"
        if self.run is not None and not str(self.run).startswith(inside):
            raise ValueError(f"--run {self.run} would be lost with its pod; put it below {inside}")
        return self


class ClusterUpOptions(HostsOptions):
    """Bring a Ray cluster up on machines that ssh reaches; it stays until `hornbeam cluster down`."""

    name: str | None = positional("what it is called; else 'default'", None, metavar="NAME")
    port: int = option(6379, "port of the head", section=_CLUSTER, ge=1024, le=65535)
    write: Path | None = option(
        None, "write a file for `ray up` instead, and start nothing", section=_CLUSTER,
        metavar="FILE",
    )  # fmt: skip

    def _hosts_problems(self) -> list[str]:
        """Return what is wrong with the options together."""
        problems = super()._hosts_problems()
        if self.name is not None and not re.fullmatch(r"\w[\w.-]*", self.name):  # it names files
            problems.append(f"NAME '{self.name}' should be letters, digits, hyphens and dots")
        return problems if self.hosts else [*problems, "--hosts is missing: where to start Ray"]


class ClusterStatusOptions(Options):
    """Say which machines of Ray clusters live, of those that `hornbeam cluster up` brought up."""

    name: str | None = positional("which one; else all", None, metavar="NAME")


class ClusterDownOptions(Options):
    """Take a Ray cluster down that `hornbeam cluster up` brought up."""

    name: str | None = positional("which one; else 'default'", None, metavar="NAME")
