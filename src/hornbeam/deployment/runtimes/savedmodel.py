"""TensorFlow's SavedModel: a folder that is code as well as weights."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from hornbeam.deployment.bundle.manifest import Artifact
from hornbeam.deployment.runtimes.runtime import Answers, Runtime, dequantised


class SavedModelRuntime(Runtime):
    """A SavedModel, by its default signature. Only what is trusted comes here.

    `threads` has no effect: TensorFlow takes its own when it starts, from `TF_NUM_INTRAOP_THREADS`.
    """

    def __init__(self, path: Path, artifact: Artifact, threads: int, trust: bool) -> None:
        super().__init__(artifact)
        self._loaded = tf.saved_model.load(str(path))
        self._signature = self._loaded.signatures["serving_default"]

    def run(self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None) -> Answers:
        """See `Runtime.run`."""
        inputs = self.inputs_of(image, features)
        found = self._signature(**{name: tf.constant(values) for name, values in inputs.items()})
        return {
            name: dequantised(found[tensor.name].numpy(), tensor)
            for name, tensor in self.artifact.outputs.items()
        }
