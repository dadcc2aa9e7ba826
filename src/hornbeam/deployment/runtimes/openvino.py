"""OpenVINO on the CPU: `.xml` files with the `.bin` beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import Artifact
from hornbeam.deployment.runtimes.runtime import Answers, Runtime, dequantised


class OpenVinoRuntime(Runtime):
    """An OpenVINO model, of any batch, in float32: its default on newer CPUs is bfloat16."""

    def __init__(self, path: Path, artifact: Artifact, threads: int, trust: bool) -> None:
        super().__init__(artifact)
        core = openvino.Core()
        self._compiled = core.compile_model(
            core.read_model(str(path)),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._request = self._compiled.create_infer_request()

    def run(self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None) -> Answers:
        """See `Runtime.run`."""
        # share_inputs reads our arrays where they are; results are copied out of the request.
        found = self._request.infer(self.inputs_of(image, features), share_inputs=True)
        return {
            name: dequantised(found[tensor.name].copy(), tensor)
            for name, tensor in self.artifact.outputs.items()
        }
