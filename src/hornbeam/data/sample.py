"""A small dataset that a network must really learn: shapes over clutter.

Position, scale, rotation, colour, fill, noise, picture size and file format vary, and they vary in
the same way in every class, so that neither colour nor brightness gives a class away.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hornbeam.storage import new_directory

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

_SUPERSAMPLING = 2
_TURN = 0.4
"""Largest rotation, in radians: with any angle, 200 pictures of each class were too few to learn."""


def draw_sample(directory: Path, per_class: int, size: int, seed: int) -> int:
    """Write `per_class` pictures of every class to `directory/<class>/`; return how many in all.

    Args:
        directory: must not exist, or be empty.
        per_class: pictures of each class, at least 1.
        size: typical side of a picture in pixels; the sides vary between 0.75 and 1.5 times it.
        seed: the same seed draws the same pictures, and a larger `per_class` only adds to them.

    Raises:
        FileExistsError: `directory` holds something already.
    """
    with new_directory(directory) as temporary:
        for label, name in enumerate(SHAPES):
            folder = temporary / name
            folder.mkdir()
            for index in range(per_class):
                rng = np.random.default_rng((seed, label, index))
                turned = label == 0 and index == 0
                _save(draw_picture(name, size, rng), folder / f"{name}-{index:04}", rng, turned)
    return len(SHAPES) * per_class


def draw_picture(name: str, size: int, rng: np.random.Generator) -> Pixels:
    """Draw one picture of class `name`: uint8 `[height, width, 3]`, RGB."""
    side, aspect = size * rng.uniform(0.75, 1.5), rng.uniform(0.9, 1.1)
    height, width = int(side * aspect) * _SUPERSAMPLING, int(side / aspect) * _SUPERSAMPLING
    canvas = _background(height, width, rng)
    _clutter(canvas, rng)
    radius = rng.uniform(0.34, 0.47) * min(height, width)
    centre = rng.uniform([radius, radius], [width - radius, height - radius])
    points = _rotate(SHAPES[name], rng.uniform(-_TURN, _TURN)) * radius + centre
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255)
    canvas = np.where(mask[..., None] > 0, _fill(canvas, mask, rng), canvas)
    for _ in range(rng.integers(0, 2)):  # something in front of the shape
        _line(canvas, rng, thickness=_SUPERSAMPLING)
    shape = (width // _SUPERSAMPLING, height // _SUPERSAMPLING)
    small = cv2.resize(canvas, shape, interpolation=cv2.INTER_AREA).astype(np.float32)
    small += rng.normal(0, rng.uniform(2, 10), small.shape)
    return np.asarray(np.clip(small, 0, 255), np.uint8)


def _polygon(corners: int) -> Points:
    angles = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> Points:
    points = _polygon(10)
    points[1::2] *= 0.42
    return points


def _cross(arm: float = 0.3) -> Points:
    a, b = arm, 0.95
    return np.array(
        [(a, b), (a, a), (b, a), (b, -a), (a, -a), (a, -b),
         (-a, -b), (-a, -a), (-b, -a), (-b, a), (-a, a), (-a, b)]
    )  # fmt: skip


def _crescent() -> Points:
    outer = np.linspace(0.6, 2 * np.pi - 0.6, 48)
    inner = np.linspace(2 * np.pi - 0.85, 0.85, 48)
    arc = np.stack([np.cos(outer), np.sin(outer)], axis=1)
    bite = np.stack([np.cos(inner) * 0.75 + 0.33, np.sin(inner) * 0.75], axis=1)
    return np.concatenate([arc, bite])


SHAPES: dict[str, Points] = {
    "circle": _polygon(64) * 0.85,
    "crescent": _crescent(),
    "cross": _cross(),
    "square": _polygon(4),
    "star": _star(),
    "triangle": _polygon(3),
}


def _rotate(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]))


def _background(height: int, width: int, rng: np.random.Generator) -> Pixels:
    """Smooth coloured clouds, coarse or fine."""
    cells = int(rng.integers(2, 4))
    coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _clutter(canvas: Pixels, rng: np.random.Generator) -> None:
    """Small blobs and lines of random colours, in place."""
    height, width = canvas.shape[:2]
    for _ in range(rng.integers(3, 9)):
        if rng.random() < 0.5:
            _line(canvas, rng, thickness=int(rng.integers(1, 3)) * _SUPERSAMPLING)
            continue
        corners = int(rng.integers(3, 7))
        reach = rng.uniform(0.02, 0.06) * min(height, width)
        centre = rng.uniform([0, 0], [width, height])
        blob = rng.normal(0, reach, (corners, 2)) + centre
        cv2.fillPoly(canvas, [blob.astype(np.int32)], _colour(rng))


def _line(canvas: Pixels, rng: np.random.Generator, thickness: int) -> None:
    height, width = canvas.shape[:2]
    start, end = rng.integers(0, [width, height], (2, 2)).tolist()
    cv2.line(canvas, start, end, _colour(rng), thickness, cv2.LINE_AA)


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _fill(canvas: Pixels, mask: Pixels, rng: np.random.Generator) -> Pixels:
    """A colour away from what lies under the shape, plain or striped, as a full picture."""
    under = canvas[mask > 0].mean(axis=0)
    colours = rng.integers(0, 256, (32, 3))
    distance = np.abs(colours - under).sum(axis=1)
    first = colours[np.argmax(distance > 260) if (distance > 260).any() else np.argmax(distance)]
    fill = np.empty_like(canvas)
    fill[:] = first
    if rng.random() < 0.5:
        period = rng.integers(4, 12) * _SUPERSAMPLING
        rows, columns = np.indices(canvas.shape[:2])
        angle = rng.uniform(0, np.pi)
        stripes = (rows * np.cos(angle) + columns * np.sin(angle)) // period % 2 > 0
        fill[stripes] = np.clip(first + rng.integers(-30, 31, 3), 0, 255)
    return fill


def _save(pixels: Pixels, stem: Path, rng: np.random.Generator, turned: bool) -> None:
    """Write one picture: three in four as JPEG, the others as PNG.

    The `turned` one is stored on its side with the EXIF tag that turns it back, as cameras do.
    """
    if turned:
        exif = Image.Exif()
        exif[0x0112] = 6  # "rotate by 90 degrees clockwise to view"
        picture = Image.fromarray(np.rot90(pixels))
        picture.save(stem.with_suffix(".jpg"), quality=92, exif=exif)
    elif rng.random() < 0.75:
        Image.fromarray(pixels).save(stem.with_suffix(".jpg"), quality=int(rng.integers(60, 96)))
    else:
        Image.fromarray(pixels).save(stem.with_suffix(".png"))
