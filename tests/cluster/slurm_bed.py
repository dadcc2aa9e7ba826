"""Slurm, for real, on this machine alone: one controller, and several nodes that are processes.

It needs root and Debian's packages: apt-get install slurm-wlm munge.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")


def why_not():
    """Say why Slurm cannot be started here, or nothing."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"needs slurm-wlm and munge of Debian: there is no {missing[0]}"
    return "" if os.getuid() == 0 else "needs root, as nodes of Slurm do"


@dataclass
class Bed:
    """A running Slurm.

    `environment` makes its commands find it; node names are addresses of the loopback, so that
    programs resolve them, too.
    """

    place: Path
    nodes: tuple[str, ...]
    processes: list = field(default_factory=list)

    @property
    def environment(self):
        return {**os.environ, "SLURM_CONF": str(self.place / "slurm.conf")}

    def run(self, *words, check=True):
        done = subprocess.run(
            list(map(str, words)), env=self.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr, self.logs())
        return done.stdout.strip()

    def state(self, job):
        return self.run("scontrol", "show", "job", job).split("JobState=")[1].split()[0]

    def fact(self, job, name):
        return self.run("scontrol", "show", "job", job).split(f"{name}=")[1].split()[0]

    def wait_for(self, job, *states, seconds=120):
        end = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < end, (state, states, self.logs())
            time.sleep(0.2)
        return state

    def logs(self):
        return "\n".join(
            f"== {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.place.glob("*.log"))
        )

    def start(self, *words):
        name = self.place / f"{Path(words[0]).name}-{len(self.processes)}.log"
        with name.open("w") as log:
            process = subprocess.Popen(
                list(map(str, words)), env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def slurm(place, count=2):
    """Yield a `Bed` with so many nodes of one core each."""
    nodes = tuple(f"127.0.0.{index + 1}" for index in range(count))
    bed = Bed(place, nodes)
    place.chmod(0o755)
    control, *ports = _free_ports(1 + count)
    key, munge = place / "munge.key", place / "munge.socket"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    lines = [
        "ClusterName=bed", f"SlurmctldHost={socket.gethostname()}(127.0.0.1)", f"SlurmctldPort={control}",
        "AuthType=auth/munge", f"AuthInfo=socket={munge}", "CredType=cred/munge",
        "SlurmUser=root", "SlurmdUser=root", "MpiDefault=none",
        f"StateSaveLocation={place}/state", f"SlurmdSpoolDir={place}/spool-%n",
        f"SlurmctldPidFile={place}/ctld.pid", f"SlurmdPidFile={place}/slurmd-%n.pid",
        "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "ReturnToService=2",
        "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core",
        "SlurmdParameters=config_overrides", "SchedulerParameters=batch_sched_delay=0,sched_interval=2",
        "KillWait=20", "JobRequeue=1", "OverTimeLimit=0", "MinJobAge=3600",
        "JobAcctGatherType=jobacct_gather/none", "AccountingStorageType=accounting_storage/none",
        "SlurmctldTimeout=30", "SlurmdTimeout=15", "SlurmdDebug=info",
        *(
            f"NodeName={name} NodeHostname={socket.gethostname()} NodeAddr={name} Port={port} CPUs=1"
            for name, port in zip(nodes, ports, strict=True)
        ),
        f"PartitionName=all Nodes={','.join(nodes)} Default=YES MaxTime=INFINITE State=UP",
    ]  # fmt: skip
    (place / "slurm.conf").write_text("\n".join(lines) + "\n")
    (place / "state").mkdir()
    try:
        bed.start(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}",
            f"--pid-file={place}/munged.pid", f"--log-file={place}/munged.log",
            f"--seed-file={place}/munged.seed",
        )  # fmt: skip
        bed.start("slurmctld", "-D", "-c")
        for name in nodes:
            (place / f"spool-{name}").mkdir()
            bed.start("slurmd", "-D", "-N", name)
        end = time.monotonic() + 30
        while bed.run("sinfo", "-h", "-t", "idle", "-o", "%D", check=False) != str(count):
            assert time.monotonic() < end, bed.logs()
            time.sleep(0.2)
        yield bed
    finally:
        with contextlib.suppress(Exception):
            bed.run("scancel", "--state=RUNNING", "--state=PENDING", check=False)
        for process in reversed(bed.processes):
            process.terminate()
        for process in bed.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
