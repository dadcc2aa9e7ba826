"""Pictures of unknown classes: what tells them, so that a model need not name what it never saw."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.config import FEATURES_IN_ALL, FEATURES_PER_CLASS, UNKNOWN_SHARE
from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.trust.calibration import finite
from hornbeam.evaluation.trust.unknown_scores import angle, directions_of, energy
from hornbeam.evaluation.trust.unknown_trial import (
    Trial,
    try_angle,
    try_energy,
    try_energy_of_fixed_head,
)

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, eq=False)
class Unknown:
    """What tells pictures of unknown classes.

    Attributes:
        kind: `energy`, minus the logsumexp of the logits (Liu et al. 2020), or `angle`, 1 minus the
            cosine of the angle between the picture's features and the nearest mean of a class, seen
            from the mean of all.
        task: name of the task whose classes are known.
        threshold: pictures of a larger score are called unknown.
        called: share of the validation pictures that are, though of known classes.
        origin: of `angle`, the mean of the features, float32 `[features]`.
        directions: of `angle`, those of the class means, of length 1, float32 `[classes, features]`.
        trials: how well each kind that was tried told classes that were left out.
        sentence: all of that in words.
    """

    kind: str
    task: str
    threshold: float
    called: float
    origin: Floats | None = None
    directions: Floats | None = None
    trials: tuple[Trial, ...] = ()
    sentence: str = ""

    @property
    def needs_features(self) -> bool:
        """Whether what reaches the last layers must be known."""
        return self.kind == "angle"

    def score(self, predictions: Predictions) -> Floats:
        """Return how unlike the known classes each picture is: float32 `[pictures]`."""
        task = next(task for task in predictions.tasks if task.name == self.task)
        return self.score_of(task, predictions.logits[self.task], predictions.features)

    def score_of(self, task: Task, logits: Floats, features: Floats | None) -> Floats:
        """Return the same of the task's logits as the network gave them, and of the features."""
        if self.kind == "energy":
            return energy(logits, task)
        assert features is not None
        assert self.origin is not None and self.directions is not None  # noqa: PT018 - for mypy
        return angle(features, self.origin, self.directions)

    def to_json(self) -> dict[str, Any]:
        """Return all but the arrays as plain values."""
        left_out = ("origin", "directions", "trials")
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        kept = {name: value for name, value in values.items() if name not in left_out}
        threshold = self.threshold if math.isfinite(self.threshold) else None  # JSON knows no other
        trials = [trial.to_json() for trial in self.trials]
        return kept | {"threshold": threshold, "trials": trials}

    def arrays(self) -> bytes:
        """Return the arrays as a `.npz` file; nothing, where there are none."""
        if self.origin is None or self.directions is None:
            return b""
        file = io.BytesIO()
        np.savez(file, origin=self.origin, directions=self.directions)
        return file.getvalue()

    @classmethod
    def from_json(cls, values: dict[str, Any], arrays: bytes) -> Unknown:
        """Return what `to_json` and `arrays` gave."""
        trials = tuple(Trial.from_json(trial) for trial in values["trials"])
        threshold = math.inf if values["threshold"] is None else values["threshold"]
        kept = {**values, "threshold": threshold, "trials": trials}
        if arrays:
            with np.load(io.BytesIO(arrays), allow_pickle=False) as there:
                kept |= {name: there[name] for name in ("origin", "directions")}
        return cls(**kept)


def task_of(tasks: Sequence[Task]) -> Task:
    """Return the task whose classes say what is known: of one label a picture, and the most classes."""
    return max(tasks, key=lambda task: (not task.multi_label, len(task.classes)))


def rows_to_know(dataset: Dataset, tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Return the rows of training pictures whose features say what is known: some of each class.

    Args:
        dataset: the training pictures.
        tasks: of the model.
    """
    task = task_of(tasks)
    if task.multi_label:
        return np.arange(0)
    labels = dataset.labels(task)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(np.flatnonzero(labels >= 0))
    own = labels[shuffled]
    order = np.argsort(own, kind="stable")
    place = np.arange(len(own)) - np.searchsorted(own[order], own[order])  # within its class
    each = max(2, min(FEATURES_PER_CLASS, FEATURES_IN_ALL // max(1, len(np.unique(own)))))
    return np.sort(shuffled[order][place < each])


def fit_unknown(
    validation: Predictions, training: Predictions | None = None, *, learned: bool = False
) -> Unknown:
    """Choose and fit the score that tells pictures of classes that were left out best.

    Args:
        validation: of pictures that were not trained on; with features where there are some.
        training: the same of some training pictures, see `rows_to_know`. Without them half of the
            validation pictures say what is known, and the other half judges.
        learned: whether the features were trained on all of these classes, too, so that the trial says
            too much good.
    """
    task = task_of(validation.tasks)
    validation = _finite(validation, task)
    training = None if training is None else _finite(training, task)
    if task.multi_label:
        return _energy_untried(validation, task)
    labels = validation.dataset.labels(task)
    known = validation.take(np.flatnonzero(labels >= 0))
    labels = labels[labels >= 0]
    if training is None or training.features is None or validation.features is None:
        seen, rest = _halves(labels)
        from_, judging = known.take(seen), known.take(rest)
    else:
        own = training.dataset.labels(task)
        from_, judging = training.take(np.flatnonzero(own >= 0)), known
    to_judge = judging.dataset.labels(task)
    if known.features is None:
        trial = try_energy_of_fixed_head(known.logits[task.name], labels, task)
        return _finished("energy", task, known, known, [trial] if trial else [], learned)
    assert from_.features is not None and judging.features is not None  # noqa: PT018 - for mypy
    fitted_on = from_.dataset.labels(task)
    tried = [
        attempt(from_.features, fitted_on, judging.features, to_judge, task)
        for attempt in (try_angle, try_energy)
    ]
    trials = sorted((t for t in tried if t is not None), key=lambda t: -t.area.value)
    kind = trials[0].kind if trials else "energy"
    if not len(from_):
        kind = "energy"
    return _finished(kind, task, from_, judging, trials, learned)


def _finished(
    kind: str, task: Task, from_: Predictions, judging: Predictions, trials: Sequence[Trial],
    learned: bool,
) -> Unknown:  # fmt: skip
    """Return the score of a kind, with its threshold and what is to be said."""
    fitted = Unknown(kind, task.name, math.inf, 0.0, trials=tuple(trials))
    if kind == "angle":
        assert from_.features is not None
        origin, directions = directions_of(from_.features, from_.dataset.labels(task))
        fitted = dataclasses.replace(fitted, origin=origin, directions=directions)
    if not len(judging):
        return dataclasses.replace(
            fitted, sentence="No labelled picture says from which score on one is unknown."
        )
    scores = fitted.score(judging)
    threshold = float(np.quantile(scores, 1 - UNKNOWN_SHARE, method="higher"))
    called = float((scores > threshold).mean())
    chosen = next((trial for trial in trials if trial.kind == kind), None)
    said = (
        f"Pictures unlike those of the known classes are marked as unknown, and so are {called:.1%} of "
        f"{len(scores)} pictures of known classes."
    )
    said += f" {chosen.sentence(learned)}" if chosen else " How well that works was not tried."
    return dataclasses.replace(fitted, threshold=threshold, called=called, sentence=said)


def _finite(predictions: Predictions, task: Task) -> Predictions:
    """Return those of finite logits and features: another number would be everyone's threshold."""
    there = finite(predictions.logits[task.name])
    if predictions.features is not None:
        there &= finite(predictions.features)
    return predictions if there.all() else predictions.take(np.flatnonzero(there))


def _energy_untried(validation: Predictions, task: Task) -> Unknown:
    return _finished("energy", task, validation, validation, (), learned=False)


def _halves(labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return two halves of the rows, alike in their classes."""
    order = np.lexsort((np.random.default_rng(0).random(len(labels)), labels))
    return np.sort(order[::2]), np.sort(order[1::2])
