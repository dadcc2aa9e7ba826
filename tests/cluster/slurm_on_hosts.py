"""Slurm on the hosts of the test bed, from Debian's packages: a controller on the first, all compute."""

import secrets
import shutil
import time

import pytest
from hosts_bed import Hosts

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "srun": "slurm-client"}


def missing() -> str | None:
    """Return why there can be no Slurm here; None where there can."""
    wanted = [package for name, package in PACKAGES.items() if not shutil.which(name)]
    return f"Slurm needs {', '.join(wanted)} (apt-get install)" if wanted else None


def bring_up(hosts: Hosts, settings: dict[str, str]) -> None:
    """Start munge and Slurm's daemons as root; return when every host is idle."""
    why = missing()
    if why:
        pytest.skip(why)
    configuration = _configuration(hosts, settings)
    key = secrets.token_bytes(1024)
    for number, host in enumerate(hosts):
        host.path("/etc/slurm").mkdir(exist_ok=True)
        host.path("/etc/slurm/slurm.conf").write_text(configuration)
        file = host.path("/etc/munge/munge.key")
        file.unlink(missing_ok=True)
        file.write_bytes(key)
        file.chmod(0o600)
        hosts.as_root(
            number, "sh", "-c", "chown munge: /etc/munge/munge.key /run/munge /var/lib/munge"
        )
        hosts.as_root(
            number, "sh", "-c", "mkdir -p -m 711 /var/log/munge && chown munge: /var/log/munge"
        )
        hosts.as_root(
            number, "sh", "-c", "setpriv --reuid munge --regid munge --clear-groups munged"
        )
    hosts.as_root(0, "slurmctld")
    for number in range(len(hosts)):
        hosts.as_root(number, "slurmd")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        seen = hosts.run(0, ["sinfo", "--noheader", "--Node", "--format=%T"])
        if seen.stdout.split() == ["idle"] * len(hosts):
            return
        time.sleep(0.2)
    raise AssertionError(f"Slurm is not up: {seen.stdout} {seen.stderr} {_logs(hosts)}")


def start_requeued(hosts: Hosts, job: str, seconds: float = 90) -> None:
    """Wait until a job is in the queue again, and start it now: Slurm would let it wait two minutes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if "PENDING" in hosts.run(0, ["squeue", "--noheader", "--format=%T", "--jobs", job]).stdout:
            done = hosts.run(0, ["scontrol", "update", f"JobId={job}", "StartTime=now"])
            assert done.returncode == 0, done.stderr
            return
        time.sleep(0.5)
    raise AssertionError(f"job {job} was not requeued: {_logs(hosts)}")


def _configuration(hosts: Hosts, settings: dict[str, str]) -> str:
    chosen = {
        "ClusterName": "bed", "SlurmctldHost": hosts[0].name, "SlurmUser": "root", "SlurmdUser": "root",
        "AuthType": "auth/munge", "MpiDefault": "none", "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none", "SelectType": "select/linear", "SchedulerType": "sched/backfill",
        "StateSaveLocation": "/var/spool/slurmctld", "SlurmdSpoolDir": "/var/spool/slurmd",
        "SlurmctldPidFile": "/run/slurmctld.pid", "SlurmdPidFile": "/run/slurmd.pid",
        "SlurmctldLogFile": "/var/log/slurmctld.log", "SlurmdLogFile": "/var/log/slurmd.log",
        "SlurmdParameters": "config_overrides", "ReturnToService": "2",
        # A host is given up in seconds, not in minutes.
        "SlurmdTimeout": "10", "KillWait": "10", "JobRequeue": "1", "BatchStartTimeout": "20",
        **settings,
    }  # fmt: skip
    lines = [f"{name}={value}" for name, value in chosen.items()]
    lines += [
        f"NodeName={h.name} NodeAddr={h.address} CPUs=2 RealMemory=2000 State=UNKNOWN"
        for h in hosts
    ]
    names = ",".join(host.name for host in hosts)
    lines += [
        f"PartitionName=all Nodes={names} Default=YES MaxTime=60 State=UP OverSubscribe=FORCE:2"
    ]
    return "\n".join(lines) + "\n"


def _logs(hosts: Hosts) -> str:
    return "\n".join(
        f"{host.name} {file.name}:\n{file.read_text(errors='replace')[-2000:]}"
        for host in hosts for file in sorted(host.path("/var/log").glob("slurm*.log"))
    )  # fmt: skip
