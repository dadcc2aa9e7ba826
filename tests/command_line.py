"""The command line as tests use it: in this process, or as a user does."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass

from hornbeam import cli


@dataclass
class Finished:
    """What a command left with, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one line on stderr, after a check that there is one and no traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def run_outside(*words, cwd=None, backend="tensorflow", **environment) -> Finished:
    """Run `hornbeam …` in a process of its own, as a user does."""
    full = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "hornbeam", *map(str, words)],
        cwd=cwd, env=full, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, without_noise(done.stderr))


def without_noise(err: str) -> str:
    """Return what a command wrote to stderr, without what TensorFlow's C++ writes before its log level
    is read.
    """
    noise = ("WARNING: All log messages", "I0000", "W0000", "E0000", "To enable")
    return "\n".join(line for line in err.splitlines() if not line.startswith(noise))


def run_here(*words) -> Finished:
    """Run `hornbeam …` in this process, on TensorFlow, which spares the seconds that Keras needs to load.

    A warning is an error then, as in every test.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main(list(map(str, words)))
    return Finished(code, out.getvalue(), err.getvalue())
