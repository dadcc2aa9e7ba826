"""What keeps a model's answers honest, fitted on validation pictures: `calibration.json` of a run.

calibration.json   by task: scaling, threshold below which answers are not sure; the unknown score
unknown.npz        the arrays of that score, where it has some
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.config import PRECISIONS, Calibration
from hornbeam.data.tasks import Task
from hornbeam.errors import RunError
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.units import Units
from hornbeam.evaluation.trust.abstention import (
    Threshold,
    threshold_for_coverage,
    threshold_for_precision,
)
from hornbeam.evaluation.trust.calibration import Scaling, cross_fitted, finite, fit_scaling
from hornbeam.evaluation.trust.unknown import Unknown, fit_unknown
from hornbeam.storage import write_bytes, write_json

FILE, ARRAYS = "calibration.json", "unknown.npz"


@dataclasses.dataclass(frozen=True)
class Safeguards:
    """What was fitted on validation pictures.

    Attributes:
        calibration: the method that was asked for.
        scalings: by task, what calibrates its logits.
        thresholds: by task, the one that was asked for; a task is missing if nobody asked, or it has
            several labels a picture.
        offered: by task, what other thresholds would promise.
        unknown: what tells pictures of unknown classes; `None` if nobody has looked.
    """

    calibration: Calibration = "none"
    scalings: Mapping[str, Scaling] = dataclasses.field(default_factory=dict)
    thresholds: Mapping[str, Threshold] = dataclasses.field(default_factory=dict)
    offered: Mapping[str, tuple[Threshold, ...]] = dataclasses.field(default_factory=dict)
    unknown: Unknown | None = None

    @property
    def needs_features(self) -> bool:
        """Whether predictions must have features, so that `unknown_scores` can tell."""
        return self.unknown is not None and self.unknown.needs_features

    def sure(self, predictions: Predictions, task: Task) -> NDArray[np.bool_] | None:
        """Return which answers to a task are sure, bool `[pictures]`; `None` if nobody asked for any.

        None is, where what was asked for cannot be promised.
        """
        threshold = self.thresholds.get(task.name)
        if threshold is None:
            return None
        return threshold.sure(predictions.probabilities(task).max(axis=1))

    def unknown_scores(self, predictions: Predictions) -> NDArray[np.float32] | None:
        """Return how unlike the known classes pictures are; `None` if nothing tells."""
        if self.unknown is None or (self.needs_features and predictions.features is None):
            return None
        return self.unknown.score(predictions)

    def save(self, directory: Path) -> None:
        """Write `calibration.json`, and `unknown.npz` where there are arrays."""
        unknown = None
        if self.unknown is not None:
            arrays = self.unknown.arrays()
            if arrays:
                write_bytes(directory / ARRAYS, arrays)
            # Who is killed between the two files leaves a pair that does not fit.
            unknown = self.unknown.to_json() | {"arrays": _digest(arrays) if arrays else None}
        tasks = {
            name: {
                "scaling": scaling.to_json(),
                "abstain": self.thresholds[name].to_json() if name in self.thresholds else None,
                "offered": [threshold.to_json() for threshold in self.offered.get(name, ())],
            }
            for name, scaling in self.scalings.items()
        }
        content = {"calibration": self.calibration, "tasks": tasks, "unknown": unknown}
        write_json(directory / FILE, content)

    @classmethod
    def load(cls, directory: Path) -> Safeguards:
        """Read what `save` wrote; of a run without it, nothing is scaled and all answers are sure.

        Raises:
            RunError: a file is damaged.
        """
        path = directory / FILE
        if not path.is_file():
            return cls()
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            tasks: dict[str, dict[str, Any]] = content["tasks"]
            scalings = {name: Scaling.from_json(task["scaling"]) for name, task in tasks.items()}
            thresholds = {
                name: Threshold.from_json(t["abstain"]) for name, t in tasks.items() if t["abstain"]
            }
            offered = {
                name: tuple(Threshold.from_json(each) for each in task["offered"])
                for name, task in tasks.items()
                if task["offered"]
            }
            unknown = _unknown_of(content["unknown"], directory)
            return cls(content["calibration"], scalings, thresholds, offered, unknown)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} cannot be read ({error}); hornbeam evaluate --calibration auto makes it anew."
            ) from None


def fit_safeguards(
    validation: Predictions,
    *,
    calibration: Calibration = "auto",
    precision: float | None = None,
    coverage: float | None = None,
    training: Predictions | None = None,
    unknown: Unknown | None = None,
    learned: bool = False,
) -> Safeguards:
    """Fit all that keeps answers honest.

    Args:
        validation: of pictures that were not trained on; its `scalings` are not looked at.
        calibration: see `fit_scaling`.
        precision: answers are sure if this share of the sure ones will be right.
        coverage: answers are sure if they are among this share of all.
        training: with features, of some training pictures; see `unknown.rows_to_know`.
        unknown: what is known already; else it is fitted.
        learned: see `fit_unknown`.
    """
    units = Units.of(validation.dataset)
    scalings, thresholds, offered = {}, {}, {}
    for task in validation.tasks:
        labels = validation.dataset.labels(task)
        scalings[task.name] = fit_scaling(
            validation.logits[task.name], labels, task, calibration, units.codes
        )
        if task.multi_label:
            continue
        rows = np.flatnonzero((labels >= 0) & finite(validation.logits[task.name]))
        witnesses = units.take(rows)
        some = dataclasses.replace(validation, scalings=scalings).take(rows)
        if scalings[task.name].method == "vector":
            # So many factors suit the pictures that they were fitted on better than others.
            logits = cross_fitted(
                some.logits[task.name], labels[rows], task, "vector", witnesses.codes
            )
            some = dataclasses.replace(some, logits={**some.logits, task.name: logits}, scalings={})
        claims = some.probabilities(task).max(axis=1)
        right = some.predicted(task) == labels[rows]
        offered[task.name] = tuple(
            threshold_for_precision(claims, right, level, witnesses) for level in PRECISIONS
        )
        if precision is not None:
            thresholds[task.name] = threshold_for_precision(claims, right, precision, witnesses)
        elif coverage is not None:
            thresholds[task.name] = threshold_for_coverage(claims, right, coverage, witnesses)
    unknown = unknown or fit_unknown(validation, training, learned=learned)
    return Safeguards(calibration, scalings, thresholds, offered, unknown)


def _unknown_of(values: dict[str, Any] | None, directory: Path) -> Unknown | None:
    if values is None:
        return None
    digest = values.pop("arrays")
    arrays = (directory / ARRAYS).read_bytes() if digest else b""
    if digest and _digest(arrays) != digest:
        raise ValueError(f"{ARRAYS} beside it is of another fit")
    return Unknown.from_json(values, arrays)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
