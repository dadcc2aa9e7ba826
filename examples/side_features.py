"""Numbers beside the picture.

    hornbeam train moles.csv --feature-columns age,millimetres --recipe examples/side_features.py

`moles.csv` has columns `path`, `label`, `age` and `millimetres`. The numbers arrive standardised. Here
they choose how much each channel of the picture counts (FiLM: Perez et al. 2018, arXiv:1709.07871).
Without this file they go through a layer of their own, beside what the network sees.
"""

import keras
from keras import layers


def build_model(input_shape, targets, features):
    """Return a network of two inputs: pixels, 0 to 255, and a vector of numbers."""
    image = keras.Input(input_shape)
    numbers = keras.Input((len(features),))
    hidden = layers.Dense(32, activation="relu")(numbers)
    x = layers.Rescaling(1 / 255)(image)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization()(x)
        factor = layers.Reshape((1, 1, filters))(layers.Dense(filters)(hidden))
        offset = layers.Reshape((1, 1, filters))(layers.Dense(filters)(hidden))
        x = layers.Add()([x, layers.Multiply()([x, factor]), offset])
        x = layers.Activation("relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = {target.name: layers.Dense(len(target.classes))(x) for target in targets}
    return keras.Model([image, numbers], outputs)
