"""Who computes with pixels: OpenCV, or where it is not installed, NumPy with what Pillow decodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbeam.data.pixels import pillow

__all__ = ["TOLERANCE", "engine"]

if TYPE_CHECKING:
    from hornbeam.data.pixels import engine_opencv as engine

    TOLERANCE: float
    """By how much a probability may differ because of who computes: OpenCV is what training uses."""
else:
    try:
        from hornbeam.data.pixels import engine_opencv as engine

        TOLERANCE = 0.0
    except ModuleNotFoundError as error:
        # One that is there and broken is told: other pixels unasked are worse than none.
        if error.name != "cv2":
            raise
        if not pillow.AVAILABLE:
            raise ImportError(
                "Pictures are decoded by OpenCV or Pillow; pip install opencv-python-headless, or "
                "pillow."
            ) from None
        from hornbeam.data.pixels import engine_numpy as engine

        TOLERANCE = 0.05
