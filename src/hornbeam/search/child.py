"""A `hornbeam train` that does not outlive the search that started it.

`python -m hornbeam.search.child` gets the number of the search's process, then the words of the
command. When that process is gone, killed perhaps, the training is told to end as by `kill`: it
saves its state, and another takes it up.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

_LOOK_EVERY = 0.5
"""Seconds."""


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow, args=(int(sys.argv[1]),), daemon=True).start()
    sys.argv = ["hornbeam", *sys.argv[2:]]
    runpy.run_module("hornbeam", run_name="__main__")
