"""`hornbeam …` whose model takes so many seconds for a question, on every machine, or until it is let go.

`python slow_model.py FILE serve …`: as long as FILE is there, each question takes the seconds that
stand in it. Whoever removes it lets the questions in work, and all later ones, go at once.
"""

import sys
import time
from pathlib import Path

from hornbeam import cli
from hornbeam.deployment.server import pipeline

STEP = 0.005


def seconds_in(file):
    """Return what is asked for; 0 where nothing is."""
    try:
        return float(file.read_text())
    except FileNotFoundError:
        return 0.0


def slow_down(file):
    """Let the questions of requests wait; those of a bundle that is opened are as quick as ever."""
    answer = pipeline._answer

    def slow(items):
        began = time.monotonic()
        while time.monotonic() < began + seconds_in(file):
            time.sleep(STEP)
        answer(items)

    pipeline._answer = slow


if __name__ == "__main__":
    slow_down(Path(sys.argv[1]))
    raise SystemExit(cli.main(sys.argv[2:]))
