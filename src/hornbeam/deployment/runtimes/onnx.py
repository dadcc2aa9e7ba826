"""ONNX Runtime: `.onnx` files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import Artifact
from hornbeam.deployment.runtimes.runtime import Answers, Runtime, dequantised

_ONLY_ERRORS = 3


class OnnxRuntime(Runtime):
    """An `.onnx` file, of any batch."""

    def __init__(self, path: Path, artifact: Artifact, threads: int, trust: bool) -> None:
        super().__init__(artifact)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _ONLY_ERRORS
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._batch = next(iter(artifact.inputs.values())).shape[0]

    def run(self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None) -> Answers:
        """See `Runtime.run`."""
        inputs = self.inputs_of(image, features)
        tensors = self.artifact.outputs
        names = [tensor.name for tensor in tensors.values()]
        size = self._batch or len(image)
        parts = [
            self._session.run(names, {n: v[at : at + size] for n, v in inputs.items()})
            for at in range(0, len(image), size)
        ]
        return {
            name: dequantised(np.concatenate(part) if len(part) > 1 else part[0], tensors[name])
            for name, part in zip(tensors, zip(*parts, strict=True), strict=True)
        }
