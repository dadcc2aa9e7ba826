"""The model leaves: artifacts that answer as it did.

    from hornbeam.deployment import Predictor

    for answer in Predictor("clothing.zip").predict(["new.jpg"]):
        print(answer.best("label"))

What asks a bundle (`bundle`, `runtimes`, `predicting`, `server`) needs neither Keras nor TensorFlow
nor pyarrow.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Answer", "Predictor"]


def __getattr__(name: str) -> Any:
    # Loaded at the first use: the process that exports needs nothing of it.
    if name in __all__:
        from hornbeam.deployment.predicting import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'hornbeam.deployment' has no attribute '{name}'")
