"""Keras itself: `.keras` and `.h5` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend
from hornbeam.deployment.bundle.manifest import FEATURES, IMAGE, Artifact
from hornbeam.deployment.runtimes.quiet import expect_many_networks
from hornbeam.deployment.runtimes.runtime import Answers, Runtime


class KerasRuntime(Runtime):
    """A file of Keras, looked through and loaded in safe mode, unless it is trusted.

    `threads` has no effect: TensorFlow and JAX take theirs when they start, from the environment
    (`TF_NUM_INTRAOP_THREADS`), and never change them.
    """

    def __init__(self, path: Path, artifact: Artifact, threads: int, trust: bool) -> None:
        super().__init__(artifact)
        backend.select_backend("auto")
        expect_many_networks()
        from hornbeam.models.untrusted.loading import load_model

        self._model = load_model(path, trust=trust)

    def run(self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None) -> Answers:
        """See `Runtime.run`."""
        from hornbeam.deployment.answering import named_outputs

        inputs = image if features is None else {IMAGE: image, FEATURES: features}
        return named_outputs(self._model.predict_on_batch(inputs), self.artifact.outputs)
