"""OpenVINO files, from the ONNX file: from Keras' own exporter EfficientNet ran 3.5 times slower."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.deployment.conversion.job import Converted, Job
from hornbeam.deployment.conversion.onnx import write_onnx

if TYPE_CHECKING:
    import keras


def convert(model: keras.Model, job: Job, path: Path) -> Converted:
    """Write `.xml` and `.bin` in float32."""
    import dataclasses

    import openvino

    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder, "model.onnx")
        made = write_onnx(model, job, between)
        openvino.save_model(openvino.convert_model(between), path, compress_to_fp16=False)
    return dataclasses.replace(made, format="openvino", file=path.name)
