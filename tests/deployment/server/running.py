"""A server in a process of its own, on loopback, and a plain client."""

import contextlib
import http.client
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HELD = math.inf
"""Seconds of a question that takes until the test lets it go: whatever else happens does so before."""

SLOW = Path(__file__).with_name("slow_model.py")


def wait_until(happened, seconds=300):
    """Wait until something is true, however busy the machine; return it."""
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, f"it has not happened in {seconds} s"
        time.sleep(0.02)
    return found


class Running:
    """`hornbeam serve …`, ready.

    Args:
        bundle: that it serves.
        words: of the command line.
        seconds: that each question to the model takes at least, until `let_go`; `HELD`: as long as that.
        environment: variables.

    Attributes:
        port: that it chose.
        lines: what it wrote to stdout.
        errors: what it wrote to stderr.
    """

    def __init__(self, bundle, *words, seconds=0, **environment):
        self._slow = None
        program = ["-m", "hornbeam"]
        if seconds:
            handle, self._slow = tempfile.mkstemp(prefix="seconds-")
            os.write(handle, str(seconds).encode())
            os.close(handle)
            program = [str(SLOW), self._slow]
        if seconds == HELD:  # no limit of the server's own ends it before the test does
            words = ("--timeout", 600, "--stop-timeout", 600, *words)
        self.process = subprocess.Popen(
            [sys.executable, *program, "serve", str(bundle), "--port", "0", *map(str, words)],
            env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines, self.errors = [], []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()
        try:
            told = self.wait_for(r"Serving .* at http://.*:(\d+)")
        except BaseException:
            self.stop()
            raise
        self.port = int(told[1])

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def let_go(self):
        """Let the model be as quick as it is, from now on."""
        if self._slow is not None:
            Path(self._slow).unlink(missing_ok=True)

    def wait_for(self, pattern, seconds=300):
        """Return the match of the first line that fits."""

        def found():
            return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

        def found_or_ended():
            return found() or self.process.poll() is not None

        try:
            wait_until(found_or_ended, seconds)
        except AssertionError:
            raise AssertionError(f"no line fits {pattern!r}: {self.lines} {self.errors}") from None
        if not found():
            self._read_all()  # what it wrote last may not have been read yet
        assert found(), f"it has ended, and no line fits {pattern!r}: {self.lines} {self.errors}"
        return found()

    def ask(self, method, path, body=None, headers=None, timeout=300):
        """Return status, headers in lower case, and the body, as JSON where it is some."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            found = {name.lower(): value for name, value in answer.getheaders()}
            if found.get("content-type") == "application/json":
                content = json.loads(content)
            return answer.status, found, content

    def predict(self, data, kind="image/png", query="", **headers):
        """Send the bytes of a picture."""
        return self.ask("POST", f"/predict{query}", data, {"Content-Type": kind, **headers})

    def metric(self, name):
        """Return the value of a count; 0 where it is not there."""
        text = self.ask("GET", "/metrics")[2].decode()
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=120):
        """End it; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._read_all()
        self.let_go()
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def _read_all(self):
        for reader in self._readers:
            reader.join(60)


def multipart(*files, **fields):
    """Return a form of (name, bytes) and its Content-Type."""
    boundary = "----of-a-test"
    parts = []
    for name, data in files:
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        )
        parts.append(head.encode() + b"Content-Type: image/png\r\n\r\n" + data + b"\r\n")
    for name, text in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(head.encode() + text.encode() + b"\r\n")
    return b"".join(
        parts
    ) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
