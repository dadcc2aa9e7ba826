"""The first process of a host of the test bed, in namespaces of its own; told by a line of JSON.

It lays out what the host sees of the file system, starts sshd, and gathers the dead. When its standard
input ends, because the test has ended however it did, it ends too, and the kernel ends everything
that runs on the host and takes its mounts and its network down.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

USER, UID = "trainer", 21000
HOME = Path("/home") / USER

_STAGE = Path("/run/bed")
"""Where things wait while the places that they belong to are hidden."""

_HIDDEN = (
    "/home",
    "/root",
    "/tmp",
    "/var/tmp",
    "/var/log",
    "/var/spool",
    "/var/lib/munge",
    "/dev/shm",
)
"""What a host has of its own: empty, in memory."""


def mount(*words) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def place(path, text, mode=0o644, owner=0) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    os.chown(path, owner, owner)


def lay_out(told) -> None:
    """Hide the machine's own folders, keep `told["visible"]` where it is, make a user and disks."""
    mount("-t", "tmpfs", "-o", "mode=755,size=16m", "tmpfs", "/run")
    kept = [(Path(source), _STAGE / str(i)) for i, source in enumerate(told["visible"])]
    shared = _STAGE / "shared"
    for source, stage in [*kept, (Path(told["shared"]), shared)]:
        stage.mkdir(parents=True)
        mount("--bind", source, stage)
    for name in ("upper", "work"):
        (_STAGE / name).mkdir()
    options = f"lowerdir=/etc,upperdir={_STAGE}/upper,workdir={_STAGE}/work"
    mount("-t", "overlay", "-o", options, "overlay", "/etc")
    mount("-o", "remount,bind,ro", "/")
    for each in filter(os.path.isdir, _HIDDEN):
        mode = "1777" if each in ("/tmp", "/var/tmp", "/dev/shm") else "755"
        mount("-t", "tmpfs", "-o", f"mode={mode},size=4g", "tmpfs", each)
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", "/dev/pts")
    for source, stage in kept:  # outer folders come first
        if any(source.is_relative_to(each) for each in _HIDDEN):
            source.mkdir(parents=True, exist_ok=True)
            mount("--bind", stage, source)
            mount("-o", "remount,bind,ro", source)
    HOME.mkdir()
    for name, how in (
        ("/home/shared", ("--bind", shared)),
        ("/home/small", ("-t", "tmpfs", "-o", "size=4g", "tmpfs")),
    ):
        Path(name).mkdir()
        mount(*how, name)
    for each in (HOME, Path("/home/small")):
        os.chown(each, UID, UID)
    Path("/run/sshd").mkdir()
    Path("/run/munge").mkdir()


def introduce(told) -> None:
    """Give the host its name, its user, and what it knows of the others."""
    socket.sethostname(told["name"])
    place("/etc/hostname", told["name"] + "\n")
    place("/etc/hosts", told["hosts_file"])
    place("/etc/resolv.conf", "")
    for file, line in (
        ("/etc/passwd", f"{USER}:x:{UID}:{UID}::{HOME}:/bin/bash"),
        ("/etc/group", f"{USER}:x:{UID}:"),
        ("/etc/shadow", f"{USER}:*:19000:0:99999:7:::"),
    ):
        place(file, Path(file).read_text() + line + "\n", 0o600 if file == "/etc/shadow" else 0o644)
    place("/etc/ssh/host_key", told["host_key"], 0o600)
    place("/etc/ssh/sshd_config", told["sshd_config"])
    ssh = HOME / ".ssh"
    ssh.mkdir(mode=0o700)
    os.chown(ssh, UID, UID)
    place(ssh / "id_ed25519", told["key"], 0o600, UID)
    place(ssh / "authorized_keys", told["public_key"], 0o600, UID)
    place(ssh / "known_hosts", told["known_hosts"], 0o600, UID)


def answer(address) -> None:
    """Bring the network up and sshd."""
    for words in (
        "link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up",
    ):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True)
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/sshd_config"])
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((address, 22), 1):
            return
        time.sleep(0.02)
    raise TimeoutError("sshd does not answer")


def gather_the_dead(*_) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    told = json.loads(sys.stdin.readline())
    print("here", flush=True)
    lay_out(told)
    introduce(told)
    sys.stdin.readline()  # eth0 is there
    answer(told["address"])
    signal.signal(signal.SIGCHLD, gather_the_dead)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
