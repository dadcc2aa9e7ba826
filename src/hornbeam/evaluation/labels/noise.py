"""Which label a picture should have, by what models say of it and by how labels go wrong.

A model that takes a shirt for a T-shirt with probability one half says little about one picture's
label; that many pictures of one class look just like another, one by one and surely, says much. So
how often each class is called another is estimated along with each picture's true class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating]
Indices = NDArray[np.int64]

_USUAL = 0.05
"""Share of wrong labels that is assumed before anything was seen."""

_TRUST = 0.3
"""Weight of that assumption, in pictures for each picture. On clothing with 5 % of labels flipped at
random 1 finds a little more (average precision 0.917, not 0.910), flipped to the most similar class
less (0.815, not 0.833)."""

_SHARPENED = 1.5
"""Power to which probabilities are raised: models that learn from wrong labels too are too unsure."""

_ROUNDS = 50


def find_noise(probabilities: Reals, labels: Indices) -> Reals:
    """Return the probability that each class is the true one: `[pictures, classes]`, of the same type.

    By expectation maximisation, together with how often each class is labelled as each other.
    The model is that of Dawid and Skene 1979 with one annotator, and the classifier's answer in the
    place of the prior of each picture; what confident learning (Northcutt et al. 2021) counts by
    thresholds is estimated by likelihood.

    Args:
        probabilities: of the classes, from models that have not seen the picture's own label,
            `[pictures, classes]`.
        labels: int64 `[pictures]`, -1 where there is none: the posterior is then the probability.
    """
    count = probabilities.shape[1]
    posterior = np.maximum(probabilities, probabilities.dtype.type(1e-9))
    posterior **= _SHARPENED
    posterior /= posterior.sum(axis=1, keepdims=True)
    rows = [np.flatnonzero(labels == label) for label in range(count)]
    priors = [posterior[own] for own in rows]
    sizes = np.array([len(own) for own in rows])
    known = max(1, int(sizes.sum()))
    # A wrong label is a draw from all labels: rarely one of a rare class.
    usual = (1 - _USUAL) * np.eye(count) + _USUAL * sizes / known
    called = usual
    for _ in range(_ROUNDS):
        seen = _TRUST * known / count * usual
        for label in np.flatnonzero(sizes):
            seen[:, label] += _explained(priors[label], called[:, label]).sum(axis=0)
        explaining, called = called, seen / seen.sum(axis=1, keepdims=True)
        if np.abs(called - explaining).max() < 1e-5:
            break
    for label in np.flatnonzero(sizes):
        posterior[rows[label]] = _explained(priors[label], explaining[:, label])
    return np.asarray(posterior)


def _explained(prior: Reals, called: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the posterior of pictures of one label, if each class is called that so often."""
    joint = prior * called
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))
