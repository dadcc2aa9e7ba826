"""How long a user waits before anything happens: `hornbeam --help` and `import hornbeam`.

Whole processes, interleaved in one run, against the floor (an empty Python) and named peers of this
environment. Prints one line per command: median, smallest, largest, and the ratio to the floor.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

from claims import record

COMMANDS = {
    "python -c pass (the floor)": [sys.executable, "-c", "pass"],
    "import hornbeam": [sys.executable, "-c", "import hornbeam"],
    "hornbeam --help": [sys.executable, "-m", "hornbeam", "--help"],
    "hornbeam train --help": [sys.executable, "-m", "hornbeam", "train", "--help"],
    "hornbeam models": [sys.executable, "-m", "hornbeam", "models"],
    "import numpy (peer)": [sys.executable, "-c", "import numpy"],
    "import keras (peer)": [sys.executable, "-c", "import keras"],
    "tensorboard --help (peer)": [sys.executable, "-m", "tensorboard.main", "--help"],
}


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    for turn in range(rounds + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            if turn:  # the first round fills the page cache
                times[name].append(time.perf_counter() - start)
    floor = statistics.median(times["python -c pass (the floor)"])
    print(f"{rounds} rounds, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| command | median s | min | max | x floor |\n|---|---:|---:|---:|---:|")
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"| {name} | {median:.3f} | {min(values):.3f} | {max(values):.3f} | {median / floor:.1f} |"
        )
    for name, limit in (("hornbeam --help", 0.5), ("import hornbeam", None)):
        ours, peer = times[name], times["import keras (peer)"]
        told = f"{statistics.median(ours):.3f} s"
        ratios = [b / a for a, b in zip(ours, peer, strict=True)]
        record(__file__, f"`{name}`", "`import keras`", ratios, measured=told)
        if limit:
            ratios = [limit / each for each in ours]
            record(__file__, f"`{name}`", f"limit: {limit} s", ratios, goal=1, measured=told)


if __name__ == "__main__":
    main()
