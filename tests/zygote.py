"""Commands in processes of their own that start at once: forked from one that has loaded Keras.

A process that has loaded TensorFlow or JAX but computed nothing has no threads of theirs yet, and can
be forked. Each command then is a real process, with its own signals, that need not spend five seconds
on imports: `python zygote.py BACKEND` reads a line of JSON for each, and answers with one.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Ended:
    """How a process ended: its exit code, or minus the signal that killed it; and what it wrote."""

    code: int
    out: str
    err: str


class Zygote:
    """Starts commands quickly, one after the other or side by side."""

    def __init__(self, backend: str) -> None:
        self._chosen = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, backend], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, **self._chosen},
        )  # fmt: skip
        self._logs: dict[int, str] = {}

    def start(self, *words, cwd=None, **environment) -> int:
        """Start `hornbeam …`; return its process number."""
        handle, log = tempfile.mkstemp(prefix="zygote-")
        os.close(handle)
        request = {
            "words": [str(word) for word in words], "cwd": str(cwd or Path.cwd()), "log": log,
            "environment": {**os.environ, **self._chosen, **environment},
        }  # fmt: skip
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        pid = int(json.loads(self._process.stdout.readline())["pid"])
        self._logs[pid] = log
        return pid

    def wait(self, pid: int) -> Ended:
        """Wait for the end of a command."""
        self._process.stdin.write(json.dumps({"wait": pid}) + "\n")
        self._process.stdin.flush()
        code = json.loads(self._process.stdout.readline())["code"]
        log = Path(self._logs.pop(pid))
        out, err = log.read_text(), Path(f"{log}.err").read_text()
        log.unlink()
        Path(f"{log}.err").unlink()
        return Ended(code, out, err)

    def run(self, *words, **options) -> Ended:
        """Run `hornbeam …` to its end."""
        return self.wait(self.start(*words, **options))

    def close(self) -> None:
        """End."""
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def until(condition, seconds=300.0):
    """Wait until something is true; return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it has not happened in {seconds} s")


def _child(request) -> None:
    os.setpgid(0, 0)  # as a shell starts it
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # where requests come from
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, name in ((1, request["log"]), (2, request["log"] + ".err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    sys.argv = ["hornbeam", *request["words"]]
    from hornbeam.cli import main
    from hornbeam.world.world import end

    code = end(main(request["words"]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    from hornbeam.backend import keep_freed_memory

    keep_freed_memory()
    import keras

    import hornbeam.training.fit
    import hornbeam.workflow  # noqa: F401

    assert keras.backend.backend() == sys.argv[1]
    if sys.argv[1] == "tensorflow":
        import tensorflow  # noqa: F401
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            try:
                _child(request)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(70)
        print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    _serve()
