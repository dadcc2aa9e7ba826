"""RandAugment: a few operations, drawn from fourteen, all of one magnitude.

E. Cubuk, B. Zoph, J. Shlens, Q. Le, "RandAugment", 2019, arXiv:1909.13719; operations and ranges are
those of AutoAugment (arXiv:1805.09501, table 6). Its five geometric operations are matrices here,
which join the one warp of a picture; so they come before those of colour, in whatever order they
were drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from hornbeam.data.pixels.images import Pixels

OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "colour", "posterize",
    "contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y",
)  # fmt: skip

# What magnitude 10 means.
_SHEAR = 0.3
_TRANSLATE = 150 / 331
"""Share of the side."""
_DEGREES = 30.0
_ENHANCE = 0.9
_BITS = 4

_ENHANCERS = {
    "colour": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}


class Operation(NamedTuple):
    """One drawn operation.

    Attributes:
        name: one of `OPERATIONS`.
        amount: share of its full range, from -1 to 1; some know no negative ones.
    """

    name: str
    amount: float


def draw_operations(
    count: int, magnitude: float, rng: np.random.Generator
) -> tuple[Operation, ...]:
    """Draw operations, each as likely as any, in either direction.

    Args:
        count: how many; one may come several times.
        magnitude: of all of them, 0 to 10.
        rng: the source of randomness.
    """
    names = rng.integers(0, len(OPERATIONS), count)
    signs = np.where(rng.random(count) < 0.5, -1, 1)
    return tuple(
        Operation(OPERATIONS[name], float(sign) * magnitude / 10)
        for name, sign in zip(names, signs, strict=True)
    )


def affine_of(operation: Operation, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the 3x3 matrix of an operation from places on its result to places it shows there.

    Coordinates are (x, y, 1) in pixels from the middle of a picture of `size`; operations of colour
    move nothing.
    """
    matrix = np.eye(3)
    name, amount = operation
    if name == "rotate":
        angle = np.radians(amount * _DEGREES)
        matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    elif name == "shear_x":
        matrix[0, 1] = amount * _SHEAR
    elif name == "shear_y":
        matrix[1, 0] = amount * _SHEAR
    elif name == "translate_x":
        matrix[0, 2] = amount * _TRANSLATE * size[1]
    elif name == "translate_y":
        matrix[1, 2] = amount * _TRANSLATE * size[0]
    return matrix


def recolour(pixels: Pixels, operations: tuple[Operation, ...]) -> Pixels:
    """Apply those of the operations that change colours, in their order.

    Args:
        pixels: uint8 `[height, width, 1, 3 or 4]`; alpha stays as it is.
        operations: geometric ones are passed over.
    """
    colours = [o for o in operations if o.name in _ENHANCERS or o.name in _TABLES]
    if not colours:
        return pixels
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., :3])
    for operation in colours:
        picture = _recolour(picture, operation)
    result = np.asarray(picture).reshape(*pixels.shape[:2], -1)
    return np.dstack([result, pixels[..., 3:]]) if pixels.shape[2] == 4 else result


_TABLES = ("autocontrast", "equalize", "solarize", "posterize")


def _recolour(picture: Image.Image, operation: Operation) -> Image.Image:
    name, amount = operation
    if name in _ENHANCERS:
        return _ENHANCERS[name](picture).enhance(1 + amount * _ENHANCE)
    if name == "autocontrast":
        return ImageOps.autocontrast(picture)
    if name == "equalize":
        return ImageOps.equalize(picture)
    if name == "solarize":
        return ImageOps.solarize(picture, round(256 * (1 - abs(amount))))
    return ImageOps.posterize(picture, 8 - round(_BITS * abs(amount)))
