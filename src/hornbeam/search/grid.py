"""What a grid does beside trying all: each value may begin with the weights of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from hornbeam.search.trial import Paths

if TYPE_CHECKING:
    import optuna

    from hornbeam.search.study import Plan


def warm_start(plan: Plan, earlier: Sequence[optuna.trial.FrozenTrial]) -> dict[str, Any]:
    """Return the options that let a trial begin with the best weights of the one before.

    What has another shape there keeps its first values. What is frozen and the learning rate stay those
    of the first trial: `train` would otherwise take the weights for ones from elsewhere.

    Args:
        plan: of the search.
        earlier: all trials before this one; those that failed are passed over.
    """
    for trial in reversed(earlier):
        paths = Paths(plan.directory, trial.number)
        if trial.state.name == "COMPLETE" and paths.model.is_file():
            config = yaml.safe_load((paths.run / "config.yaml").read_text(encoding="utf-8"))
            kept = {name: config[name] for name in ("freeze", "learning_rate")}
            return {
                "weights": str(paths.model.absolute()), "restore_partial": True,
                "restore_map": None, "restore_exclude": [], **kept,
            }  # fmt: skip
    return {}
