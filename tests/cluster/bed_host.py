"""One host of the bed as tests see it, and programs that were started there."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from one_host import HOME, USER

SMALL = Path("/home/small")
SHARED = Path("/home/shared")


class Started:
    """A program on a host. What it writes goes to files, so that nothing need read it."""

    def __init__(self, host: int, words: Sequence[str], logs: Path) -> None:
        self.host = host
        handle, name = tempfile.mkstemp(dir=logs)
        os.close(handle)
        self._out, self._err = Path(name), Path(f"{name}.err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._nsenter = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text(errors="replace")

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The number of the program itself, seen from this machine; nsenter waits for it."""
        return only_child(self._nsenter)

    def poll(self) -> int | None:
        """Return its exit code, or minus the signal that killed it; None while it runs."""
        return self._nsenter.poll()

    def wait(self, timeout: float = 120) -> int:
        """Wait for its end; one that goes on is killed, and its output is in the error."""
        try:
            return self._nsenter.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            self._nsenter.wait(10)
            raise AssertionError(
                f"still running after {timeout} s:\n{self.out}\n{self.err}"
            ) from None

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9, the program alone."""
        self.signal(signal.SIGKILL)
        self.go_on()

    def go_on(self) -> None:
        """Let nsenter see what has become of the program; it stops when the program is stopped."""
        if self.poll() is None:
            self._nsenter.send_signal(signal.SIGCONT)


class Host:
    """One host; `Hosts` acts upon it."""

    home, user, small, shared = HOME, USER, SMALL, SHARED

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        self._unshare: subprocess.Popen | None = None
        self.init: int | None = None
        """The number of the host's first process, seen from this machine."""

    def start(self, told: Mapping, bridge: subprocess.Popen, logs: Path) -> None:
        self._errors = logs / f"{self.name}.err"
        with self._errors.open("wb") as errors:
            self._unshare = subprocess.Popen(
                ["unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child",
                 "--mount-proc", sys.executable, str(Path(__file__).with_name("one_host.py"))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            )  # fmt: skip
        self._bridge = bridge
        self._say(json.dumps(told))
        self._expect(b"here\n")
        self.init = only_child(self._unshare)
        self._switch(
            f"link add {self.name} type veth peer name eth0 netns {self.init}",
            f"link set {self.name} master bridge up",
        )
        self._say("eth0 is there")

    def expect_ready(self) -> None:
        self._expect(b"ready\n")

    def end(self) -> None:
        if self._unshare and self._unshare.poll() is None:
            os.kill(self.init or self._unshare.pid, signal.SIGKILL)  # the kernel kills all others
            for stream in (self._unshare.stdin, self._unshare.stdout):
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def wait(self) -> None:
        if self._unshare:
            self._unshare.wait(20)

    def plug(self, wanted: bool) -> None:
        """Put the cable in or out. Out, packets vanish and no one is told, as behind a dead switch."""
        self._switch(f"link set {self.name} " + ("master bridge" if wanted else "nomaster"))

    def path(self, path: str | Path) -> Path:
        """Return where this machine sees a file of the host."""
        return Path(f"/proc/{self.init}/root") / Path(path).relative_to("/")

    def _switch(self, *commands: str) -> None:
        for words in commands:
            within = ["nsenter", "--target", str(self._bridge.pid), "--net"]
            subprocess.run([*within, "ip", *words.split()], check=True)

    def _say(self, line: str) -> None:
        self._unshare.stdin.write(line.encode() + b"\n")
        self._unshare.stdin.flush()

    def _expect(self, line: bytes) -> None:
        found = self._unshare.stdout.readline()
        assert found == line, f"{self.name} has not started: {self._errors.read_text()}"


def only_child(process: subprocess.Popen) -> int:
    file = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        children = file.read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.005)
    raise AssertionError("it has not started, or has ended")
