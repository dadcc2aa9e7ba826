"""How training pictures are varied. What a picture becomes depends on its generator alone.

All is drawn before the picture is decoded, so that it can be decoded no larger than needed. All
geometry is one step: a crop that is resized, or, where something turns, one warp.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.config import PipelineOptions
from hornbeam.data.pixels.colour import ColourChange
from hornbeam.data.pixels.images import Pixels, shrink
from hornbeam.data.pixels.mixing import Mixing
from hornbeam.data.pixels.randaugment import Operation, affine_of, draw_operations, recolour
from hornbeam.data.pixels.resize import (
    SHRUNK_ON_GRID,
    Box,
    ResizeMode,
    on_grid,
    random_box,
    reduction_for,
    target_box,
    whole_box,
)
from hornbeam.data.pixels.view import fit, scale_of_box
from hornbeam.data.pixels.warp import scale_of, warp

Matrix = NDArray[np.float64]

_UNCHANGED = ColourChange()
_UNMIXED = Mixing()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is done to one picture, drawn and ready.

    Attributes:
        size: (height, width) of the result.
        mode: how its shape is reached.
        box: the part of the picture that is shown, in full-scale pixels.
        reduction: the scale to decode it at, see `images.decode`.
        matrix: 3x3, from (x, y, 1) on the result to full-scale pixels of the picture (both counted
            from the corner of the first pixel); `None` where nothing turns.
        mirrored: left and right change places.
        upended: top and bottom do.
        colour: what happens to the colours.
        operations: RandAugment's.
    """

    size: tuple[int, int]
    mode: ResizeMode
    box: Box
    reduction: int = 1
    matrix: Matrix | None = None
    mirrored: bool = False
    upended: bool = False
    colour: ColourChange = _UNCHANGED
    operations: tuple[Operation, ...] = ()

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the varied picture, uint8 `[*size, channels]`.

        Args:
            pixels: decoded at `reduction`.
        """
        if self.matrix is not None:
            result = self._warp(pixels)
        else:
            result = fit(pixels, self.box, self.reduction, self.size, self.mode)
        if self.mirrored:
            result = result[:, ::-1]
        if self.upended:
            result = result[::-1]
        return recolour(self.colour(np.ascontiguousarray(result)), self.operations)

    def _warp(self, pixels: Pixels) -> Pixels:
        assert self.matrix is not None
        matrix = np.diag([1 / self.reduction, 1 / self.reduction, 1]) @ self.matrix
        if self.mode != "pad":
            return warp(pixels, matrix, self.size, reflect=True)
        # The bars turn with the picture: nothing outside the box is shown.
        box = Box(*(round(edge / self.reduction) for edge in self.box))
        matrix[:2, 2] -= box.left, box.top
        inside = pixels[box.top : box.bottom, box.left : box.right]
        return warp(inside, matrix, self.size, reflect=False)


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Ranges that a variation is drawn from.

    Attributes:
        area: smallest and largest share of the picture's area that is cut out (random resized
            crop, Szegedy et al. 2015); `None` cuts the centre.
        aspect: the crop's aspect ratio is stretched by up to this factor either way.
        flip: probability of mirroring left and right.
        vertical_flip: probability of mirroring top and bottom.
        rotation: largest turn either way, in degrees.
        zoom: largest relative change of size either way.
        shift: largest move either way, as a share of the side.
        brightness: largest change, as a share of the full range.
        contrast: largest relative change of the distance from the mean.
        saturation: largest relative change of the distance from grey.
        hue: largest turn of the colour circle either way, in degrees.
        randaugment: number of RandAugment's operations on each picture.
        magnitude: of those, 0 to 10.
        mixing: what is done to whole batches, on the device.
    """

    area: tuple[float, float] | None = None
    aspect: float = 1.0
    flip: float = 0.0
    vertical_flip: float = 0.0
    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    randaugment: int = 0
    magnitude: float = 0.0
    mixing: Mixing = _UNMIXED

    @classmethod
    def from_options(cls, options: PipelineOptions) -> Augmentation:
        """Return the named set that the options ask for, with their single values over its own."""
        named = AUGMENTATIONS[options.augment]
        single: dict[str, Any] = {
            name: getattr(options, name)
            for name in ("flip", "vertical_flip", "rotation", "zoom", "shift", "brightness",
                         "contrast", "saturation", "hue", "randaugment")
        }  # fmt: skip
        single["magnitude"] = options.randaugment_magnitude
        if options.crop_area is not None:
            single["area"] = (options.crop_area, 1.0)
        if options.randaugment and options.randaugment_magnitude is None and not named.magnitude:
            single["magnitude"] = AUGMENTATIONS["strong"].magnitude
        mixing = {name: getattr(options, name) for name in ("mixup", "cutmix", "erasing")}
        return dataclasses.replace(
            named, **_given(single), mixing=dataclasses.replace(named.mixing, **_given(mixing))
        )

    def __call__(
        self,
        pixels: Pixels,
        size: tuple[int, int],
        rng: np.random.Generator,
        mode: ResizeMode = "crop",
    ) -> Pixels:
        """Vary a whole picture and bring it to `size`: uint8 `[*size, channels]`."""
        plan = self.plan(pixels.shape[0], pixels.shape[1], size, rng, mode)
        return plan.apply(shrink(pixels, plan.reduction))

    def plan(
        self,
        height: int,
        width: int,
        size: tuple[int, int],
        rng: np.random.Generator,
        mode: ResizeMode = "crop",
    ) -> Plan:
        """Draw what happens to a picture.

        Args:
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            size: (height, width) of the result.
            rng: the source of randomness.
            mode: how the picture gets the shape of the result.
        """
        box = whole_box(height, width, size, mode)
        # The order of draws is part of what a seed means: new ones go to the end.
        if self.area:
            box = random_box(height, width, size, self.area, self.aspect, rng, mode)
        mirrored = bool(self.flip) and rng.random() < self.flip
        colours = (0.0, 0.0, 0.0)
        if self.brightness or self.contrast or self.saturation:
            drawn = rng.uniform(-1, 1, 3) * (self.brightness, self.contrast, self.saturation)
            colours = (float(drawn[0]), float(drawn[1]), float(drawn[2]))
        upended = bool(self.vertical_flip) and rng.random() < self.vertical_flip
        hue = float(rng.uniform(-self.hue, self.hue)) if self.hue else 0.0
        moves: Matrix | None = None
        operations: tuple[Operation, ...] = ()
        if self.rotation or self.zoom or self.shift or self.randaugment:
            moves, operations = self._draw_moves(size, rng)

        target = target_box(box, size, mode)
        matrix = None
        if moves is not None:
            matrix = _placement(box, target) @ _centred(moves, size)
            reduction = reduction_for(scale_of(matrix))
        else:
            scale = scale_of_box(box, size, mode)
            if self.area:
                reduction = reduction_for(scale, SHRUNK_ON_GRID)
                box = on_grid(box, height, width, reduction)
            else:
                reduction = reduction_for(scale)
        return Plan(
            size, mode, box, reduction, matrix, mirrored, upended,
            ColourChange(*colours, hue), operations,
        )  # fmt: skip

    def _draw_moves(
        self, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[Matrix | None, tuple[Operation, ...]]:
        """Draw turn, zoom, shift and RandAugment.

        Returns:
            A matrix from places to what they show, from the middle, `None` where nothing moves; and
            RandAugment's operations.
        """
        moves = np.eye(3)
        if self.rotation or self.zoom or self.shift:
            turn, zoom, down, right = rng.uniform(-1, 1, 4)
            angle, grown = np.radians(turn * self.rotation), 1 + zoom * self.zoom
            cos, sin = np.cos(angle) / grown, np.sin(angle) / grown
            moves[:2, :2] = [[cos, -sin], [sin, cos]]
            moves[:2, 2] = right * self.shift * size[1], down * self.shift * size[0]
        operations: tuple[Operation, ...] = ()
        if self.randaugment:
            operations = draw_operations(self.randaugment, self.magnitude, rng)
            for operation in operations:
                moves = affine_of(operation, size) @ moves
        return (None if np.array_equal(moves, np.eye(3)) else moves), operations


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "light": Augmentation(area=(0.6, 1.0), aspect=1.15, flip=0.5),
    "standard": Augmentation(
        area=(0.35, 1.0), aspect=4 / 3, flip=0.5, brightness=0.15, contrast=0.2, saturation=0.2
    ),
    # For long trainings of large networks. RandAugment turns and recolours already, so that the rest
    # is gentler than in `standard`; looked at with `hornbeam augment-preview` on photographs.
    "strong": Augmentation(
        area=(0.2, 1.0), aspect=4 / 3, flip=0.5, rotation=10, hue=10,
        brightness=0.1, contrast=0.1, saturation=0.2, randaugment=2, magnitude=5,
        mixing=Mixing(mixup=0.2, cutmix=1.0, erasing=0.25),
    ),
}  # fmt: skip


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _placement(box: Box, target: Box) -> Matrix:
    """Return the matrix from the result to the picture that shows `box` at `target`."""
    across, down = box.width / target.width, box.height / target.height
    return np.array(
        [
            [across, 0, box.left - across * target.left],
            [0, down, box.top - down * target.top],
            [0, 0, 1],
        ]
    )


def _centred(moves: Matrix, size: tuple[int, int]) -> Matrix:
    """Return moves about the middle of the result as moves about its corner."""
    to_middle = np.array([[1, 0, -size[1] / 2], [0, 1, -size[0] / 2], [0, 0, 1.0]])
    back = np.array([[1, 0, size[1] / 2], [0, 1, size[0] / 2], [0, 0, 1.0]])
    return np.asarray(back @ moves @ to_middle)
