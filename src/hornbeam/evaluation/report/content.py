"""All that a report is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.data.dataset import Dataset
from hornbeam.evaluation.explanations import Explanations
from hornbeam.evaluation.labels.labels_file import Suspect
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.scores import Scores
from hornbeam.evaluation.trust.measuring import Trust

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""How many pictures each split of each task has of each class."""


@dataclasses.dataclass(frozen=True)
class ReportContent:
    """What is known of a run. What is missing is left out of its report, or said in a sentence.

    Attributes:
        name: of the run.
        predictions: of the pictures that judge.
        scores: of every task.
        config: options of the training.
        command: words of the command line that trained.
        environment: versions and machine, as in `environment.json`.
        curves: lines of `metrics.csv`.
        events: lines of `log.jsonl`.
        counts: of the pictures that the training began with, as in `dataset.json`.
        sizes: how many pictures each split of those has, labelled or not.
        skipped: what was wrong with pictures that were left out, by path.
        trust: by task, whether its probabilities mean what they say.
        suspects: labels that are probably wrong, the most suspicious first; `None` if nobody has
            looked for them.
        unread: why the list of suspects that is there cannot be read; empty if it can.
        explanations: where the network looks; `None` if nobody has asked it.
        pictures: all of the run's, where they are at hand, as suspects may be of any split.
        data: what the pictures that judge are, where they are not the run's own: the absolute path
            of their folder or manifest. The run's suspects are no matter of theirs.
    """

    name: str
    predictions: Predictions
    scores: Sequence[Scores]
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    command: Sequence[str] = ()
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    curves: Sequence[Mapping[str, str]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    counts: Counts = dataclasses.field(default_factory=dict)
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    trust: Mapping[str, Trust] = dataclasses.field(default_factory=dict)
    suspects: Sequence[Suspect] | None = None
    unread: str = ""
    explanations: Explanations | None = None
    pictures: Dataset | None = None
    data: str = ""
