"""TF-slim's networks, written anew from its definitions in plain operations of TensorFlow.

Each takes pictures and a function that gives the variable of a name and shape, under slim's own
names, so that neither names nor arithmetic come from what is tested.
"""

import tensorflow as tf


def mobilenet_v1(x, variable, width):
    filters = [32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024]
    filters = [max(int(count * width), 8) for count in filters]
    strides = [2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    x = tf.nn.relu6(_conv_norm(x, variable, "MobilenetV1/Conv2d_0", filters[0], 3, 2))
    for i in range(1, 14):
        x = tf.nn.relu6(
            _depthwise_norm(x, variable, f"MobilenetV1/Conv2d_{i}_depthwise", strides[i])
        )
        x = tf.nn.relu6(_conv_norm(x, variable, f"MobilenetV1/Conv2d_{i}_pointwise", filters[i], 1))
    return x


def mobilenet_v2(x, variable, width):
    def rounded(count):
        result = max(8, int(count * width + 4) // 8 * 8)
        return result + 8 if result < 0.9 * count * width else result

    x = tf.nn.relu6(_conv_norm(x, variable, "MobilenetV2/Conv", rounded(32), 3, 2))
    number = 0
    for expansion, filters, blocks, stride in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]:  # fmt: skip
        for block in range(blocks):
            scope = "MobilenetV2/expanded_conv" + (f"_{number}" if number else "")
            before, channels = x, x.shape[-1]
            if expansion > 1:
                x = tf.nn.relu6(_conv_norm(x, variable, f"{scope}/expand", expansion * channels, 1))
            x = tf.nn.relu6(
                _depthwise_norm(x, variable, f"{scope}/depthwise", stride if block == 0 else 1)
            )
            x = _conv_norm(x, variable, f"{scope}/project", rounded(filters), 1)
            if block and channels == x.shape[-1]:
                x = x + before
            number += 1
    return tf.nn.relu6(_conv_norm(x, variable, "MobilenetV2/Conv_1", 1280, 1))


def resnet_v1_50(x, variable):
    def same(x, scope, filters, size, stride):
        if stride > 1:
            before = (size - 1) // 2
            sides = [before, size - 1 - before]
            x = tf.pad(x, [[0, 0], sides, sides, [0, 0]])
        padding = "VALID" if stride > 1 else "SAME"
        return _conv_norm(x, variable, scope, filters, size, stride, padding, epsilon=1e-5)

    x = tf.nn.relu(same(x, "resnet_v1_50/conv1", 64, 7, 2))
    x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    for block, (units, filters) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for unit in range(1, units + 1):
            stride = 2 if unit == units and block < 4 else 1
            scope = f"resnet_v1_50/block{block}/unit_{unit}/bottleneck_v1"
            if x.shape[-1] == 4 * filters:
                shortcut = x[:, ::stride, ::stride]
            else:
                shortcut = same(x, f"{scope}/shortcut", 4 * filters, 1, stride)
            x = tf.nn.relu(same(x, f"{scope}/conv1", filters, 1, 1))
            x = tf.nn.relu(same(x, f"{scope}/conv2", filters, 3, stride))
            x = tf.nn.relu(shortcut + same(x, f"{scope}/conv3", 4 * filters, 1, 1))
    return x


def inception_v3(x, variable):
    def conv(x, name, filters, size, stride=1, padding="SAME"):
        scope = f"InceptionV3/{name}"
        return tf.nn.relu(
            _conv_norm(x, variable, scope, filters, size, stride, padding, scale=False)
        )

    def chain(x, scope, *layers):
        for layer in layers:
            x = conv(x, f"{scope}/{layer[0]}", *layer[1:])
        return x

    def average(x):
        return tf.nn.avg_pool2d(x, 3, 1, "SAME")

    x = conv(x, "Conv2d_1a_3x3", 32, 3, 2, "VALID")
    x = conv(x, "Conv2d_2a_3x3", 32, 3, 1, "VALID")
    x = conv(x, "Conv2d_2b_3x3", 64, 3)
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    x = conv(x, "Conv2d_3b_1x1", 80, 1, 1, "VALID")
    x = conv(x, "Conv2d_4a_3x3", 192, 3, 1, "VALID")
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for mixed, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        first, second = (
            ("Conv2d_0b_1x1", "Conv_1_0c_5x5") if mixed == "Mixed_5c"
            else ("Conv2d_0a_1x1", "Conv2d_0b_5x5")
        )  # fmt: skip
        x = tf.concat([
            chain(x, f"{mixed}/Branch_0", ("Conv2d_0a_1x1", 64, 1)),
            chain(x, f"{mixed}/Branch_1", (first, 48, 1), (second, 64, 5)),
            chain(x, f"{mixed}/Branch_2", ("Conv2d_0a_1x1", 64, 1), ("Conv2d_0b_3x3", 96, 3),
                  ("Conv2d_0c_3x3", 96, 3)),
            chain(average(x), f"{mixed}/Branch_3", ("Conv2d_0b_1x1", pooled, 1)),
        ], -1)  # fmt: skip
    x = tf.concat([
        chain(x, "Mixed_6a/Branch_0", ("Conv2d_1a_1x1", 384, 3, 2, "VALID")),
        chain(x, "Mixed_6a/Branch_1", ("Conv2d_0a_1x1", 64, 1), ("Conv2d_0b_3x3", 96, 3),
              ("Conv2d_1a_1x1", 96, 3, 2, "VALID")),
        tf.nn.max_pool2d(x, 3, 2, "VALID"),
    ], -1)  # fmt: skip
    for mixed, n in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = tf.concat([
            chain(x, f"{mixed}/Branch_0", ("Conv2d_0a_1x1", 192, 1)),
            chain(x, f"{mixed}/Branch_1", ("Conv2d_0a_1x1", n, 1), ("Conv2d_0b_1x7", n, (1, 7)),
                  ("Conv2d_0c_7x1", 192, (7, 1))),
            chain(x, f"{mixed}/Branch_2", ("Conv2d_0a_1x1", n, 1), ("Conv2d_0b_7x1", n, (7, 1)),
                  ("Conv2d_0c_1x7", n, (1, 7)), ("Conv2d_0d_7x1", n, (7, 1)),
                  ("Conv2d_0e_1x7", 192, (1, 7))),
            chain(average(x), f"{mixed}/Branch_3", ("Conv2d_0b_1x1", 192, 1)),
        ], -1)  # fmt: skip
    x = tf.concat([
        chain(x, "Mixed_7a/Branch_0", ("Conv2d_0a_1x1", 192, 1),
              ("Conv2d_1a_3x3", 320, 3, 2, "VALID")),
        chain(x, "Mixed_7a/Branch_1", ("Conv2d_0a_1x1", 192, 1), ("Conv2d_0b_1x7", 192, (1, 7)),
              ("Conv2d_0c_7x1", 192, (7, 1)), ("Conv2d_1a_3x3", 192, 3, 2, "VALID")),
        tf.nn.max_pool2d(x, 3, 2, "VALID"),
    ], -1)  # fmt: skip
    for mixed, last in (("Mixed_7b", "Conv2d_0b_3x1"), ("Mixed_7c", "Conv2d_0c_3x1")):
        one = chain(x, f"{mixed}/Branch_1", ("Conv2d_0a_1x1", 384, 1))
        two = chain(x, f"{mixed}/Branch_2", ("Conv2d_0a_1x1", 448, 1), ("Conv2d_0b_3x3", 384, 3))
        x = tf.concat([
            chain(x, f"{mixed}/Branch_0", ("Conv2d_0a_1x1", 320, 1)),
            chain(one, f"{mixed}/Branch_1", ("Conv2d_0b_1x3", 384, (1, 3))),
            chain(one, f"{mixed}/Branch_1", (last, 384, (3, 1))),
            chain(two, f"{mixed}/Branch_2", ("Conv2d_0c_1x3", 384, (1, 3))),
            chain(two, f"{mixed}/Branch_2", ("Conv2d_0d_3x1", 384, (3, 1))),
            chain(average(x), f"{mixed}/Branch_3", ("Conv2d_0b_1x1", 192, 1)),
        ], -1)  # fmt: skip
    return x


def _conv_norm(
    x, variable, scope, filters, size, stride=1, padding="SAME", epsilon=1e-3, scale=True
):
    size = (size, size) if isinstance(size, int) else size
    kernel = variable(f"{scope}/weights", (*size, x.shape[-1], filters))
    x = tf.nn.conv2d(x, kernel, stride, padding)
    return _norm(x, variable, scope, epsilon, scale)


def _depthwise_norm(x, variable, scope, stride):
    kernel = variable(f"{scope}/depthwise_weights", (3, 3, x.shape[-1], 1))
    x = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "SAME")
    return _norm(x, variable, scope, 1e-3, scale=True)


def _norm(x, variable, scope, epsilon, scale):
    names = ["beta", "moving_mean", "moving_variance", *(["gamma"] if scale else [])]
    parts = [variable(f"{scope}/BatchNorm/{name}", (x.shape[-1],)) for name in names]
    beta, mean, variance = parts[:3]
    factor = (parts[3] if scale else 1.0) / tf.sqrt(variance + epsilon)
    return (x - mean) * factor + beta
