"""A few validation pictures with what the model says of them, as one picture."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from hornbeam.data.loader import Batch, Loader
from hornbeam.data.pixels.images import Pixels
from hornbeam.data.tasks import Task
from hornbeam.devices import ask_here

if TYPE_CHECKING:
    from PIL import Image

_SIDE = 192
"""Pixels of the longer side of a tile; larger pictures are shrunk to it."""

_RIGHT, _WRONG, _UNKNOWN = (0, 120, 40), (190, 20, 20), (90, 90, 90)


class SamplePictures:
    """Some pictures of a loader, spread evenly over all, and the model's answers to them.

    Args:
        loader: of validation.
        count: number of pictures, at most one batch of them.
    """

    def __init__(self, loader: Loader, count: int) -> None:
        count = min(count, loader.batch_size, len(loader.dataset))
        rows = np.unique(np.linspace(0, len(loader.dataset) - 1, count).astype(int))
        # The batches are as large as those of validation, so that predicting compiles one shape.
        self._dataset = loader.dataset.take(rows)
        self._loader = Loader(
            self._dataset, batch_size=loader.batch_size, image_size=loader.image_size,
            mixing=loader.mixing, resize_mode=loader.resize_mode, preprocess=loader.preprocess,
        )  # fmt: skip
        self._batch: Batch | None = None

    def draw(self, model: keras.Model) -> dict[str, tuple[bytes, tuple[int, int]]]:
        """Ask a model, and return a JPEG and its (height, width) by task.

        Under each picture stand its label and the answer: green where they are the same, red where not.
        """
        if self._batch is None:
            self._batch = self._loader.batch(0)
        outputs = ask_here(model, self._batch.inputs)
        images = self._batch.images[: len(self._dataset)]
        drawn = {}
        for task in self._dataset.tasks:
            logits = np.asarray(outputs[task.name], np.float32)[: len(images)]
            truth = self._dataset.labels(task)
            captions = [
                _caption(task, t, x) for t, x in zip(truth, logits.astype(float), strict=True)
            ]
            drawn[task.name] = _encode(grid(images, captions))
        return drawn


def grid(images: Pixels, captions: list[tuple[str, str, tuple[int, int, int]]]) -> Image.Image:
    """Put pictures with their captions side by side, in about a square.

    Args:
        images: uint8 `[pictures, height, width, channels]`.
        captions: label, answer, and the answer's colour.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = images.shape[1:3]
    scale = min(1.0, _SIDE / max(height, width))
    # Names have to fit under small pictures.
    height, width = round(height * scale), round(width * scale)
    cell, line = max(width, 96), 14
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    page = Image.new("RGB", (columns * (cell + 4), rows * (height + 2 * line + 6)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(12)
    for index, (image, (label, answer, colour)) in enumerate(zip(images, captions, strict=True)):
        left = index % columns * (cell + 4)
        top = index // columns * (height + 2 * line + 6)
        page.paste(Image.fromarray(_rgb(image)).resize((width, height)), (left, top))
        for row, (text, ink) in enumerate(((label, (0, 0, 0)), (answer, colour))):
            while draw.textlength(text, font=font) > cell and len(text) > 2:
                text = text[:-2] + "…"
            draw.text((left, top + height + row * line), text, fill=ink, font=font)
    return page


def _caption(
    task: Task, truth: NDArray[Any], logits: NDArray[np.float64]
) -> tuple[str, str, tuple[int, int, int]]:
    """Return the label of a picture, the answer, and the answer's colour."""
    if task.multi_label:
        marks = logits >= 0
        names = [", ".join(np.array(task.classes)[m]) or "–" for m in (truth, marks)]
        return names[0], names[1], _RIGHT if (truth == marks).all() else _WRONG
    if not np.isfinite(logits).all():
        return task.classes[int(truth)] if truth >= 0 else "no label", "no number", _WRONG
    best = int(logits.argmax())
    share = 1 / np.exp(logits - logits[best]).sum()
    answer = f"{share:.0%} {task.classes[best]}"
    if truth < 0:
        return "no label", answer, _UNKNOWN
    return task.classes[int(truth)], answer, _RIGHT if truth == best else _WRONG


def _rgb(image: Pixels) -> Pixels:
    """Return the picture with three channels: grey is repeated, transparency left out."""
    return np.ascontiguousarray(image.repeat(3, axis=2) if image.shape[2] == 1 else image[:, :, :3])


def _encode(page: Image.Image) -> tuple[bytes, tuple[int, int]]:
    content = io.BytesIO()
    page.save(content, "JPEG", quality=85)
    return content.getvalue(), (page.height, page.width)
