"""Processes that hold an artifact each, and what they are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from hornbeam.errors import BundleError


class Process:
    """One artifact in a process of its own; it rests while others are asked.

    Args:
        threads: that TensorFlow may use, which can be told only so; the others are told by `Predictor`.
    """

    def __init__(self, threads: int) -> None:
        environment = {
            **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1",
            "TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hornbeam.deployment.benchmarking.worker"], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Let it do something; return what it says.

        Args:
            do: a method of the worker.
            **arguments: of that.

        Raises:
            BundleError: it fails, or the process has died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line.endswith("\n"):  # all that it could write before it died
            code = self._process.wait()
            raise BundleError(f"its process ended with code {code}")
        said = dict(json.loads(line))
        if "error" in said:
            raise BundleError(str(said["error"]))
        return said

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()
