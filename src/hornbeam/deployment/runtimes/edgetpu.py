"""The Edge TPU: `.tflite` files that its compiler has made, by LiteRT's delegate."""

from __future__ import annotations

import ctypes
import platform
from typing import Any

from ai_edge_litert.interpreter import load_delegate

from hornbeam.deployment.runtimes.litert import LiteRTRuntime
from hornbeam.errors import BundleError

_LIBRARIES = {"Darwin": "libedgetpu.1.dylib", "Windows": "edgetpu.dll"}


class EdgeTpuRuntime(LiteRTRuntime):
    """A file for the Edge TPU, whose shapes are fixed: one picture at a time."""

    _resizable = False

    def _options(self) -> dict[str, Any]:
        library = _LIBRARIES.get(platform.system(), "libedgetpu.so.1")
        try:
            ctypes.CDLL(library)  # LiteRT's own attempt fails a second time, when it is collected
            return {"experimental_delegates": [load_delegate(library)]}
        except (OSError, ValueError) as error:
            raise BundleError(
                f"{self._path} needs an Edge TPU and its runtime {library}, which cannot be loaded "
                f"({' '.join(str(error).split()) or 'no device was found'}); use litert-int8 elsewhere."
            ) from None
