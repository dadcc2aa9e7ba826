"""Changes of brightness, contrast, colourfulness and hue by amounts that were drawn before."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels.images import Pixels

_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)
"""NTSC's luma and two axes of colour, of which grey has none."""


class ColourChange(NamedTuple):
    """What is done to the colours of one picture.

    Attributes:
        brightness: added, as a share of the full range.
        contrast: relative change of the distance from the mean.
        saturation: relative change of the distance from grey.
        hue: turn of the colour circle, in degrees.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __call__(self, pixels: Pixels) -> Pixels:
        """Change the colours of uint8 `[height, width, 1, 3 or 4]`; alpha stays as it is."""
        if not any(self):
            return pixels
        if pixels.shape[2] == 4:
            return np.dstack([self(np.ascontiguousarray(pixels[..., :3])), pixels[..., 3:]])
        if pixels.shape[2] == 3:
            if self.hue:
                pixels = np.asarray(cv2.transform(pixels, hue_matrix(self.hue)), np.uint8)
            if self.saturation:
                grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
                more = 1 + self.saturation
                pixels = np.asarray(cv2.addWeighted(pixels, more, grey, 1 - more, 0), np.uint8)
        if not (self.brightness or self.contrast):
            return pixels
        values = np.arange(256, dtype=np.float64)
        mean = float(pixels.mean())
        values = (values - mean) * (1 + self.contrast) + mean + 255 * self.brightness
        lookup = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(pixels, lookup), np.uint8).reshape(pixels.shape)


def hue_matrix(degrees: float) -> NDArray[np.float64]:
    """Return the 3x3 matrix that turns RGB colours about the axis of greys and keeps their luma.

    P. Haeberli, "Matrix operations for image processing", 1993. Of HSV, which others turn, a hue
    takes whole steps of two degrees and a brighter or darker picture.
    """
    angle = np.radians(degrees)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    return np.asarray(np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ)
