"""How training pictures are varied. What a picture becomes depends on its generator alone."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from hornbeam.data.images import Box, Pixels, central_box, resize_box


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges that a variation is drawn from.

    Attributes:
        area: smallest and largest share of the picture's area that is cut out (random resized
            crop, Szegedy et al. 2015); `None` cuts the centre.
        aspect: the crop's aspect ratio is stretched by up to this factor either way.
        flip: probability of mirroring left and right.
        brightness: largest change, as a share of the full range.
        contrast: largest relative change of the distance from the mean.
        saturation: largest relative change of the distance from grey.
    """

    area: tuple[float, float] | None = None
    aspect: float = 1.0
    flip: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __call__(self, pixels: Pixels, size: tuple[int, int], rng: np.random.Generator) -> Pixels:
        """Vary a picture and bring it to `size`: uint8 `[height, width, 3]` → `[*size, 3]`."""
        box = central_box(pixels.shape[0], pixels.shape[1], size)
        if self.area:
            box = random_box(pixels.shape[0], pixels.shape[1], size, self.area, self.aspect, rng)
        result = resize_box(pixels, box, size)
        if self.flip and rng.random() < self.flip:
            result = np.ascontiguousarray(result[:, ::-1])
        if self.brightness or self.contrast or self.saturation:
            result = self._vary_colour(result, rng)
        return result

    def _vary_colour(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        brightness, contrast, saturation = rng.uniform(-1, 1, 3) * (
            self.brightness, self.contrast, self.saturation,
        )  # fmt: skip
        if self.saturation:
            grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            pixels = cv2.addWeighted(pixels, 1 + saturation, grey, -saturation, 0)  # type: ignore[assignment]
        values = np.arange(256, dtype=np.float64)
        mean = float(pixels.mean())
        values = (values - mean) * (1 + contrast) + mean + 255 * brightness
        lookup = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(pixels, lookup), np.uint8)


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "light": Augmentation(area=(0.6, 1.0), aspect=1.15, flip=0.5),
    "standard": Augmentation(
        area=(0.35, 1.0), aspect=4 / 3, flip=0.5, brightness=0.15, contrast=0.2, saturation=0.2
    ),
    "strong": Augmentation(
        area=(0.1, 1.0), aspect=4 / 3, flip=0.5, brightness=0.3, contrast=0.4, saturation=0.4
    ),
}


def random_box(
    height: int,
    width: int,
    size: tuple[int, int],
    area: tuple[float, float],
    aspect: float,
    rng: np.random.Generator,
) -> Box:
    """Draw a rectangle for a random resized crop (Szegedy et al. 2015, arXiv:1409.4842).

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        size: (height, width) that the rectangle will be resized to; sets the mean aspect ratio.
        area: smallest and largest share of the area of the largest box of that ratio.
        aspect: factor, at least 1, by which the ratio may be stretched either way.
        rng: the source of randomness; draws the same number of values whatever the picture.
    """
    full = central_box(height, width, size)
    share = rng.uniform(*area)
    stretch = np.exp(rng.uniform(-np.log(aspect), np.log(aspect)) / 2)
    place_y, place_x = rng.random(2)
    box_height = min(height, max(1, round((full.bottom - full.top) * share**0.5 * stretch)))
    box_width = min(width, max(1, round((full.right - full.left) * share**0.5 / stretch)))
    top = round(float(place_y) * (height - box_height))
    left = round(float(place_x) * (width - box_width))
    return Box(left, top, left + box_width, top + box_height)
