"""Two questions to each picture, answered by one network.

    hornbeam train catalogue.csv --label-columns kind,colour --loss-weights kind=1,colour=0.5 \
        --recipe examples/multi_task.py

`catalogue.csv` has columns `path`, `kind` and `colour`; a picture may lack one of the answers. Without
this file the questions share all but the last layer, and have the same loss.
"""

import keras
from keras import layers


def build_model(input_shape, targets):
    """Return a network with a trunk, and above it a branch for each question."""
    image = keras.Input(input_shape)
    x = layers.Rescaling(1 / 255)(image)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    outputs = {}
    for target in targets:
        y = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
        y = layers.GlobalAveragePooling2D()(y)
        outputs[target.name] = layers.Dense(len(target.classes))(y)
    return keras.Model(image, outputs)


def loss():
    """Return a loss by question; one that is not named has that of `--loss`."""
    return {"kind": keras.losses.CategoricalFocalCrossentropy(from_logits=True)}


def metrics():
    """Return what is reported beside ours, by question."""
    return {"colour": [keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top_2")]}
