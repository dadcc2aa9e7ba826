"""Hornbeam: from folders of pictures to a trained, checked, deployable classifier, on Keras 3.

    run = hornbeam.train("photos/", epochs=10)
    hornbeam.predict(run.path, images=["new.jpg"])

The functions take the options of the command line, as `config/` lists them.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "hornbeam.data.dataset",
    "HornbeamError": "hornbeam.errors",
    "Loader": "hornbeam.data.loader",
    "Run": "hornbeam.runs",
    "Task": "hornbeam.data.dataset",
    "build_classifier": "hornbeam.models.classifier",
}

__all__ = [*_HOMES, "evaluate", "export", "predict", "train"]


def train(data: Any, **options: Any) -> Any:
    """Train a classifier on a folder of pictures; return its `Run`. See `config.TrainOptions`."""
    from hornbeam import config, workflow

    return workflow.train(config.TrainOptions(data=data, **options))


def evaluate(run: Any, data: Any = None, **options: Any) -> Any:
    """Return the `Scores` of a run, one a task. See `config.EvaluateOptions`."""
    from hornbeam import config, workflow

    return workflow.evaluate(config.EvaluateOptions(run=run, data=data, **options))


def predict(run: Any, images: Any, **options: Any) -> Any:
    """Return the `Predictions` of a run for some pictures. See `config.PredictOptions`."""
    from hornbeam import config, workflow

    return workflow.predict(config.PredictOptions(run=run, images=images, **options))


def export(run: Any, out: Any, **options: Any) -> Any:
    """Write artifacts; return by format how far their answers differ. See `config.ExportOptions`."""
    from hornbeam import config, workflow

    return workflow.export(config.ExportOptions(run=run, out=out, **options))


def __getattr__(name: str) -> Any:
    # Loaded at the first use: `import hornbeam` takes milliseconds, and `hornbeam --help` with it.
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hornbeam' has no attribute '{name}'")
