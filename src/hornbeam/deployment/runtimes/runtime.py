"""What all runtimes have in common, and which one opens which format."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import FEATURES, IMAGE, Artifact, Tensor
from hornbeam.deployment.runtimes.quiet import quiet
from hornbeam.errors import BundleError, HornbeamError

Answers = dict[str, NDArray[np.float32]]
"""By output (tasks, and `unknown`), float32 `[batch, …]`."""


class RuntimeMissingError(BundleError):
    """A runtime is not installed."""


class Runtime(abc.ABC):
    """An artifact that can be asked. One thread at a time may ask it."""

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    @abc.abstractmethod
    def run(self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None) -> Answers:
        """Return the answers to a batch, in arrays of their own.

        Args:
            image: uint8 `[batch, height, width, channels]`; any batch: what the artifact cannot take
                at once is asked in parts.
            features: numbers beside the pictures, float32 `[batch, columns]`.
        """

    def close(self) -> None:
        """Give up what it holds; it is not asked any more."""
        self.__dict__.clear()

    def inputs_of(
        self, image: NDArray[np.uint8], features: NDArray[np.float32] | None
    ) -> dict[str, NDArray[Any]]:
        """Return what the artifact is given, by the names of its file."""
        given: dict[str, NDArray[Any]] = {IMAGE: image}
        if features is not None:
            given[FEATURES] = features
        inputs = self.artifact.inputs
        return {tensor.name: quantised(given[name], tensor) for name, tensor in inputs.items()}


class _Opener(NamedTuple):
    module: str
    name: str
    needs: str
    calls: str


_LITERT = _Opener("litert", "LiteRTRuntime", "LiteRT (pip install ai-edge-litert)", "LiteRT")
_ONNX = _Opener("onnx", "OnnxRuntime", "ONNX Runtime (pip install onnxruntime)", "ONNX Runtime")
_KERAS = _Opener(
    "keras", "KerasRuntime", "Keras and a backend (pip install 'hornbeam[cpu]')", "Keras"
)

_OPENERS: Mapping[str, _Opener] = {
    "keras": _KERAS,
    "h5": _KERAS,
    "savedmodel": _Opener(
        "savedmodel", "SavedModelRuntime", "TensorFlow (pip install tensorflow-cpu)", "TensorFlow"
    ),
    "litert": _LITERT,
    "litert-f16": _LITERT,
    "litert-dynamic": _LITERT,
    "litert-int8": _LITERT,
    "edgetpu": _Opener("edgetpu", "EdgeTpuRuntime", _LITERT.needs, "the Edge TPU runtime"),
    "onnx": _ONNX,
    "onnx-int8": _ONNX,
    "openvino": _Opener(
        "openvino", "OpenVinoRuntime", "OpenVINO (pip install openvino)", "OpenVINO"
    ),
}
"""By format: module, class, what must be installed, what people call it."""


def open_runtime(
    directory: Path, artifact: Artifact, threads: int, *, trust: bool = False
) -> Runtime:
    """Open an artifact.

    Args:
        directory: the bundle.
        artifact: of its manifest.
        threads: that one call may use, at least 1.
        trust: open files that can hold code, too.

    Raises:
        BundleError: the runtime is not installed, cannot open the file, or would run its code.
    """
    opener = _OPENERS[artifact.format]
    path = directory / artifact.file
    if not path.exists():
        raise BundleError(f"{path} is missing; get the bundle anew.")
    if artifact.format == "savedmodel" and not trust:
        raise BundleError(
            f"{path} is a SavedModel, which can hold code that would run here; pass --trust "
            "(trust=True) if it is your own, or use another format."
        )
    try:
        with quiet():
            module = importlib.import_module(f"hornbeam.deployment.runtimes.{opener.module}")
            opened = getattr(module, opener.name)(path, artifact, threads, trust)
    except ImportError as error:
        raise RuntimeMissingError(
            f"{path} needs {opener.needs}, which cannot be imported ({error})."
        ) from None
    except BundleError:
        raise
    except HornbeamError as error:
        raise BundleError(str(error)) from None
    except Exception as error:  # each library has its own kinds
        raise BundleError(
            f"{path} cannot be opened by {opener.calls} ({first_line(error)}); get the bundle anew."
        ) from None
    assert isinstance(opened, Runtime)
    return opened


def quantised(values: NDArray[Any], tensor: Tensor) -> NDArray[Any]:
    """Return numbers as an artifact stores them; those it takes as they are, uncopied."""
    if tensor.scale is None:
        return np.asarray(values, tensor.dtype)
    assert tensor.zero_point is not None
    if values.dtype == np.uint8 and tensor.scale == 1:
        if tensor.dtype == "uint8" and tensor.zero_point == 0:
            return values
        if tensor.dtype == "int8" and tensor.zero_point == -128:
            return (values ^ np.uint8(128)).view(np.int8)
    kind = np.iinfo(tensor.dtype)
    stored = np.rint(values.astype(np.float32) / np.float32(tensor.scale)) + tensor.zero_point
    result: NDArray[Any] = np.clip(stored, kind.min, kind.max).astype(tensor.dtype)
    return result


def dequantised(stored: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
    """Return what numbers of an artifact mean, float32."""
    if tensor.scale is None:
        return np.asarray(stored, np.float32)
    assert tensor.zero_point is not None
    return ((stored.astype(np.int32) - tensor.zero_point) * tensor.scale).astype(np.float32)


def first_line(error: Exception) -> str:
    """Return an error of a library in a few words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(".")
