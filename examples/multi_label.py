"""Several labels a picture, most of them absent: the asymmetric loss.

    hornbeam train labels.csv --label-separator '|' --recipe examples/multi_label.py --metrics macro_f1

`labels.csv` has columns `path` and `label`; a label is `sea|boat`, or empty where there is none of them.

Of hundreds of labels a picture has few, and the many easy "no" outweigh the rare "yes". The loss of
Ridnik et al. (2021, arXiv:2009.14119) lets the easy ones count less. Without this file the loss is
binary cross-entropy.
"""

import keras
from keras import ops

NO, YES, MARGIN = 4.0, 1.0, 0.05
"""How much easy answers are played down, of absent and of present labels; below MARGIN, "no" is free."""


def loss():
    """Return what is trained on."""

    def asymmetric(targets, logits):
        yes = ops.sigmoid(logits)
        no = ops.clip(1 - yes + MARGIN, 0, 1)
        present = targets * ops.power(1 - yes, YES) * ops.log_sigmoid(logits)
        absent = (1 - targets) * ops.power(1 - no, NO) * ops.log(ops.maximum(no, 1e-7))
        return -ops.sum(present + absent, axis=-1)

    return asymmetric


def metrics():
    """Return what is reported beside ours: the area under the precision-recall curve, of each label."""
    return [keras.metrics.AUC(curve="PR", multi_label=True, from_logits=True, name="pr_auc")]
