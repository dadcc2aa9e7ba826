"""Whether probabilities mean what they say, before and after calibration: what the report tells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.tasks import Task
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.units import Units
from hornbeam.evaluation.trust.abstention import Threshold
from hornbeam.evaluation.trust.calibration import cross_fitted, finite
from hornbeam.evaluation.trust.reliability import (
    Reliability,
    reliability_of_answers,
    reliability_of_marks,
)
from hornbeam.evaluation.trust.safeguards import Safeguards


@dataclasses.dataclass(frozen=True)
class Trust:
    """Whether the probabilities of a task mean what they say.

    Attributes:
        before: those that the network gives.
        after: those that it answers with, on pictures that the scaling was not fitted on; `None` where
            they are the same, or that is not known.
        thresholds: below which answers should be left to a person: the one that was asked for, else
            those that there are.
        sentences: what else is to be said, of pictures of unknown classes for instance; plain text.
        marks: whether answers below the threshold are marked, as it was asked for.
    """

    before: Reliability
    after: Reliability | None = None
    thresholds: Sequence[Threshold] = ()
    sentences: Sequence[str] = ()
    marks: bool = False


def measure_trust(
    predictions: Predictions, safeguards: Safeguards, *, fitted_here: bool
) -> dict[str, Trust]:
    """Measure how far claims and truth are apart, of each task that some picture has a label of.

    Args:
        predictions: of pictures with labels.
        safeguards: the run's.
        fitted_here: whether they were fitted on these very pictures. Then each picture is calibrated
            by what is fitted without it; see `cross_fitted`.
    """
    result = {}
    for task in predictions.tasks:
        labels = predictions.dataset.labels(task)
        there = finite(predictions.logits[task.name])
        rows = np.flatnonzero(there if task.multi_label else there & (labels >= 0))
        if not len(rows):
            continue
        some = dataclasses.replace(predictions, scalings={}).take(rows)
        known, units = labels[rows], Units.of(some.dataset)
        before = _measure(some, task, known, units)
        after = None
        scaling = safeguards.scalings.get(task.name)
        # Pictures of a single group leave no others to fit on.
        told = not fitted_here or units.count > 1
        if scaling is not None and not scaling.is_identity and told:
            logits = some.logits[task.name]
            scaled = (
                cross_fitted(logits, known, task, scaling.method, units.codes)
                if fitted_here
                else scaling.apply(logits)
            )
            calibrated = dataclasses.replace(some, logits={**some.logits, task.name: scaled})
            after = _measure(calibrated, task, known, units)
        marks = task.name in safeguards.thresholds
        thresholds = (
            [safeguards.thresholds[task.name]]
            if marks
            else list(safeguards.offered.get(task.name, ()))
        )
        sentences = _sentences(some, predictions, safeguards, task, fitted_here=fitted_here)
        result[task.name] = Trust(before, after, thresholds, sentences, marks)
    return result


def _measure(
    predictions: Predictions, task: Task, labels: NDArray[np.integer], units: Units
) -> Reliability:
    probabilities = predictions.probabilities(task)
    if task.multi_label:
        return reliability_of_marks(probabilities, labels.astype(bool), units)
    return reliability_of_answers(probabilities, labels, units)


def _sentences(
    some: Predictions, every: Predictions, safeguards: Safeguards, task: Task, *, fitted_here: bool
) -> list[str]:
    """Return what is to be said of a task beside the numbers.

    Args:
        some: those of a label and finite logits.
        every: of all pictures.
        safeguards: the run's.
        task: what is asked.
        fitted_here: whether they were fitted on these pictures.
    """
    said = []
    scaling = safeguards.scalings.get(task.name)
    if scaling is not None and scaling.note:
        said.append(scaling.note)
    calibrated = dataclasses.replace(some, scalings=safeguards.scalings)
    sure = safeguards.sure(calibrated, task)
    if sure is not None and not fitted_here and sure.any():
        right = calibrated.predicted(task) == some.dataset.labels(task)
        precision = Units.of(some.dataset).share(right[sure], np.flatnonzero(sure))
        said.append(
            f"Of these pictures {sure.mean():.1%} have a sure answer, of which {precision} are right."
        )
    elif sure is not None and not fitted_here:
        said.append("None of these pictures has a sure answer.")
    unknown = safeguards.unknown
    if unknown is not None and unknown.task == task.name:
        said.append(unknown.sentence)
        scores = safeguards.unknown_scores(every)
        if scores is not None and not fitted_here:
            share = Units.of(every.dataset).share(scores > unknown.threshold)
            said.append(f"Of these pictures {share} are marked as unknown.")
    return said
