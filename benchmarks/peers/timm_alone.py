"""timm, imported also where no torchvision is beside the torch. Run by a Python that has both."""

from __future__ import annotations

import sys
from unittest import mock

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    # timm imports it to read data, which is not done by it here.
    for name in (
        "",
        ".transforms",
        ".transforms.functional",
        ".ops",
        ".ops.misc",
        ".models",
        ".datasets",
    ):
        sys.modules[f"torchvision{name}"] = mock.MagicMock()

import timm

__all__ = ["timm"]
