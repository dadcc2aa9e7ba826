"""TensorFlow's SavedModel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.deployment.bundle.manifest import Tensor
from hornbeam.deployment.conversion.graph import answer_names, input_specs, traced
from hornbeam.deployment.conversion.job import Converted, Job

if TYPE_CHECKING:
    import keras


def convert(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write a SavedModel whose signature `serving_default` takes any batch."""
    import tensorflow as tf

    module = tf.Module()
    module.variables_of_the_model = [variable.value for variable in model.variables]
    tf.saved_model.save(module, str(path), signatures=traced(model, job.outputs, batch=None))
    called = answer_names(job.outputs)
    return Converted(
        "savedmodel", path.name,
        {n: Tensor(n, s.dtype.name, tuple(s.shape)) for n, s in input_specs(model, None).items()},
        {n: Tensor(c, "float32", (None, *model.output[n].shape[1:])) for n, c in called.items()},
    )  # fmt: skip
