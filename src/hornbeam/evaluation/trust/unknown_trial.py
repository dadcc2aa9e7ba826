"""How well a score tells unknown classes: some are left out, as if nobody had seen them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special
import scipy.stats
from numpy.typing import NDArray

from hornbeam.config import UNKNOWN_SHARE
from hornbeam.data.tasks import Task
from hornbeam.evaluation.scoring.ranking import rank
from hornbeam.evaluation.scoring.shares import Estimated
from hornbeam.evaluation.trust.unknown_scores import angle, directions_of

_MOST_LEFT_OUT = 10
_MOST_CLASSES = 100
"""Up to which a head is fitted anew; beyond, that takes minutes, and the angle is kept untried."""

_COMPONENTS = 64
"""Principal components of the features that a head is fitted on anew; of clothing, 64 and 1,280 gave
the same (0.68)."""

_L2 = 0.01

_ROWS = 1024
"""Pictures whose features are looked at at a time, in float64."""

Features = NDArray[np.floating]
Labels = NDArray[np.integer]


@dataclasses.dataclass(frozen=True)
class Trial:
    """What came of leaving classes out, one after the other.

    Attributes:
        kind: of the score.
        area: mean over the left-out classes of the area under the receiver operating characteristic
            (AUROC): how often one of their pictures has a larger score than one of a known class; 0.5
            is chance. The 95 % interval is Student's of the classes: it is about classes like these.
        found: mean share of their pictures that are called unknown, if 5 % of the others are.
        areas: of each left-out class, by name.
        fixed: whether the head had learned the left-out classes, as it could not be fitted anew.
    """

    kind: str
    area: Estimated
    found: float
    areas: dict[str, float]
    fixed: bool = False

    def sentence(self, learned: bool) -> str:
        """Say it in words.

        Args:
            learned: whether the features were trained on the left-out classes, too.
        """
        low, high = self.area.interval
        classes = len(self.areas)
        between = f" ({low:.2f} to {high:.2f})" if classes > 1 else ""
        said = (
            f"Tried on {classes} class{'es' * (classes > 1)} left out in turn, that finds "
            f"{self.found:.0%} of their pictures; the area under the ROC curve is "
            f"{self.area.value:.2f}{between}."
        )
        if learned or self.fixed:
            said += (
                " The network had been trained on them, so with classes it never saw it is less."
            )
        return said

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; `from_json` takes them."""
        low, high = self.area.interval
        ends = {"low": low, "high": high} if math.isfinite(low) else {"low": None, "high": None}
        return {
            "kind": self.kind, "area": {"value": self.area.value, **ends}, "found": self.found,
            "areas": self.areas, "fixed": self.fixed,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Trial:
        """Return what `to_json` wrote."""
        area = values["area"]
        ends = [math.nan if area[end] is None else area[end] for end in ("low", "high")]
        estimated = Estimated(area["value"], (ends[0], ends[1]))
        return cls(values["kind"], estimated, values["found"], values["areas"], values["fixed"])


Scorer = Callable[[NDArray[np.bool_], int], Features]
"""From which pictures to fit on and the class that is left out to the scores of those that judge."""


def try_angle(
    fit: Features, fitted: Labels, judge: Features, labels: Labels, task: Task
) -> Trial | None:
    """Try the angle to the class means, which are found anew without the class.

    Args:
        fit: features of pictures that say what is known.
        fitted: their classes.
        judge: features of pictures that judge.
        labels: their classes.
        task: whose classes they are.
    """

    def scores(rows: NDArray[np.bool_], _: int) -> Features:
        return angle(judge.astype(np.float32), *directions_of(fit[rows], fitted[rows]))

    return _trial("angle", fitted, labels, task, scores)


def try_energy(
    fit: Features, fitted: Labels, judge: Features, labels: Labels, task: Task
) -> Trial | None:
    """Try the energy of a linear head that is fitted anew without the class; see `try_angle`.

    To leave out the logit of the class from a head that has learned it is no trial: such a head has
    learned to give the class's pictures no other logit. On clothing that says 0.87 where a head that
    never saw them has 0.68 (docs/trust.md).
    """
    if len(task.classes) > _MOST_CLASSES or not len(fit):
        return None
    centre = fit.mean(axis=0, dtype=np.float64)
    axes = _axes(fit - centre)
    near, far = _along(axes, fit, centre), _along(axes, judge, centre)
    spread = max(float(np.sqrt((near**2).mean())), 1e-12)

    def scores(rows: NDArray[np.bool_], _: int) -> Features:
        head = _fit_head(near[rows] / spread, fitted[rows])
        return np.asarray(-scipy.special.logsumexp(_with_one(far / spread) @ head, axis=1))

    return _trial("energy", fitted, labels, task, scores)


def try_energy_of_fixed_head(logits: Features, labels: Labels, task: Task) -> Trial | None:
    """Try the energy without the logit of the class, where there are no features to fit a head on.

    Args:
        logits: of pictures that judge.
        labels: their classes.
        task: whose classes they are.
    """

    def scores(_: NDArray[np.bool_], left_out: int) -> Features:
        return np.asarray(-scipy.special.logsumexp(np.delete(logits, left_out, axis=1), axis=1))

    trial = _trial("energy", labels, labels, task, scores)
    return dataclasses.replace(trial, fixed=True) if trial else None


def _trial(kind: str, fitted: Labels, labels: Labels, task: Task, scores: Scorer) -> Trial | None:
    """Leave up to ten classes out in turn; `None` if fewer than two others would be left."""
    there = np.intersect1d(np.unique(fitted), np.unique(labels))
    if len(there) < 3:
        return None
    chosen = there[np.unique(np.linspace(0, len(there) - 1, _MOST_LEFT_OUT).round().astype(int))]
    areas, found = {}, []
    for left_out in chosen:
        values = scores(fitted != left_out, int(left_out))
        unknown = labels == left_out
        limit = np.quantile(values[~unknown], 1 - UNKNOWN_SHARE, method="higher")
        found.append(float((values[unknown] > limit).mean()))
        areas[task.classes[left_out]] = rank(unknown, values).auc.value
    each = np.array(list(areas.values()))
    reach = float(scipy.stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each)))
    mean = float(each.mean())
    ends = (max(0.0, mean - reach), min(1.0, mean + reach))
    return Trial(kind, Estimated(mean, ends), float(np.mean(found)), areas)


def _fit_head(features: Features, labels: Labels) -> Features:
    """Return the weights `[features + 1, classes]` of a multinomial logistic regression with L2."""
    names, classes = np.unique(labels, return_inverse=True)
    inputs, count = _with_one(features), len(features)
    shape = (inputs.shape[1], len(names))

    def objective(flat: Features) -> tuple[float, Features]:
        weights = flat.reshape(shape)
        logits = inputs @ weights
        total = scipy.special.logsumexp(logits, axis=1, keepdims=True)
        excess = np.exp(logits - total)
        loss = float((total[:, 0] - logits[np.arange(count), classes]).mean())
        excess[np.arange(count), classes] -= 1
        slope = inputs.T @ excess / count
        slope[:-1] += _L2 * weights[:-1]
        return loss + _L2 / 2 * float((weights[:-1] ** 2).sum()), slope.ravel()

    found = scipy.optimize.minimize(
        objective, np.zeros(math.prod(shape)), jac=True, method="L-BFGS-B", options={"maxiter": 60}
    )
    return np.asarray(found.x.reshape(shape))


def _axes(away: Features) -> Features:
    """Return the first principal axes of centred features, `[features, components]`, of length 1.

    Of more features than pictures they come from the pictures' inner products (the snapshots of
    Sirovich 1987): 18,432 features of a layer that was laid flat would take half an hour else.
    """
    few = len(away) < away.shape[1]
    size = min(away.shape)
    square = away @ away.T if few else away.T @ away
    largest = (max(0, size - _COMPONENTS), size - 1)
    axes = scipy.linalg.eigh(square, subset_by_index=largest)[1]
    if few:
        axes = away.T @ axes
        axes /= np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    return np.asarray(axes)


def _along(axes: Features, features: Features, centre: Features) -> Features:
    """Return where features lie along axes from a centre, float64 `[pictures, components]`."""
    parts = [
        (features[start : start + _ROWS] - centre) @ axes
        for start in range(0, len(features), _ROWS)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, axes.shape[1]))


def _with_one(features: Features) -> Features:
    return np.column_stack([features, np.ones(len(features))])
