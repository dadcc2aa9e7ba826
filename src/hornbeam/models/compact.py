"""A compact residual network for small pictures and for CPUs; our own, trained from scratch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_STAGES = ((16, 0), (32, 1), (64, 1), (128, 1))
"""Channels and residual blocks of each stage; each stage halves the picture."""


def compact_backbone(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build the network without its head: float32 `[batch, h, w, 3]` → `[batch, h/16, w/16, 128]`.

    Residual blocks as in He et al. 2016 (arXiv:1512.03385), batch normalisation everywhere, no
    depthwise convolutions, which are slow to train on CPUs for their few multiplications.

    Args:
        input_shape: (height, width, channels), at least 32 pixels each side.
    """
    import keras
    from keras import layers

    def convolve(x: Any, filters: int, stride: int, name: str, size: int = 3) -> Any:
        x = layers.Conv2D(
            filters, size, stride, padding="same", use_bias=False,
            kernel_initializer="he_normal", name=f"{name}_conv",
        )(x)  # fmt: skip
        return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)

    inputs = x = keras.Input(input_shape, name="pixels")
    for stage, (filters, blocks) in enumerate(_STAGES, start=1):
        x = convolve(x, filters, 2, f"stage{stage}_down")
        x = layers.ReLU(name=f"stage{stage}_down_relu")(x)
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            residual = convolve(x, filters, 1, f"{name}_a")
            residual = layers.ReLU(name=f"{name}_a_relu")(residual)
            residual = convolve(residual, filters, 1, f"{name}_b")
            x = layers.Add(name=f"{name}_add")([x, residual])
            x = layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(inputs, x, name="compact")
