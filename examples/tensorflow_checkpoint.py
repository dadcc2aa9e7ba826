"""Fine-tune a network of your own from a checkpoint of TensorFlow.

    hornbeam train photos/ --recipe examples/tensorflow_checkpoint.py --weights old/model.ckpt-1 \
        --restore-exclude 'classes/.*' --lr-mult 'stem/.*=0.1,block_.*=0.3,.*=1'

`old/model.ckpt-1` is a prefix, as `tf.train.Checkpoint` or `tf.compat.v1.train.Saver` wrote it. Layers
get what has the name of theirs: `hornbeam inspect old/model.ckpt-1` lists those, and where they are
others a file of rules (`--restore-map`) says which is which. The last layer, which is for other classes,
starts anew; the first ones are trained at a tenth of the rate. All of the rest must be in the file.
"""

import keras
from keras import layers


def build_model(input_shape, targets):
    """Return the network as it was in the old project, with our classes."""
    image = keras.Input(input_shape)
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same", name="stem")(x)
    for number, filters in enumerate((32, 64), start=1):
        name = f"block_{number}"
        x = layers.SeparableConv2D(filters, 3, strides=2, padding="same", name=f"{name}_conv")(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.Activation("relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(len(targets[0].classes), name="classes")(x))
