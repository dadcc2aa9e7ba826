"""Hosts for tests, on one machine: `with bed(3) as hosts`, each with its own network, processes and disks.

A host is a set of Linux namespaces (network, PID, mount, UTS, IPC) with a real sshd, a name, an address in
10.47.0.0/24 on a bridge that has no way out, `/etc/hosts`, a user with a key, a home, `/tmp`, and a small
disk to fill (`/home/small`). `/home/shared` is one folder for all of them, as NFS would be. The machine's
own files are read-only there, and its users' homes are not to be seen.

Namespaces and folders have no names that could stay behind: they are held by processes whose standard
input is a pipe from the test, so that they end when the test does, kill -9 included.

Clocks cannot differ: Linux has no namespace for the time of day.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from bed_host import SMALL, Host, Started
from one_host import HOME, UID, USER

REPOSITORY = Path(__file__).resolve().parents[2]
NAMES = ("oak", "elm", "ash", "fir", "yew")
_FILLER = SMALL / "filler"
_PREFIX = "hornbeam-bed-"


def missing() -> str | None:
    """Return why there can be no hosts here; None where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts as namespaces need Linux and root"
    programs = {
        "ip": "iproute2", "/usr/sbin/sshd": "openssh-server", "ssh": "openssh-client",
        "rsync": "rsync", "unshare": "util-linux", "nsenter": "util-linux",
    }  # fmt: skip
    wanted = sorted({package for name, package in programs.items() if not shutil.which(name)})
    if wanted:
        return f"hosts as namespaces need {', '.join(wanted)} (apt-get install)"
    tried = subprocess.run(
        ["unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "ip", "link", "add",
         "bed", "type", "bridge"], capture_output=True, text=True,
    )  # fmt: skip
    return (
        f"this machine allows no namespaces: {tried.stderr.strip()}" if tried.returncode else None
    )


class Hosts:
    """The hosts of a bed, by number; see `bed`."""

    def __init__(self, hosts: list[Host], folder: Path, environment: Mapping[str, str]) -> None:
        self._hosts, self._folder = hosts, folder
        self._started: list[Started] = []
        self.shared = folder / "shared"
        """Where this machine sees `/home/shared`."""
        self.environment = {
            "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(HOME), "USER": USER, "LOGNAME": USER, "SHELL": "/bin/bash",
            "LANG": "C.UTF-8", **environment,
        }  # fmt: skip

    def __getitem__(self, number: int) -> Host:
        return self._hosts[number]

    def __len__(self) -> int:
        return len(self._hosts)

    def start(self, number: int, words: Sequence, *, root=False, **environment: str) -> Started:
        """Start a command on a host, as its user, in the home."""
        user = 0 if root else UID
        variables = {**self.environment, **environment}
        started = Started(
            number,
            ["nsenter", "--target", str(self[number].init), "--net", "--pid", "--mount", "--uts",
             "--ipc", f"--setuid={user}", f"--setgid={user}", "env", "--ignore-environment",
             f"--chdir={HOME}", *(f"{k}={v}" for k, v in variables.items()), *map(str, words)],
            self._folder,
        )  # fmt: skip
        self._started.append(started)
        return started

    def end(self) -> None:
        """End all hosts and what runs on them."""
        for number in range(len(self)):
            self._end(number)

    def driver(self, words: Sequence, **environment: str) -> Started:
        """Start a command on the first host."""
        return self.start(0, words, **environment)

    def run(
        self, number: int, words: Sequence, *, timeout: float = 120, root=False, **environment: str
    ) -> subprocess.CompletedProcess:
        """Run a command on a host to its end."""
        started = self.start(number, words, root=root, **environment)
        code = started.wait(timeout)
        return subprocess.CompletedProcess(words, code, started.out, started.err)

    def as_root(self, number: int, *words) -> None:
        """Run a command as root that has to succeed."""
        done = self.run(number, words, root=True, timeout=30)
        assert done.returncode == 0, f"{self[number].name}: {words}: {done.stdout} {done.stderr}"

    def cut(self, number: int) -> None:
        """Cut a host off the others; what it has sent and not been acknowledged is lost."""
        self[number].plug(False)

    def mend(self, number: int) -> None:
        """Undo `cut`."""
        self[number].plug(True)

    def kill(self, number: int) -> None:
        """End a host for good, as when its power fails: all processes at once, without a goodbye."""
        self.cut(number)  # else the kernel would close connections politely
        self._end(number)

    def _end(self, number: int) -> None:
        ours = [started for started in self._started if started.host == number]
        self[number].end()
        for started in ours:
            started.go_on()
        self[number].wait()
        for started in ours:
            started.wait(20)

    def pids(self, number: int, pattern: str = "") -> list[int]:
        """Return the processes on a host whose command line has the pattern, oldest first."""
        space = Path(f"/proc/{self[number].init}/ns/pid").readlink()
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                line = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if line and (each / "ns/pid").readlink() == space and re.search(pattern, line):
                    found.append(int(each.name))
        return sorted(found)

    def put(self, number: int, source: Path, path: str | Path) -> Path:
        """Copy a file or folder of this machine to a host; return its path there."""
        target = self[number].path(path)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        for each in [target, *target.rglob("*")]:
            os.chown(each, UID, UID)
        return Path(path)

    def fill_disk(self, number: int) -> None:
        """Let `/home/small` have no byte left; little needs to be written for that."""
        used = shutil.disk_usage(self[number].path(SMALL)).used
        self._resize(number, f"{used // 1024 + 64}k")
        filler = self[number].path(_FILLER)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free_disk(self, number: int) -> None:
        """Undo `fill_disk`."""
        self[number].path(_FILLER).unlink()
        self._resize(number, "4g")

    def _resize(self, number: int, size: str) -> None:
        self.as_root(number, "mount", "-o", f"remount,size={size}", SMALL)

    def pretend_version(self, number: int, version: str) -> None:
        """Let a host have another Hornbeam, in the same place."""
        copy = self[number].path("/tmp/another")
        shutil.copytree(REPOSITORY / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / "hornbeam" / "__init__.py"
        text, count = re.subn(
            r'__version__ = "[^"]*"', f'__version__ = "{version}"', file.read_text()
        )
        assert count == 1
        file.write_text(text)
        self.as_root(number, "mount", "--bind", "/tmp/another", REPOSITORY / "src")

    def slurm(self, **settings: str) -> None:
        """Bring up Slurm on all hosts, its controller on the first; returns when it answers."""
        from slurm_on_hosts import bring_up

        bring_up(self, settings)


@contextlib.contextmanager
def bed(
    count: int = 3,
    *,
    network: str = "10.47.0",
    loopback_names: Collection[int] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Hosts]:
    """Make hosts, and take them down.

    Args:
        count: how many.
        network: what their addresses begin with.
        loopback_names: hosts whose `/etc/hosts` has their own name at 127.0.1.1, as Debian's installer
            leaves it.
        environment: variables of commands, over ssh too.
    """
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    hosts = [Host(name, f"{network}.{11 + i}") for i, name in enumerate(NAMES[:count])]
    everywhere = {"PYTHONPATH": str(REPOSITORY / "src"), **(environment or {})}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        lock = stack.enter_context((folder / "lock").open("wb"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "shared").mkdir()
        os.chown(folder / "shared", UID, UID)
        bridge = stack.enter_context(_holding_a_bridge())
        keys = {each: _key(folder, each) for each in ("user", *(host.name for host in hosts))}
        known = "".join(f"{h.name},{h.address} {keys[h.name][1]}" for h in hosts)
        python = str(Path(sys.executable).resolve().parents[1])
        told = {
            "visible": sorted({sys.prefix, sys.base_prefix, python, str(REPOSITORY)}),
            "shared": str(folder / "shared"), "known_hosts": known,
            "key": keys["user"][0], "public_key": keys["user"][1], "sshd_config": _sshd(everywhere),
        }  # fmt: skip
        for number, host in enumerate(hosts):
            own = {
                "name": host.name, "address": host.address, "host_key": keys[host.name][0],
                "hosts_file": _hosts_file(hosts, host, number in loopback_names),
            }  # fmt: skip
            stack.callback(host.end)
            host.start({**told, **own}, bridge, folder)
        for host in hosts:
            host.expect_ready()
        made = Hosts(hosts, folder, everywhere)
        stack.callback(made.end)
        yield made


@contextlib.contextmanager
def _holding_a_bridge() -> Iterator[subprocess.Popen]:
    """Hold a network namespace with a bridge and nothing else, while standard input is open."""
    script = "ip link add bridge type bridge && ip link set bridge up && echo ready && exec cat"
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.stdin.close()


def _key(folder: Path, name: str) -> tuple[str, str]:
    file = folder / f"key-{name}"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file]
    subprocess.run(words, check=True)
    return file.read_text(), Path(f"{file}.pub").read_text()


def _sshd(environment: Mapping[str, str]) -> str:
    variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
    return f"""Port 22
HostKey /etc/ssh/host_key
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100
SetEnv {variables}
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def _hosts_file(hosts: Sequence[Host], own: Host, loopback: bool) -> str:
    lines = ["127.0.0.1 localhost", *([f"127.0.1.1 {own.name}"] if loopback else [])]
    lines += [f"{h.address} {h.name}" for h in hosts if not (loopback and h is own)]
    return "\n".join(lines) + "\n"


def _remove_leftovers() -> None:
    """Remove folders of beds whose tests were killed; their processes ended by themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
