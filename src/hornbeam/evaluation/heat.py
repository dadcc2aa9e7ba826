"""How much each place of a picture speaks for a class (Grad-CAM, Selvaraju et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.models.feature_map import FeatureMap, last_feature_map

if TYPE_CHECKING:
    import keras


def heat_by_batches(
    model: keras.Model, task: str, inputs: Any, of: NDArray[np.int64], batch_size: int
) -> NDArray[np.float32] | str:
    """Return the heat of some classes in some pictures; why there is none, where there is none."""
    try:
        cut = last_feature_map(model, task)
        if isinstance(cut, str):
            return cut
        parts = []
        for start in range(0, len(of), batch_size):
            rows = np.arange(start, min(start + batch_size, len(of)))
            heat = heat_of(cut, rows_of(inputs, rows), of[rows])
            if heat is None:
                return "Gradients are taken on TensorFlow and JAX only."
            parts.append(heat)
        return np.concatenate(parts)
    except Exception as error:  # a user's network may be anything, and is trained and judged by now
        return f"The network could not be looked into ({' '.join(str(error).split())[:200]})."


def heat_of(cut: FeatureMap, inputs: Any, of: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """Return how much each place speaks for a class: float32 `[pictures, rows, columns]`, 0 to 1.

    Args:
        cut: the classifier.
        inputs: what it takes.
        of: index of the class, `[pictures]`.

    Returns:
        The heat, of each picture 1 at most, and 0 everywhere where nothing speaks for the class; `None`
        where a gradient is needed and the backend has none here.
    """
    import keras

    features = cut.front(inputs)
    if cut.weights is not None:
        alpha = cut.weights[:, of].T
    else:
        gradients = _gradients(cut, features, inputs, of)
        if gradients is None:
            return None
        alpha = gradients.mean(axis=(1, 2))
    values = np.asarray(keras.ops.convert_to_numpy(features), np.float32)
    heat = np.maximum(np.einsum("nhwc,nc->nhw", values, alpha), 0)
    top = heat.max(axis=(1, 2), keepdims=True)
    result: NDArray[np.float32] = np.where(top > 0, heat / np.where(top > 0, top, 1), 0)
    return result


def _gradients(
    cut: FeatureMap, features: Any, inputs: Any, of: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """Return the gradients of the classes' logits by the map."""
    import keras

    marks = np.eye(int(of.max()) + 1, dtype=np.float32)[of]

    def total(values: Any) -> Any:
        logits = keras.ops.cast(cut.back(values, inputs), "float32")
        return keras.ops.sum(logits[:, : marks.shape[1]] * marks)

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(features)
            result = total(features)
        return np.asarray(tape.gradient(result, features), np.float32)
    if keras.config.backend() == "jax":
        import jax

        return np.asarray(jax.grad(total)(features), np.float32)
    return None


def rows_of(inputs: Any, rows: NDArray[np.int64]) -> Any:
    """Return what a classifier takes of some pictures."""
    if isinstance(inputs, dict):
        return {name: values[rows] for name, values in inputs.items()}
    return inputs[rows]
