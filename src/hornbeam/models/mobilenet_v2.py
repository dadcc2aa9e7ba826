"""MobileNetV2 as timm computes it, so that its weights mean the same here.

Keras' own pads strided convolutions as TensorFlow does, on the right and below first, and normalises
with epsilon 1e-3. Layers have other names than Keras', so that one is not mistaken for the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
           (6, 160, 3, 2), (6, 320, 1, 1))  # fmt: skip
"""Expansion, channels, blocks and first stride of each stage (table 2 of the paper)."""


def mobilenet_v2_timm_backbone(input_shape: tuple[int, int, int]) -> keras.Model:
    """Build MobileNetV2 without its head: float32 `[batch, h, w, c]` → `[batch, h/32, w/32, 1280]`.

    The network of Sandler et al. 2018 (arXiv:1801.04381) as timm's mobilenetv2_100: padding alike
    on all sides, epsilon 1e-5.

    Args:
        input_shape: (height, width, channels), at least 32 pixels each side.
    """
    import keras
    from keras import layers

    def norm(x: Any, name: str, active: bool = True) -> Any:
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
        return layers.ReLU(6.0, name=f"{name}_relu")(x) if active else x

    def pointwise(x: Any, filters: int, name: str, active: bool = True) -> Any:
        x = layers.Conv2D(
            filters, 1, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
        )(x)
        return norm(x, name, active)

    def depthwise(x: Any, stride: int, name: str) -> Any:
        if stride > 1:
            x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        x = layers.DepthwiseConv2D(
            3, stride, padding="valid" if stride > 1 else "same", use_bias=False,
            depthwise_initializer="he_normal", name=f"{name}_conv",
        )(x)  # fmt: skip
        return norm(x, name)

    inputs = keras.Input(input_shape, name="pixels")
    x = layers.ZeroPadding2D(1, name="stem_pad")(inputs)
    x = layers.Conv2D(
        32, 3, 2, use_bias=False, kernel_initializer="he_normal", name="stem_conv"
    )(x)  # fmt: skip
    x = norm(x, "stem")
    for stage, (expansion, filters, blocks, first) in enumerate(_STAGES, start=1):
        for number in range(1, blocks + 1):
            name, before = f"stage{stage}_block{number}", x
            if expansion > 1:
                x = pointwise(x, expansion * x.shape[-1], f"{name}_expand")
            x = depthwise(x, first if number == 1 else 1, f"{name}_depthwise")
            x = pointwise(x, filters, f"{name}_project", active=False)
            if number > 1:
                x = layers.Add(name=f"{name}_add")([before, x])
    x = pointwise(x, 1280, "top")
    return keras.Model(inputs, x, name="mobilenet_v2_timm")
