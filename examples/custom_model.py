"""A Keras model of your own, with options of its own.

    hornbeam train photos/ --recipe examples/custom_model.py --build-model width=16,depth=3

`photos/` has a folder for each class. A network of residual blocks; `width` and `depth` come from
`--build-model`, so that `hornbeam search` can vary them too.
"""

import keras
from keras import layers


@keras.saving.register_keras_serializable("examples")
class Scale(layers.Layer):
    """Multiply each channel by a number that is learned: a layer of your own, which is saved by name."""

    def build(self, shape):
        """Make the numbers; small ones, so that each block begins near the identity."""
        self.factors = self.add_weight(
            shape=shape[-1:], initializer=keras.initializers.Constant(0.1)
        )

    def call(self, x):
        """Return `x`, scaled."""
        return x * self.factors


def build_model(input_shape, targets, width=32, depth=4):
    """Return a network from pixels, 0 to 255, to a logit a class."""
    image = keras.Input(input_shape)
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(x)
    for stage in range(depth):
        filters = width * 2**stage
        x = layers.Conv2D(filters, 2, strides=2, padding="same")(x)
        beside = layers.DepthwiseConv2D(5, padding="same", use_bias=False)(x)
        beside = layers.BatchNormalization()(beside)
        beside = layers.Conv2D(2 * filters, 1, activation="gelu")(beside)
        beside = Scale()(layers.Conv2D(filters, 1)(beside))
        x = layers.Add()([x, beside])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(len(targets[0].classes))(x))
