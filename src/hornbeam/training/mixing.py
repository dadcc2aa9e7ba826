"""mixup, CutMix and random erasing on the device; their numbers come from `data.pixels.mixing`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hornbeam.data.pixels.mixing import COLUMNS, ERASED, PATCH, SHARE
from hornbeam.data.pixels.resize import BAR


@keras.saving.register_keras_serializable("hornbeam")
class MixPictures(keras.layers.Layer):  # type: ignore[misc]
    """Mixes each picture with its neighbour in the batch, as a few numbers a picture say.

    Takes uint8 `[batch, height, width, channels]` and float32 `[batch, COLUMNS]`, returns uint8
    pictures. Of numbers that are `data.pixels.mixing.neutral` the result is the pictures, bit for bit.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **({"dtype": "float32", "autocast": False, "name": "mix_pictures"} | options)
        )

    def call(self, images: Any, mix: Any) -> Any:
        """Mix a batch; no gradient is needed, because pixels are not learnt."""
        count, height, width = (ops.shape(images)[axis] for axis in range(3))
        slots = ops.arange(count)
        even = slots % 2 == 0
        # Slot 0 with 1, 2 with 3; an odd last one with itself.
        others = ops.minimum(ops.where(even, slots + 1, slots - 1), count - 1)
        pixels = ops.cast(images, "float32")
        neighbours = ops.take(pixels, others, axis=0)
        share = ops.reshape(mix[:, SHARE], (-1, 1, 1, 1))
        mixed = ops.round(share * pixels + (1 - share) * neighbours)
        mixed = ops.where(_inside(mix[:, PATCH], height, width), neighbours, mixed)
        mixed = ops.where(_inside(mix[:, ERASED], height, width), float(BAR), mixed)
        return ops.cast(mixed, "uint8")

    def compute_output_spec(self, images: Any, mix: Any) -> keras.KerasTensor:
        """Return the shape and type of the result: those of the pictures."""
        return keras.KerasTensor(images.shape, dtype="uint8")


def mixing_model(classifier: keras.Model) -> keras.Model:
    """Return a model that mixes pictures and asks the classifier about them.

    Its weights are the classifier's own: training it trains the classifier, which is what is kept.
    It takes a dictionary of `image` and `mix`, as `Batch.inputs` is when a loader mixes. Side
    features go past: the loader has mixed them, as it does labels.

    Args:
        classifier: from uint8 pixels, or a dictionary of `image` and more, to logits by task.
    """
    mix = keras.Input((COLUMNS,), dtype="float32", name="mix")
    tensors = (
        classifier.input if isinstance(classifier.input, dict) else {"image": classifier.input}
    )
    inputs = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in tensors.items()
    }
    mixed = MixPictures()(inputs["image"], mix)
    logits = classifier({**inputs, "image": mixed} if len(inputs) > 1 else mixed)
    return keras.Model({**inputs, "mix": mix}, logits, name=f"{classifier.name}_mixing")


def _inside(rectangles: Any, height: Any, width: Any) -> Any:
    """Return which pixels lie in a picture's rectangle: bool `[batch, height, width, 1]`.

    Args:
        rectangles: float32 `[batch, 4]`: top, left, bottom, right.
        height: of the pictures.
        width: of the pictures.
    """
    top, left, bottom, right = (ops.reshape(rectangles[:, i], (-1, 1, 1, 1)) for i in range(4))
    rows = ops.reshape(ops.cast(ops.arange(height), "float32"), (1, -1, 1, 1))
    columns = ops.reshape(ops.cast(ops.arange(width), "float32"), (1, 1, -1, 1))
    down = ops.logical_and(rows >= top, rows < bottom)
    across = ops.logical_and(columns >= left, columns < right)
    return ops.logical_and(down, across)
