"""What a report of 50,000 pictures of 1,000 classes costs: to write, and to open in Chromium.

Pictures are JPEGs of 640x480 pixels from memory, as many thumbnails as a report has at most. Memory is
the most that the process had above what it had once the scores were there. Opening is the time to the
page's load event, as the browser measures it; once cold, then the median of several.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import runpy
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from claims import record

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.report import ReportContent, write_report
from hornbeam.evaluation.scoring.scores import score_all

BROWSER = Path(__file__).parents[1] / "tests" / "browser.py"


class FromMemory:
    """The same few pictures, over and over."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (16, 12, 16, 3)).astype(np.uint8)
        shots = [cv2.resize(pixels, (640, 480), interpolation=cv2.INTER_CUBIC) for pixels in small]
        self.files = [cv2.imencode(".jpg", pixels)[1].tobytes() for pixels in shots]

    def read(self, dataset: Dataset, row: int) -> bytes:
        return self.files[row % len(self.files)]


def some_predictions(pictures: int, classes: int) -> Predictions:
    """Make predictions of which about four in ten are wrong, most of those of a near class."""
    rng = np.random.default_rng(0)
    task = Task("label", tuple(f"class {i:04d}, of which there are many" for i in range(classes)))
    labels = rng.integers(0, classes, pictures).astype(np.int32)
    astray = rng.random(pictures) < 0.3
    answers = np.where(astray, (labels + rng.geometric(0.2, pictures)) % classes, labels)
    logits = rng.standard_normal((pictures, classes), np.float32)
    logits[np.arange(pictures), answers] += rng.uniform(2, 12, pictures).astype(np.float32)
    paths = [f"validation/class{label:04d}/picture-{i:06d}.jpg" for i, label in enumerate(labels)]
    dataset = Dataset.from_columns(Path(), paths, ["validation"] * pictures, {task: labels})
    dataset = dataclasses.replace(dataset, reader=FromMemory())
    return Predictions(dataset, (task,), {"label": logits})


def opening(path: Path, times: int) -> list[float]:
    """Return the milliseconds until the page has loaded, of each time; empty without Chromium."""
    tools = runpy.run_path(str(BROWSER))
    program = tools["find_chromium"]()
    found = []
    if program:
        browser = tools["Browser"](program)
        browser.size(1200, 900)
        for _ in range(times):
            browser.open(path)
            found.append(browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        assert browser.complaints == [], browser.complaints
        browser.close()
    return found


def peak() -> float:
    """Return the most memory that this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--times", type=int, default=7)
    arguments = parser.parse_args()
    predictions = some_predictions(arguments.pictures, arguments.classes)
    scores = score_all(predictions, (), {})
    counts = {"label": predictions.dataset.counts(predictions.tasks[0])}
    content = ReportContent("large", predictions, scores, counts=counts)
    before = peak()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "report.html"
        start = time.perf_counter()
        write_report(path, content)
        seconds = time.perf_counter() - start
        size = path.stat().st_size / 2**20
        times = opening(path, arguments.times)
    print(f"{arguments.pictures:,} pictures, {arguments.classes:,} classes\n")
    print("| | |\n|---|---:|")
    print(
        f"| writing | {seconds:.1f} s |\n| memory above what was there | {peak() - before:.2f} GiB |"
    )
    print(f"| memory in all | {peak():.2f} GiB |\n| page | {size:.1f} MB |")
    what = f"report of {arguments.pictures:,} pictures"
    limit, told = "limit: 25 s", f"{seconds:.1f} s"
    record(__file__, f"{what}, written", limit, [25 / seconds], goal=1, measured=told)
    if times:
        told = f"{times[0]:.0f} ms"
        record(
            __file__,
            f"{what}, opened first",
            "limit: 1 s",
            [1000 / times[0]],
            goal=1,
            measured=told,
        )
        print(f"| opening, the first time | {times[0]:.0f} ms |")
        print(f"| opening, median of {len(times[1:])} | {statistics.median(times[1:]):.0f} ms |")
    else:
        print("| opening | Chromium is not at hand |")


if __name__ == "__main__":
    main()
