"""Every error that a user can cause, as a tree; each carries the exit code of its kind.

HornbeamError            1   something failed
├── ConfigError          2   an option, a configuration file or a recipe is wrong
├── DataError            1   pictures, labels or folders are not what they should be
├── ResourceError        1   the system has no more files or memory to give
├── ModelError           1   a network or its weights cannot be used
├── RunError             1   a run directory lacks something or is damaged
├── TrainingError        1   a training cannot go on: its loss is no number
├── InterruptionError    130, 143   Ctrl-C or SIGTERM ended a training, after saving
├── LostPeerError        4   another process of the same training was lost
├── ClusterError         1   a host is not ready, or a worker was lost for good
├── BundleError          1   a bundle lacks something or is damaged
└── ContractError        3   an exported artifact does not answer as the model did

A message is one sentence or two: what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HornbeamError(Exception):
    """Base of all errors that a user can cause and mend."""

    exit_code = 1


class ConfigError(HornbeamError):
    """An option, a configuration file or a recipe is wrong."""

    exit_code = 2


class DataError(HornbeamError):
    """Pictures, labels or folders are not what they should be."""


class ResourceError(HornbeamError):
    """The system has no more files or memory to give, which is no fault of a picture."""


class ModelError(HornbeamError):
    """A network or its weights cannot be used."""


class RunError(HornbeamError):
    """A run directory lacks something or is damaged."""


class TrainingError(HornbeamError):
    """A training cannot go on."""


class InterruptionError(HornbeamError):
    """A signal ended a training, which is saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ClusterError(HornbeamError):
    """A host is not ready, or a worker was lost for good."""


class LostPeerError(HornbeamError):
    """Another process of the same training was lost, or did not come."""

    exit_code = 4


class BundleError(HornbeamError):
    """A bundle lacks something, is damaged, or needs what is not installed."""


class ContractError(HornbeamError):
    """An exported artifact does not answer as the model did."""

    exit_code = 3


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the choice nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word.lower(), list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def listing(names: Iterable[str], limit: int = 5) -> str:
    """Join names for a sentence: `'a', 'b' and 3 more`."""
    quoted = [f"'{name}'" for name in names]
    if len(quoted) > limit:
        return f"{', '.join(quoted[: limit - 1])} and {len(quoted) - limit + 1} more"
    return " and ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))
