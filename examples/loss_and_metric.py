"""A loss and a metric of your own: mistakes that cost differently.

    hornbeam train fruit/ --recipe examples/loss_and_metric.py

`fruit/` has a folder for each class, which are in order: `1-unripe`, `2-ripe`, `3-rotten`. To
take rotten for unripe is worse than to take it for ripe. The loss is what the mistakes cost on average,
beside the cross-entropy; the metric is what the answers cost.
"""

import keras
from keras import ops


def costs(classes):
    """Return what each answer costs: float32 `[true, answered]`, the square of the distance."""
    steps = ops.arange(classes, dtype="float32")
    return ops.square(ops.expand_dims(steps, 1) - steps) / (classes - 1) ** 2


def loss():
    """Return a function of targets `[batch, classes]` and logits that gives one number a picture."""

    def expected_cost(targets, logits):
        spread = ops.matmul(targets, costs(targets.shape[-1]))
        cross_entropy = -ops.sum(targets * ops.log_softmax(logits), axis=-1)
        return cross_entropy + ops.sum(spread * ops.softmax(logits), axis=-1)

    return expected_cost


class Cost(keras.metrics.Mean):
    """Mean cost of the most probable answer; it gets class indices `[batch]`, logits and weights."""

    def update_state(self, labels, logits, sample_weight=None):
        """Count a batch; padding has weight 0."""
        classes = logits.shape[-1]
        labels = ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes)
        answers = ops.one_hot(ops.argmax(logits, axis=-1), classes)
        each = ops.sum(ops.matmul(labels, costs(classes)) * answers, axis=-1)
        return super().update_state(each, sample_weight)


def metrics():
    """Return what is reported beside ours."""
    return [Cost(name="cost")]
