"""What is counted, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from hornbeam.deployment.predicting.predictor import Answer
from hornbeam.deployment.server.swapping import Shelf

TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PICTURES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts of one server.

    Args:
        shelf: the bundle that serves.
        waiting: tells how many pictures wait.
        held: tells how many bytes of requests are held.
    """

    def __init__(
        self, shelf: Shelf, waiting: Callable[[], float], held: Callable[[], float]
    ) -> None:
        self._shelf = shelf
        self._registry = all_ = CollectorRegistry()
        ProcessCollector(registry=all_)
        self._requests = Counter(
            "hornbeam_requests", "Requests, by address and status; 499: the client left",
            ("path", "status"), registry=all_,
        )  # fmt: skip
        self._seconds = Histogram(
            "hornbeam_request_seconds", "From the head of a request for answers to the end of them",
            buckets=_SECONDS, registry=all_,
        )  # fmt: skip
        self._batches = Histogram(
            "hornbeam_batch_pictures", "Pictures that the model was asked about at once",
            buckets=_PICTURES, registry=all_,
        )  # fmt: skip
        self._model_seconds = Histogram(
            "hornbeam_model_seconds", "That the model took for a batch", buckets=_SECONDS,
            registry=all_,
        )  # fmt: skip
        self._pictures = Counter(
            "hornbeam_pictures", "Pictures, by what became of them", ("outcome",), registry=all_
        )
        self._unsure = Counter(
            "hornbeam_abstained", "Answers that one should not rely upon", ("task",), registry=all_
        )
        self._unknown = Counter(
            "hornbeam_unknown", "Pictures that are too unlike the known classes", registry=all_
        )
        self._reloads = Counter(
            "hornbeam_reloads", "Bundles that were to take the place of another, by result",
            ("result",), registry=all_,
        )  # fmt: skip
        self._bundle = Gauge(
            "hornbeam_bundle_info", "The bundle that serves; the value is 1",
            ("name", "format", "sha256", "created"), registry=all_,
        )  # fmt: skip
        self._loaded = Gauge(
            "hornbeam_bundle_loaded_seconds", "When it was loaded, since 1970", registry=all_
        )
        Gauge(
            "hornbeam_waiting_pictures", "Pictures that have come and are not answered",
            registry=all_,
        ).set_function(waiting)  # fmt: skip
        Gauge(
            "hornbeam_held_bytes", "Bytes of the requests that are there", registry=all_
        ).set_function(held)
        for result in ("taken", "refused"):
            self._reloads.labels(result)
        for outcome in ("answered", "unreadable", "failed", "dropped"):
            self._pictures.labels(outcome)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that is over."""
        self._requests.labels(path, str(status)).inc()
        if path == "/predict":
            self._seconds.observe(seconds)

    def batch(self, pictures: int, seconds: float) -> None:
        """Count a question to the model; any thread may."""
        self._batches.observe(pictures)
        self._model_seconds.observe(seconds)

    def answers(self, answers: Sequence[Answer], failed: int) -> None:
        """Count what was answered; of so many the model failed."""
        errors = sum(answer.error is not None for answer in answers)
        if errors:
            self._pictures.labels("failed").inc(failed)
            self._pictures.labels("unreadable").inc(errors - failed)
        self._pictures.labels("answered").inc(len(answers) - errors)
        for answer in answers:
            for task, sure in answer.sure.items():
                if not sure:
                    self._unsure.labels(_plain(task)).inc()
            if answer.unknown:
                self._unknown.inc()

    def dropped(self, pictures: int) -> None:
        """Count pictures whose client did not wait, or waited in vain."""
        self._pictures.labels("dropped").inc(pictures)

    def reload(self, taken: bool) -> None:
        """Count a bundle that was to take the place of another."""
        self._reloads.labels("taken" if taken else "refused").inc()

    def text(self) -> bytes:
        """Return all counts as they are now."""
        facts = self._shelf.served.facts
        self._bundle.clear()
        names = (facts["name"], facts["format"], facts["sha256"], facts["created"])
        self._bundle.labels(*map(_plain, names)).set(1)
        self._loaded.set(self._shelf.loaded)
        return generate_latest(self._registry)


def _plain(text: object) -> str:
    """Return text that UTF-8 can write: names of files may hold what it cannot."""
    return str(text).encode("utf-8", "backslashreplace").decode()
