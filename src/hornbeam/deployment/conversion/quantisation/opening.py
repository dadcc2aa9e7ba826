"""Whether LiteRT survives a file: it is opened in a process of its own first.

Kernels check in C++ what they rely on, such as ratios of scales, and abort when it does not hold; no
Python can catch that. `python -m hornbeam.deployment.conversion.quantisation.opening FILE THREADS`
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from hornbeam.deployment.conversion.ending import in_words
from hornbeam.deployment.conversion.quantisation.running import interpreter
from hornbeam.errors import ModelError


def must_survive(content: bytes, threads: int) -> None:
    """Open a file in another process and ask about one black picture (0.1 s of a small network).

    Args:
        content: of the file.
        threads: that may be used.

    Raises:
        ModelError: that ends the process. (An error that Python sees is not told: it comes again.)
    """
    with tempfile.TemporaryDirectory(prefix="hornbeam-opening-") as folder:
        path = Path(folder, "candidate.tflite")
        path.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(path), str(threads)], check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace",
        )  # fmt: skip
    if done.returncode:
        end = in_words(done.returncode, done.stderr, "LiteRT opened the file")
        raise ModelError(f"a process {end}")


def main(path: Path, threads: int) -> None:
    """Open a file and ask once."""
    with contextlib.suppress(RuntimeError, ValueError):
        running = interpreter(path.read_bytes(), threads)
        for each in running.get_input_details():
            running.set_tensor(each["index"], np.zeros(each["shape"], each["dtype"]))
        running.invoke()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
