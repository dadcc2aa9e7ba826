"""What a bundle says of one picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import UNKNOWN, Manifest
from hornbeam.errors import BundleError, did_you_mean, listing


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a bundle says of one picture.

    Attributes:
        picture: its path or address; `None` of bytes and pixels.
        tasks: what was asked.
        probabilities: by task, float32 `[classes]`, calibrated.
        sure: by task, whether the best answer is; a task without a threshold is missing.
        unknown_score: how unlike the known classes the picture is; `None` if nothing tells.
        unknown: whether that is too much; `None` if nothing tells.
        error: why there is no answer, one sentence; then the others are empty.
    """

    picture: str | None
    tasks: tuple[Task, ...]
    probabilities: Mapping[str, NDArray[np.float32]]
    sure: Mapping[str, bool]
    unknown_score: float | None = None
    unknown: bool | None = None
    error: str | None = None

    def best(self, task: str | None = None, n: int = 1) -> list[tuple[str, float]]:
        """Return the `n` best classes and their probabilities, the best first.

        Args:
            task: its name; else the first.
            n: how many.

        Raises:
            BundleError: there is no such task, or no answer (`error` says why).
        """
        if self.error is not None:
            raise BundleError(f"There is no answer to this picture: {self.error}")
        asked = next((t for t in self.tasks if task in (None, t.name)), None)
        if asked is None:
            names = [each.name for each in self.tasks]
            raise BundleError(
                f"There is no task '{task}'; the bundle answers {listing(names)}."
                f"{did_you_mean(str(task), names)}"
            )
        values = self.probabilities[asked.name]
        order = np.argsort(-values, kind="stable")[:n]
        return [(asked.classes[i], float(values[i])) for i in order]


_NO_NUMBER = "the model's answer is no number"


def answers_of(manifest: Manifest, outputs: Mapping[str, NDArray[np.float32]]) -> list[Answer]:
    """Return the answers that a runtime's outputs mean.

    Where probabilities are not finite there is no answer; its `error` says so.

    Args:
        manifest: the bundle's.
        outputs: by output, float32 `[pictures, …]`; rows of them are kept, and not copied.
    """
    tasks, unknown = manifest.tasks, manifest.unknown
    thresholds = {name: each["below"] for name, each in manifest.abstain.items()}
    best = {name: outputs[name].max(axis=1).tolist() for name in thresholds}
    scores = outputs[UNKNOWN].reshape(-1).tolist() if unknown is not None else None
    told = np.logical_and.reduce([np.isfinite(outputs[task.name]).all(axis=1) for task in tasks])
    return [
        Answer(None, tasks, {}, {}, error=_NO_NUMBER)
        if not told[row]
        else Answer(
            None,
            tasks,
            {task.name: outputs[task.name][row] for task in tasks},
            {
                name: below is not None and best[name][row] >= below
                for name, below in thresholds.items()
            },
            scores[row] if scores is not None else None,
            scores[row] > unknown["above"] if scores is not None and unknown is not None else None,
        )
        for row in range(len(outputs[tasks[0].name]))
    ]
