"""Each command as one function, read from top to bottom: from the pictures to the result.

They are imported when they are asked for: what asks a bundle needs neither Keras nor pyarrow.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "benchmark": "benchmarking",
    "check": "pictures",
    "check_hosts": "clusters",
    "compare": "comparing",
    "draw_sample": "pictures",
    "evaluate": "judging",
    "export": "exporting",
    "find_learning_rate": "rates",
    "inspect": "models",
    "list_models": "models",
    "predict": "predicting",
    "prepare": "pictures",
    "preview_augmentation": "pictures",
    "report": "reporting",
    "review_labels": "labels",
    "search": "searching",
    "send_data": "clusters",
    "serve": "serving",
    "show_schedule": "rates",
    "split": "pictures",
    "train": "training",
    "watch": "judging",
    "submit_to_slurm": "scheduling",
    "submit_search_to_slurm": "scheduling",
    "write_manifest": "scheduling",
    "bring_cluster_up": "ray_clusters",
    "show_clusters": "ray_clusters",
    "take_cluster_down": "ray_clusters",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"hornbeam.workflow.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'hornbeam.workflow' has no attribute '{name}'")
