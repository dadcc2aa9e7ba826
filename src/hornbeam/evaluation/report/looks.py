"""Where the model looks: pictures with heat on what speaks for a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hornbeam.evaluation.explanations import Explanations
from hornbeam.page import jpeg_address, shown

_STRENGTH = 0.6
"""Of the colours of heat over the grey picture, which must stay recognisable."""


def looks(explanations: Explanations | None) -> str:
    """Return the section; empty where nobody has asked the network."""
    if explanations is None:
        return ""
    if explanations.reason or not len(explanations):
        return f"<p>{shown(explanations.reason or 'No picture was asked about.')}</p>"
    several = len(set(explanations.tasks)) > 1
    pictures: dict[tuple[str, str], list[int]] = {}
    for entry, key in enumerate(zip(explanations.tasks, explanations.paths, strict=True)):
        pictures.setdefault(key, []).append(entry)
    figures = "".join(_figure(explanations, entries, several) for entries in pictures.values())
    return (
        "<p class=soft>Yellow: the places that speak for the class that is named above; dark: those "
        "that do not (Grad-CAM, Selvaraju et al. 2017). It is read off the network's last map of "
        "features, so only roughly placed. Yellow on the background, on a frame or on writing is a "
        "warning: the model may have learnt what other pictures will not have.</p>"
        f"<div class=looks>{figures}</div>"
    )


def _figure(explanations: Explanations, entries: Sequence[int], several: bool) -> str:
    """Return a picture, and the same once for each class that it was asked about."""
    first = entries[0]
    picture = explanations.pictures[first]
    images = _image("the picture", picture)
    for entry in entries:
        heat = explanations.heat[entry].astype(np.float32)
        name = explanations.classes[entry] + ("" if heat.max() > 0 else " (nothing)")
        images += _image(name, lit(picture, heat))
    task = f"{shown(explanations.tasks[first])}: " if several else ""
    return (
        f"<figure><div class=row>{images}</div><figcaption>{task}{shown(explanations.notes[first])}"
        f"<small>{shown(explanations.paths[first])}</small></figcaption></figure>"
    )


def _image(name: str, pixels: NDArray[np.uint8]) -> str:
    address, (width, height) = jpeg_address(pixels, max(pixels.shape[:2]), crop=False)
    image = f'<img alt="" width={width} height={height} decoding=async src="{address}">'
    return f"<div>{shown(name)}{image}</div>"


def lit(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture in grey under the colours of heat: from black over red to yellow.

    Args:
        picture: uint8 `[height, width, 3]`.
        heat: 0 to 1, of any size, of the whole picture.
    """
    import cv2

    height, width = picture.shape[:2]
    wide = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    # Inferno rises evenly in brightness, so that it is read alike without seeing colours.
    colours = cv2.applyColorMap(np.rint(255 * wide).astype(np.uint8), cv2.COLORMAP_INFERNO)
    grey = picture.mean(axis=-1, keepdims=True)
    mixed: NDArray[np.uint8] = np.rint(
        (1 - _STRENGTH) * grey + _STRENGTH * colours[..., ::-1].astype(np.float32)
    ).astype(np.uint8)
    return mixed
