"""timm's networks, written anew with plain operations of TensorFlow, under timm's names and layouts."""

import tensorflow as tf

EPSILON = 1e-5


def resnet50(x, variable):
    x = tf.nn.relu(_norm(_conv(x, variable, "conv1", 64, 7, 2), variable, "bn1"))
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=-1e30)
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for layer, (blocks, filters) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            scope = f"layer{layer}.{block}"
            stride = 2 if block == 0 and layer > 1 else 1
            y = _norm(_conv(x, variable, f"{scope}.conv1", filters, 1), variable, f"{scope}.bn1")
            y = _conv(tf.nn.relu(y), variable, f"{scope}.conv2", filters, 3, stride)
            y = tf.nn.relu(_norm(y, variable, f"{scope}.bn2"))
            y = _norm(
                _conv(y, variable, f"{scope}.conv3", 4 * filters, 1), variable, f"{scope}.bn3"
            )
            if block == 0:
                x = _conv(x, variable, f"{scope}.downsample.0", 4 * filters, 1, stride)
                x = _norm(x, variable, f"{scope}.downsample.1")
            x = tf.nn.relu(x + y)
    return x


def mobilenetv2_100(x, variable):
    def active(x, scope):
        return tf.nn.relu6(_norm(x, variable, scope))

    x = active(_conv(x, variable, "conv_stem", 32, 3, 2), "bn1")
    for stage, (expansion, filters, blocks, first) in enumerate([
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]):  # fmt: skip
        for block in range(blocks):
            scope, before = f"blocks.{stage}.{block}", x
            stride = first if block == 0 else 1
            if stage == 0:
                x = active(_depthwise(x, variable, f"{scope}.conv_dw", stride), f"{scope}.bn1")
                x = _norm(
                    _conv(x, variable, f"{scope}.conv_pw", filters, 1), variable, f"{scope}.bn2"
                )
                continue
            wide = expansion * x.shape[-1]
            x = active(_conv(x, variable, f"{scope}.conv_pw", wide, 1), f"{scope}.bn1")
            x = active(_depthwise(x, variable, f"{scope}.conv_dw", stride), f"{scope}.bn2")
            x = _norm(_conv(x, variable, f"{scope}.conv_pwl", filters, 1), variable, f"{scope}.bn3")
            if block:
                x = x + before
    return active(_conv(x, variable, "conv_head", 1280, 1), "bn2")


def _conv(x, variable, scope, filters, size, stride=1):
    kernel = variable(f"{scope}.weight", (filters, x.shape[-1], size, size))
    return tf.nn.conv2d(_pad(x, size), tf.transpose(kernel, (2, 3, 1, 0)), stride, "VALID")


def _depthwise(x, variable, scope, stride):
    kernel = tf.transpose(variable(f"{scope}.weight", (x.shape[-1], 1, 3, 3)), (2, 3, 0, 1))
    return tf.nn.depthwise_conv2d(_pad(x, 3), kernel, [1, stride, stride, 1], "VALID")


def _pad(x, size):
    sides = [size // 2, size // 2]
    return tf.pad(x, [[0, 0], sides, sides, [0, 0]])


def _norm(x, variable, scope):
    gamma, beta, mean, variance = (
        variable(f"{scope}.{name}", (x.shape[-1],))
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) * gamma / tf.sqrt(variance + EPSILON) + beta
