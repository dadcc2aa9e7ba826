"""Pictures of bars and squares, and a small network for them."""

import numpy as np

SIDE, CLASSES = 24, 4


def drawn(count, seed):
    """Pictures of a bar or a square, bright or dark: uint8 `[count, 24, 24, 3]`, and their class."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, CLASSES, count)
    pictures = rng.integers(60, 120, (count, SIDE, SIDE, 3)).astype(np.uint8)
    for picture, kind in zip(pictures, classes, strict=True):
        top, left = rng.integers(2, 10, 2)
        height, width = (12, 4) if kind % 2 else (8, 8)
        picture[top : top + height, left : left + width] = 240 if kind < 2 else 10
    return pictures, classes


def network(activation="relu6"):
    """Convolutions as MobileNetV2 has them, with a channel that is zero but for its bias."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, -1.0)(image)
    for number, filters in enumerate((8, 16)):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation(activation, name=f"act_{number}")(x)
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.Activation(activation, name=f"depthwise_act_{number}")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(CLASSES)(x)
    return keras.Model(image, {"kind": layers.Activation("softmax", name="kind_probabilities")(x)})
