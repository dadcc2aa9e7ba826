"""ResNet-50 as two other projects compute it, so that their weights mean the same here.

Keras' own ResNet50 has strides on its first 1x1 convolutions, biases, and another epsilon; weights of
timm or of slim, put into it, give other answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

_BLOCKS = (3, 4, 6, 3)
"""Residual blocks of each stage, of 64, 128, 256 and 512 channels and four times that behind each."""


def resnet50_backbone(
    input_shape: tuple[int, int, int], source: Literal["timm", "slim"]
) -> keras.Model:
    """Build ResNet-50 without its head: float32 `[batch, h, w, c]` → `[batch, h/32, w/32, 2048]`.

    Bottleneck blocks of He et al. 2015 (arXiv:1512.03385), normalised with epsilon 1e-5.

    Args:
        input_shape: (height, width, channels), at least 32 pixels each side.
        source: `timm`, as in timm and torchvision: each stage strides in the 3x3 convolution of its
            first block, and its shortcut with it ("v1.5"). `slim`, as in TF-slim's resnet_v1_50:
            the first three stages stride in their last block, whose shortcut leaves out every
            second pixel; the maximum is taken with TensorFlow's SAME padding.
    """
    import keras
    from keras import layers

    def convolve(x: Any, filters: int, size: int, stride: int, conv: str, norm: str) -> Any:
        if stride > 1 and size > 1:  # alike on all sides, whatever the size; SAME is not
            x = layers.ZeroPadding2D(size // 2, name=f"{conv}_pad")(x)
        x = layers.Conv2D(
            filters, size, stride, padding="valid" if stride > 1 else "same", use_bias=False,
            kernel_initializer="he_normal", name=conv,
        )(x)  # fmt: skip
        momentum = 0.9 if source == "timm" else 0.997
        return layers.BatchNormalization(momentum=momentum, epsilon=1e-5, name=norm)(x)

    def block(x: Any, filters: int, stride: int, name: str, widens: bool) -> Any:
        shortcut = x
        if widens:
            shortcut = convolve(
                x, 4 * filters, 1, stride, f"{name}_shortcut_conv", f"{name}_shortcut_norm"
            )
        elif stride > 1:
            shortcut = layers.MaxPooling2D(1, stride, name=f"{name}_shortcut_thin")(x)
        x = convolve(x, filters, 1, 1, f"{name}_conv1", f"{name}_norm1")
        x = layers.ReLU(name=f"{name}_relu1")(x)
        x = convolve(x, filters, 3, stride, f"{name}_conv2", f"{name}_norm2")
        x = layers.ReLU(name=f"{name}_relu2")(x)
        x = convolve(x, 4 * filters, 1, 1, f"{name}_conv3", f"{name}_norm3")
        x = layers.Add(name=f"{name}_add")([shortcut, x])
        return layers.ReLU(name=f"{name}_relu3")(x)

    inputs = keras.Input(input_shape, name="pixels")
    x = convolve(inputs, 64, 7, 2, "stem_conv", "stem_norm")
    x = layers.ReLU(name="stem_relu")(x)
    if source == "timm":
        # PyTorch pads with minus infinity; behind a ReLU, 0 is as good.
        x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(
        3, 2, padding="valid" if source == "timm" else "same", name="stem_pool"
    )(x)
    # Other names, so that the one's weights are not taken for the other's.
    part = "block" if source == "timm" else "unit"
    for stage, blocks in enumerate(_BLOCKS, start=1):
        if source == "timm":
            strides = [1 if stage == 1 else 2] + [1] * (blocks - 1)
        else:
            strides = [1] * (blocks - 1) + [1 if stage == len(_BLOCKS) else 2]
        for number, stride in enumerate(strides, start=1):
            x = block(x, 32 << stage, stride, f"stage{stage}_{part}{number}", widens=number == 1)
    return keras.Model(inputs, x, name=f"resnet50_{source}")
