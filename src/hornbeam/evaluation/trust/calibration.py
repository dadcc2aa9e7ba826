"""Probabilities that mean what they say: a scaling of the logits, fitted on pictures that judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from hornbeam.data.tasks import Task

Floats = NDArray[np.float64]

_FEWEST = 20
"""Labelled pictures below which nothing is fitted: of 20, a temperature of 1.5 was found between 0.8 and
2.3 (middle 90 % of 500 simulations), of 100 between 1.1 and 1.8."""

_FEWEST_OF_CLASS = 20
"""Pictures of each class from which `auto` tries a scaling of its own for each."""

_BOUNDS = (0.01, 100.0)
"""Of the factor on logits, one over the temperature."""

_FOLDS = 5

_MOST_CELLS = 5_000_000
"""Pictures times classes that a fit looks at; of more a part, drawn at random, says the same to 1 %, and
`auto` does not try a scaling per class, which would take minutes."""

_ROWS = 4096
"""Pictures at a time, as each step makes arrays of its own."""


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A factor on the logits and an offset to them: one for all classes, or one each.

    Attributes:
        method: `temperature` (Guo et al. 2017), `vector` (the same paper; of a multi-label task that
            is Platt's, 1999, for each class) or `none`.
        scale: one factor, or one for each class; a temperature is one over it.
        offset: the same of what is added.
        note: a sentence on what was not as usual; empty where all was.
    """

    method: str = "none"
    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    note: str = ""

    @property
    def temperature(self) -> float | None:
        """What logits are divided by, where that is one number; `None` else."""
        return 1 / self.scale[0] if len(self.scale) == 1 else None

    @property
    def is_identity(self) -> bool:
        """Whether it leaves logits as they are."""
        return set(self.scale) == {1.0} and set(self.offset) == {0.0}

    def apply(self, logits: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return logits `[pictures, classes]` whose probabilities are the calibrated ones, float32."""
        if self.is_identity:
            return np.asarray(logits, np.float32)
        scale, offset = np.array(self.scale, np.float32), np.array(self.offset, np.float32)
        return np.asarray(np.asarray(logits, np.float32) * scale + offset, np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values; `from_json` takes them."""
        return dataclasses.asdict(self) | {"temperature": self.temperature}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Scaling:
        """Return what `to_json` wrote."""
        scale, offset = tuple(values["scale"]), tuple(values["offset"])
        return cls(values["method"], scale, offset, values.get("note", ""))


def fit_scaling(
    logits: NDArray[np.floating],
    labels: NDArray[Any],
    task: Task,
    method: str = "auto",
    groups: NDArray[Any] | None = None,
) -> Scaling:
    """Return the scaling of least mean negative log likelihood, found by L-BFGS in float64.

    A multi-label task gets an offset beside its temperature, for nothing else moves all of its
    probabilities up or down.

    Args:
        logits: `[pictures, classes]`, of pictures that were not trained on. Pictures whose logits are
            not all finite do not count; the note says so.
        labels: class indices `[pictures]`, negative where unknown; or bool `[pictures, classes]`.
        task: what they answer.
        method: `temperature`, `vector`, `none`, or `auto`: vector scaling where each class has 20
            pictures and it gains more than one standard error in five-fold cross-validation,
            temperature elsewhere. Vector scaling is drawn to the temperature as by a normal prior of
            deviation 1, so that it is defined for classes of few pictures.
        groups: of the pictures, `[pictures]`: the same number where they belong together.
    """
    if method == "none":
        return Scaling()
    labels, there = np.asarray(labels), finite(logits)
    rows = _labelled(labels, task)
    judging = rows[there[rows]]
    own = np.arange(len(logits)) if groups is None else np.asarray(groups)
    found = _fit(logits[judging], labels[judging], task, method, own[judging])
    lost = len(rows) - len(judging)
    if not lost:
        return found
    are = "pictures have" if lost > 1 else "picture has"
    note = f"{lost} {are} logits that are no finite numbers and did not count."
    return dataclasses.replace(found, note=f"{found.note} {note}".strip())


def finite(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which pictures have nothing but finite numbers, bool `[pictures]`; others say nothing."""
    return np.asarray(np.isfinite(values).all(axis=1))


def _fit(
    values: NDArray[np.floating],
    labels: NDArray[Any],
    task: Task,
    method: str,
    groups: NDArray[Any],
) -> Scaling:
    """Return the same of labelled pictures with finite logits."""
    if len(values) < _FEWEST:
        return Scaling(
            note=f"{len(values)} labelled pictures are too few to calibrate on (at least {_FEWEST}); "
            "probabilities are as the network gave them."
        )
    if not task.multi_label and len(task.classes) < 2:
        return Scaling(note="There is one class, whose probability is always 1.")
    rows = _drawn(len(values), max(_FEWEST, _MOST_CELLS // len(task.classes)))
    many = len(rows) < len(values)
    values, labels, groups = values[rows], labels[rows], groups[rows]
    simple = _fit_temperature(values, labels, task)
    if simple.method == "none" or method == "temperature":
        return simple
    if method == "vector":
        return _fit_vector(values, labels, task, simple)
    few = _counts(labels, task).min() < _FEWEST_OF_CLASS
    if few or many or len(np.unique(groups)) < 2:
        return simple
    gains = [
        _losses(_fit_temperature(values[fit], labels[fit], task).apply(values[rest]), labels[rest], task)
        - _losses(_vector(values[fit], labels[fit], task).apply(values[rest]), labels[rest], task)
        for fit, rest in folds(labels, task, groups)
    ]  # fmt: skip
    gain = np.concatenate(gains)
    if gain.mean() > gain.std(ddof=1) / np.sqrt(len(np.unique(groups))):
        return _fit_vector(values, labels, task, simple)
    return simple


def cross_fitted(
    logits: NDArray[np.floating],
    labels: NDArray[Any],
    task: Task,
    method: str,
    groups: NDArray[Any] | None = None,
) -> NDArray[np.float32]:
    """Return calibrated logits of the very pictures that a scaling is fitted on, float32.

    Each picture is scaled by what was fitted on the other four fifths: what a scaling does to
    pictures that it has seen is no measure of it. Pictures without a label get the scaling of all,
    and so do those of a single group, which leaves no others to fit on.

    Args:
        logits: see `fit_scaling`, as the others.
        labels: the same.
        task: the same.
        method: the method that was chosen, not `auto`.
        groups: the same.
    """
    result = fit_scaling(logits, labels, task, method, groups).apply(logits)
    known = _labelled(labels, task)
    known = known[finite(logits)[known]]
    if method == "none" or len(known) < _FEWEST:
        return result
    own = np.arange(len(logits)) if groups is None else np.asarray(groups)
    result = result.copy()
    for fit, rest in folds(labels[known], task, own[known]):
        scaling = fit_scaling(logits[known[fit]], labels[known[fit]], task, method)
        result[known[rest]] = scaling.apply(logits[known[rest]])
    return result


def folds(
    labels: NDArray[Any], task: Task, groups: NDArray[Any]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield five pairs of rows, to fit on and to judge by: classes alike in all, groups undivided.

    Args:
        labels: of the pictures, see `fit_scaling`.
        task: what they answer.
        groups: of the pictures, `[pictures]`.
    """
    rng = np.random.default_rng(0)
    _, first, number = np.unique(groups, return_index=True, return_inverse=True)
    kinds = labels[first].sum(axis=1) if task.multi_label else labels[first]
    # Groups in the order of the class of their first picture, by chance within; then dealt like cards.
    order = np.lexsort((rng.random(len(first)), kinds))
    fold_of_group = np.empty(len(first), np.int64)
    fold_of_group[order] = np.arange(len(first)) % _FOLDS
    fold = fold_of_group[number]
    for i in range(_FOLDS):
        fit, rest = np.flatnonzero(fold != i), np.flatnonzero(fold == i)
        if len(fit) and len(rest):
            yield fit, rest


def _fit_temperature(values: NDArray[np.floating], labels: NDArray[Any], task: Task) -> Scaling:
    """Return the best scaling by one factor (and one offset of a multi-label task)."""
    if _all_right(values, labels, task):
        return Scaling(
            note=f"All {len(values)} labelled pictures were answered right, which does not tell how "
            "sure to be; probabilities are as the network gave them."
        )
    if not task.multi_label:
        scale = _minimize(
            lambda x: _likelihood(values, labels, task, x, np.zeros(1)), np.ones(1), [_BOUNDS]
        )
        offset = np.zeros(1)
    else:
        found = _minimize(
            lambda x: _likelihood(values, labels, task, x[:1], x[1:]), np.array([1.0, 0.0]),
            [_BOUNDS, (-50.0, 50.0)],
        )  # fmt: skip
        scale, offset = found[:1], found[1:]
    note = ""
    if scale[0] <= _BOUNDS[0] * 1.001:
        note = (
            "The network's confidence says nothing about these pictures: probabilities are made all "
            "but equal."
        )
    elif scale[0] >= _BOUNDS[1] * 0.999:
        note = "The temperature is at its lower bound; probabilities are nearly 0 or 1."
    return Scaling("temperature", tuple(scale.tolist()), tuple(offset.tolist()), note)


def _vector(values: NDArray[np.floating], labels: NDArray[Any], task: Task) -> Scaling:
    return _fit_vector(values, labels, task, _fit_temperature(values, labels, task))


def _fit_vector(
    values: NDArray[np.floating], labels: NDArray[Any], task: Task, simple: Scaling
) -> Scaling:
    """Return the best scaling by a factor and an offset a class, drawn to the simple one."""
    classes = len(task.classes)
    count = values.size if task.multi_label else len(values)
    centre = np.concatenate([np.full(classes, simple.scale[0]), np.full(classes, simple.offset[0])])

    def objective(x: Floats) -> tuple[float, Floats]:
        loss, slope = _likelihood(values, labels, task, x[:classes], x[classes:])
        away = x - centre
        return loss + (away**2).sum() / (2 * count), slope + away / count

    found = _minimize(objective, centre, [_BOUNDS] * classes + [(-50.0, 50.0)] * classes)
    few = int((_counts(labels, task) < _FEWEST_OF_CLASS).sum())
    note = (
        f"{few} classes have fewer than {_FEWEST_OF_CLASS} pictures to calibrate on." if few else ""
    )
    return Scaling("vector", tuple(found[:classes].tolist()), tuple(found[classes:].tolist()), note)


def _likelihood(
    values: NDArray[np.floating], labels: NDArray[Any], task: Task, scale: Floats, offset: Floats
) -> tuple[float, Floats]:
    """Return the mean negative log likelihood of scaled logits, and its slope in (scale, offset).

    The slope has one number for each of `scale`, then for each of `offset`; of one label a picture and
    a single scale that is the scale alone, as an offset to all classes changes nothing.
    """
    loss, of_scale, of_offset = 0.0, np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        truth = labels[start : start + _ROWS]
        scaled = part * scale + offset
        if task.multi_label:
            # log(1 + exp(-x)) of the right sign, without overflow.
            loss += float(np.logaddexp(0, np.where(truth, -scaled, scaled)).sum())
            excess = scipy.special.expit(scaled) - truth
        else:
            at = np.arange(len(part))
            scaled -= scaled.max(axis=1, keepdims=True)
            excess = np.exp(scaled)
            total = excess.sum(axis=1, keepdims=True)
            loss += float(np.log(total).sum() - scaled[at, truth].sum())
            excess /= total
            excess[at, truth] -= 1
        of_scale += (excess * part).sum(axis=0)
        of_offset += excess.sum(axis=0)
    count = values.size if task.multi_label else len(values)
    slopes = [of_scale if len(scale) > 1 else of_scale.sum(keepdims=True)]
    if len(scale) > 1 or task.multi_label:
        slopes.append(of_offset if len(offset) > 1 else of_offset.sum(keepdims=True))
    return loss / count, np.concatenate(slopes) / count


def _minimize(
    objective: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: list[tuple[float, float]]
) -> Floats:  # fmt: skip
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", bounds=bounds,
        options={"maxiter": 500, "ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    return np.asarray(found.x, np.float64)


def _losses(logits: NDArray[np.floating], labels: NDArray[Any], task: Task) -> Floats:
    """Return the negative log likelihood of each picture; of a multi-label task, that of a class."""
    exact = logits.astype(np.float64)
    if task.multi_label:
        return np.asarray(np.logaddexp(0, np.where(labels, -exact, exact)).mean(axis=1))
    own = exact[np.arange(len(labels)), labels]
    return np.asarray(scipy.special.logsumexp(exact, axis=1) - own)


def _all_right(values: NDArray[np.floating], labels: NDArray[Any], task: Task) -> bool:
    """Whether the likelihood grows without end with the factor."""
    if task.multi_label:
        there, others = values[labels], values[~labels]
        return not len(there) or not len(others) or bool(there.min() > others.max())
    own = values[np.arange(len(labels)), labels]
    return bool((own >= values.max(axis=1)).all())


def _labelled(labels: NDArray[Any], task: Task) -> NDArray[np.int64]:
    """Return the rows of what has a label."""
    return np.arange(len(labels)) if task.multi_label else np.flatnonzero(labels >= 0)


def _counts(labels: NDArray[Any], task: Task) -> NDArray[np.int64]:
    """Return how many pictures each class has; of a multi-label task, has or has not, the fewer."""
    if task.multi_label:
        there = labels.sum(axis=0)
        return np.asarray(np.minimum(there, len(labels) - there))
    return np.bincount(labels, minlength=len(task.classes))


def _drawn(count: int, most: int) -> NDArray[np.int64]:
    """Return the rows to look at: all, or so many of them drawn at random."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))
