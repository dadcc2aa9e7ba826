"""What it costs to judge 50,000 pictures of 1,000 classes: seconds and peak memory, each in a process.

Our part finds every score with its interval and writes `scores.json`; the peer is scikit-learn, which
computes the same numbers, from the same float32 logits, without intervals. The last of ours is all that
`evaluate` does once it has the answers, but for thumbnails, as there are no pictures. Memory is the
most that the process had at any time above what it had once the logits were there.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import multiprocessing
import resource
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from claims import record
from numpy.typing import NDArray

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.report import ReportContent, write_report
from hornbeam.evaluation.scores_file import write_scores
from hornbeam.evaluation.scoring.scores import score_all
from hornbeam.evaluation.trust.measuring import measure_trust
from hornbeam.evaluation.trust.safeguards import fit_safeguards


def some_predictions(pictures: int, classes: int, groups: int) -> Predictions:
    """Make random predictions, most of them right; classes differ in size and difficulty."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (pictures, classes)).astype(np.float32)
    shares = rng.dirichlet(np.full(classes, 5))
    labels = rng.choice(classes, pictures, p=shares)
    hard = rng.normal(4.0 if classes > 100 else 2.0, 0.7, classes)
    logits[np.arange(pictures), labels] += hard[labels].astype(np.float32)
    logits *= 1.5
    task = Task("label", tuple(f"class {i}" for i in range(classes)))
    dataset = Dataset.from_columns(
        Path(), [f"{i}.jpg" for i in range(pictures)], ["test"] * pictures, {task: labels}
    )
    if groups:
        names = [f"group {i}" for i in rng.integers(0, groups, pictures)]
        dataset = dataset.with_column("group", names)
    return Predictions(dataset, (task,), {"label": logits})


def ours(predictions: Predictions) -> dict[str, float]:
    """Score and write; return the seconds of each part."""
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        scores = score_all(predictions, (), {})
        middle = time.perf_counter()
        write_scores(Path(directory) / "scores.json", predictions, scores)
    return {"scores": middle - start, "scores.json": time.perf_counter() - middle}


def everything(predictions: Predictions) -> dict[str, float]:
    """Do all that comes after the answers, as `evaluate` does; return the seconds of each part."""
    parts: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        parts[name] = time.perf_counter() - start

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        with timed("fit"):
            safeguards = fit_safeguards(predictions)
            safeguards.save(place)
        predictions = dataclasses.replace(predictions, scalings=safeguards.scalings)
        with timed("predictions.parquet"):
            predictions.save(place / "predictions.parquet")
        with timed("scores"):
            scores = score_all(predictions, (), {})
        with timed("trust"):
            trust = measure_trust(predictions, safeguards, fitted_here=False)
        with timed("report"):
            write_scores(place / "scores.json", predictions, scores, trust)
            content = ReportContent("bench", predictions, scores, trust=trust)
            write_report(place / "report.html", content)
    return parts


def scikit_learn(predictions: Predictions) -> dict[str, float]:
    """Compute the same numbers, but for intervals."""
    from sklearn import metrics

    (task,) = predictions.tasks
    start = time.perf_counter()
    labels, probabilities = predictions.dataset.labels(task), predictions.probabilities(task)
    answers, each = probabilities.argmax(axis=1), range(len(task.classes))
    metrics.accuracy_score(labels, answers)
    metrics.confusion_matrix(labels, answers, labels=each)
    metrics.precision_recall_fscore_support(labels, answers, labels=each, zero_division=0)
    metrics.log_loss(labels, probabilities, labels=each)
    for k in (3, 5):
        metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=each)
    for i in each:
        truth, own = labels == i, probabilities[:, i]
        metrics.roc_auc_score(truth, own)
        metrics.average_precision_score(truth, own)
        metrics.roc_curve(truth, own)  # for the sensitivities
    return {"the same numbers": time.perf_counter() - start}


def resident() -> int:
    """Return the memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(
    work: Callable[[Predictions], dict[str, float]], case: tuple[int, int, int], results: Any
) -> None:
    """Put the seconds of each part and the added memory into a queue."""
    warnings.simplefilter("ignore")
    predictions = some_predictions(*case)
    before, peak, done = resident(), [0], threading.Event()

    def look() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=look)
    watcher.start()
    parts = work(predictions)
    done.set()
    watcher.join()
    results.put((parts, peak[0] - before, before))


def in_a_process(
    work: Callable[[Predictions], dict[str, float]], case: tuple[int, int, int]
) -> tuple[dict[str, float], int, int]:
    """Return what `measure` finds in a fresh process."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=measure, args=(work, case, results))
    process.start()
    found: tuple[dict[str, float], int, int] = results.get()
    process.join()
    return found


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--groups", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-peer", action="store_true", help="only ours")
    arguments = parser.parse_args()
    size = (arguments.pictures, arguments.classes)
    ways: list[tuple[str, Callable[[Predictions], dict[str, float]], int]] = [
        ("hornbeam, with intervals", ours, 0),
        (f"hornbeam, {arguments.groups:,} groups", ours, arguments.groups),
        ("hornbeam: fit, scores, trust, files, report", everything, 0),
    ]
    if not arguments.no_peer:
        ways.append(("scikit-learn, no intervals (peer)", scikit_learn, 0))
    print(f"{size[0]:,} pictures, {size[1]:,} classes, {arguments.rounds} rounds\n")
    print("| way | median s | min | max | added MiB | process MiB | parts |")
    times: dict[str, NDArray[Any]] = {}
    print("|---|---:|---:|---:|---:|---:|---|")
    for name, work, groups in ways:
        found = [in_a_process(work, (*size, groups)) for _ in range(arguments.rounds)]
        seconds: NDArray[Any] = np.array([sum(parts.values()) for parts, _, _ in found])
        times[name] = seconds
        added = max(more for _, more, _ in found) / 2**20
        whole = max(more + before for _, more, before in found) / 2**20
        parts = ", ".join(f"{part} {value:.1f}" for part, value in found[-1][0].items())
        print(
            f"| {name} | {np.median(seconds):.1f} | {seconds.min():.1f} | {seconds.max():.1f} | "
            f"{added:.0f} | {whole:.0f} | {parts} |",
            flush=True,
        )
    what = f"of {size[0]:,} pictures and {size[1]:,} classes"
    scores, rest, *peer = (times[name] for name, work, groups in ways if not groups)
    told = f"{np.median(scores):.1f} s"
    for each in peer:
        ratios = (each / scores).tolist()
        record(__file__, f"scores {what}", "scikit-learn", ratios, measured=told)
    for name, limit, seconds in (("scores", 25, scores), ("all after the answers", 60, rest)):
        told = f"{np.median(seconds):.1f} s"
        ratios = (limit / seconds).tolist()
        record(__file__, f"{name} {what}", f"limit: {limit} s", ratios, goal=1, measured=told)


if __name__ == "__main__":
    main()
