"""mixup, CutMix and random erasing: drawn here, as a few numbers a picture, and done on the device.

Each picture is mixed with its neighbour in the batch, slot 0 with 1, 2 with 3 and so on, so that
machines that load parts of a batch need nothing of each other.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels.images import Pixels
from hornbeam.data.pixels.resize import BAR

SHARE, PATCH, ERASED = 0, slice(1, 5), slice(5, 9)
"""Columns: the picture's own share in a blend; what is the neighbour's; what is erased. Rectangles
are top, left, bottom, right in pixels."""

COLUMNS = 9

_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = 0.3
"""Both as in Zhong et al., section 4.2."""

Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How pictures of a batch are mixed.

    With both mixup and CutMix, each picture gets one of them, by a fair coin.

    Attributes:
        mixup: alpha of the Beta distribution that a picture's share is drawn from (Zhang et al.
            2018, arXiv:1710.09412); 0 is off.
        cutmix: alpha of the share that stays when a rectangle of the neighbour covers the rest (Yun
            et al. 2019, arXiv:1905.04899); 0 is off.
        erasing: probability that a rectangle becomes grey (random erasing, Zhong et al. 2020,
            arXiv:1708.04896).
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.mixup or self.cutmix or self.erasing)

    def draw(self, size: tuple[int, int], rng: np.random.Generator) -> Floats:
        """Draw what happens to one picture: float32 `[COLUMNS]`."""
        result: Floats = neutral(1)[0]
        # All numbers are drawn whether they are used or not: switching one method off leaves the
        # others as they were.
        coin, erases = rng.random(2)
        places = rng.random(4)
        area = rng.uniform(*_ERASED_AREA)
        aspect = np.exp(rng.uniform(np.log(_ERASED_ASPECT), -np.log(_ERASED_ASPECT)))
        blend = float(rng.beta(self.mixup, self.mixup)) if self.mixup else 1.0
        keep = float(rng.beta(self.cutmix, self.cutmix)) if self.cutmix else 1.0
        if self.mixup and not (self.cutmix and coin < 0.5):
            result[SHARE] = blend
        elif self.cutmix:
            side = (1 - keep) ** 0.5
            # Cut off at the edges, as in the paper: places near them are not rarer.
            middle = places[:2] * size
            half = np.multiply(size, side) / 2
            low, high = np.rint(middle - half), np.rint(middle + half)
            result[PATCH] = np.clip([*low, *high], 0, [*size, *size])
        if erases < self.erasing:
            full = size[0] * size[1] * area
            extent = np.minimum(np.rint([(full * aspect) ** 0.5, (full / aspect) ** 0.5]), size)
            corner = np.floor(places[2:] * (np.array(size) - extent + 1))
            result[ERASED] = [*corner, *(corner + extent)]
        return result


def neutral(count: int) -> Floats:
    """Return the numbers that leave pictures as they are: float32 `[count, COLUMNS]`."""
    result = np.zeros((count, COLUMNS), np.float32)
    result[:, SHARE] = 1
    return result


def own_shares(mix: Floats, size: tuple[int, int]) -> Floats:
    """Return how much of each picture is its own, and so of its label: float32 `[batch]`.

    What is erased is nobody's and does not count (the label stays, as in the paper).
    """
    top, left, bottom, right = mix[:, PATCH].T
    patch = (bottom - top) * (right - left) / (size[0] * size[1])
    return np.asarray(mix[:, SHARE] * (1 - patch), np.float32)


def neighbours(count: int) -> NDArray[np.int64]:
    """Return the slot that each slot is mixed with; an odd last one has itself."""
    return np.asarray(np.minimum(np.arange(count) ^ 1, count - 1), np.int64)


def mix_targets(targets: Floats, shares: Floats) -> Floats:
    """Mix rows `[batch, classes]` of labels with their neighbours'."""
    own = shares[:, None]
    return np.asarray(own * targets + (1 - own) * targets[neighbours(len(targets))], np.float32)


def mix_images(images: Pixels, mix: Floats) -> Pixels:
    """Mix pictures on the host: for the preview, and as the reference of what devices do.

    Args:
        images: uint8 `[batch, height, width, channels]`.
        mix: float32 `[batch, COLUMNS]`.
    """
    others = images[neighbours(len(images))].astype(np.float32)
    share = mix[:, SHARE, None, None, None]
    mixed = np.rint(share * images + (1 - share) * others)
    for slot, row in enumerate(mix):
        top, left, bottom, right = row[PATCH].astype(int)
        mixed[slot, top:bottom, left:right] = others[slot, top:bottom, left:right]
        top, left, bottom, right = row[ERASED].astype(int)
        mixed[slot, top:bottom, left:right] = BAR
    return mixed.astype(np.uint8)
