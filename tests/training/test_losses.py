"""Losses are what their papers, Keras and NumPy in float64 say; and what is reported is exact."""

import functools
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from hornbeam.config import TrainOptions
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.recipe import Recipe
from hornbeam.training import losses
from hornbeam.training.callbacks import Clock
from hornbeam.training.losses import TaskLoss, adapt, loss_named
from hornbeam.training.objective import class_factors, losses_of, metrics_of

ONE = Task("kind", ("cat", "dog", "bird"))
MANY = Task("tags", ("red", "big", "old", "wet"), multi_label=True)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(0, 3, (16, 3)).astype(np.float32)
INDICES = RNG.integers(0, 3, 16).astype(np.int32)
ONE_HOT = np.eye(3, dtype=np.float32)[INDICES]
SHARES = RNG.dirichlet([1, 1, 1], 16).astype(np.float32)
MARKS = RNG.integers(0, 2, (16, 4)).astype(np.float32)
MARK_LOGITS = RNG.normal(0, 3, (16, 4)).astype(np.float32)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def loss_of(task, *, counts=None, mixes=False, own=None, **options):
    options = TrainOptions(data="d", **options)
    counts = counts or {task.name: dict.fromkeys(task.classes, 5)}
    pictures = max(sum(c.values()) for c in counts.values())
    return losses_of([task], options, counts, pictures, mixes=mixes, own=own, where="my.py: loss()")[task.name]  # fmt: skip


def values(loss, y_true, y_pred):
    return np.asarray(
        loss.call(keras.ops.convert_to_tensor(y_true), keras.ops.convert_to_tensor(y_pred))
    )


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("targets", [INDICES, INDICES[:, None], ONE_HOT, ONE_HOT.astype(np.uint8)])
def test_cross_entropy_takes_indices_and_shares(targets):
    close(values(loss_of(ONE), targets, LOGITS), -log_softmax(LOGITS)[np.arange(16), INDICES])


def test_cross_entropy_of_shares_is_the_mean_over_them():
    close(values(loss_of(ONE, mixes=True), SHARES, LOGITS), -(SHARES * log_softmax(LOGITS)).sum(1))


def test_smoothing_spreads_over_the_classes():
    smoothed = 0.8 * ONE_HOT + 0.2 / 3
    expected = -(smoothed * log_softmax(LOGITS)).sum(1)
    close(values(loss_of(ONE, label_smoothing=0.2), INDICES, LOGITS), expected)
    theirs = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.2, reduction=None
    )
    close(np.asarray(theirs(ONE_HOT, LOGITS)), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_binary_is_the_mean_over_independent_answers(smoothing):
    theirs = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=smoothing, reduction=None
    )
    options = {"loss": "binary", "label_smoothing": smoothing}
    for task, given, dense, logits in (
        (MANY, MARKS, MARKS, MARK_LOGITS),
        (ONE, INDICES, ONE_HOT, LOGITS),
    ):
        t, p = dense * (1 - smoothing) + smoothing / 2, sigmoid(logits)
        expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(1)
        close(values(loss_of(task, **options), given, logits), expected)
        close(np.asarray(theirs(dense, logits)), expected)
    close(
        values(loss_of(MANY), MARKS, MARK_LOGITS),
        values(loss_of(MANY, loss="binary"), MARKS, MARK_LOGITS),
    )


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_counts_sure_answers_less(gamma):
    logs = log_softmax(LOGITS)[np.arange(16), INDICES]
    expected = (1 - np.exp(logs)) ** gamma * -logs
    found = loss_of(ONE, loss="focal", focal_gamma=gamma)
    close(values(found, INDICES, LOGITS), expected)
    theirs = keras.losses.CategoricalFocalCrossentropy(
        alpha=1, gamma=gamma, from_logits=True, reduction=None
    )
    close(np.asarray(theirs(ONE_HOT, LOGITS)), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_of_several_labels_is_that_of_the_paper(gamma):
    p = np.where(MARKS == 1, sigmoid(MARK_LOGITS), 1 - sigmoid(MARK_LOGITS))
    expected = (-((1 - p) ** gamma) * np.log(p)).mean(1)
    close(values(loss_of(MANY, loss="focal", focal_gamma=gamma), MARKS, MARK_LOGITS), expected)
    theirs = keras.losses.BinaryFocalCrossentropy(gamma=gamma, from_logits=True, reduction=None)
    close(np.asarray(theirs(MARKS, MARK_LOGITS)), expected)


GRADIENTS = """
import keras, numpy as np, functools
from hornbeam.training import losses
x = np.array([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0], [-90.0, 90.0, 30.0]], np.float32)
t = np.eye(3, dtype=np.float32)[[0, 1, 0]]
functions = [losses.softmax_cross_entropy, losses.sigmoid_cross_entropy]
for gamma in (0.5, 2.0):
    functions += [functools.partial(f, gamma=gamma) for f in (losses.softmax_focal, losses.sigmoid_focal)]
def gradient(f):
    if keras.config.backend() == "jax":
        import jax
        return jax.jit(jax.grad(lambda z: f(t, z).sum()))(x)
    import tensorflow as tf
    z = tf.Variable(x)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(f(t, z))
    return tape.gradient(total, z)
found = np.array([[np.asarray(f(t, x)).sum() * np.ones_like(x), np.asarray(gradient(f))] for f in functions])
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_gradients_stay_finite_for_answers_that_are_quite_sure(backend, tmp_path):
    file = tmp_path / "found.npy"
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    code = GRADIENTS + f"np.save({str(file)!r}, found)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(file)
    assert np.isfinite(found).all()
    # Cross-entropy's is softmax minus target; focal's at gamma 2 by differences of the formula.
    x = np.array([[200.0, -200.0, 0.0], [0.0, 0.0, 0.0], [-90.0, 90.0, 30.0]])
    softmax = np.exp(x - x.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    np.testing.assert_allclose(found[0, 1], softmax - np.eye(3)[[0, 1, 0]], atol=1e-5)
    np.testing.assert_allclose(
        found[2:, 1, 1].sum(axis=1)[[0, 2]], 0, atol=1e-5
    )  # softmax focal: shifts do nothing


def test_balanced_classes_count_as_in_scikit_learn():
    from sklearn.utils.class_weight import compute_class_weight

    seen = [2, 3, 7]
    labels = np.repeat([0, 1, 2], seen)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    counts = {"kind": dict(zip(ONE.classes, seen, strict=True))}
    close(class_factors([ONE], "balanced", counts, 12)["kind"], expected)
    found = values(loss_of(ONE, class_weights="balanced", counts=counts), INDICES, LOGITS)
    close(found, expected[INDICES] * -log_softmax(LOGITS)[np.arange(16), INDICES])
    # Each class counts as much as any other over the training pictures.
    assert np.allclose(expected * seen, 4)


def test_a_yes_of_a_rare_label_counts_for_the_many_noes():
    counts = {"tags": {"red": 5, "big": 10, "old": 1, "wet": 20}}
    factors = np.array(class_factors([MANY], "balanced", counts, 20)["tags"])
    close(factors, [3, 1, 19, 1 / 20])
    options = TrainOptions(data="d", class_weights="balanced")
    loss = losses_of([MANY], options, counts, 20)["tags"]
    p = sigmoid(MARK_LOGITS)
    expected = -(factors * MARKS * np.log(p) + (1 - MARKS) * np.log(1 - p)).mean(1)
    close(values(loss, MARKS, MARK_LOGITS), expected)


def test_named_classes_get_their_factors_and_mixed_pictures_the_mean():
    factors = np.array([2.0, 1.0, 0.5])
    loss = loss_of(ONE, class_weights="cat=2,bird=0.5", mixes=True)
    close(values(loss, SHARES, LOGITS), (SHARES @ factors) * -(SHARES * log_softmax(LOGITS)).sum(1))


def test_padding_and_missing_labels_count_nothing_whatever_the_class_weights():
    loss = loss_of(ONE, class_weights="cat=5", label_smoothing=0.1)
    weights = np.r_[np.ones(10), np.zeros(6)].astype(np.float32)
    found = float(loss(INDICES, LOGITS, sample_weight=weights))
    close(found, values(loss, INDICES, LOGITS)[:10].sum() / 16)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mse", lambda t, z: ((t - np.exp(log_softmax(z))) ** 2).mean(1)),
        ("MeanSquaredError", lambda t, z: ((t - np.exp(log_softmax(z))) ** 2).mean(1)),
        ("kl_divergence", lambda t, z: -log_softmax(z)[t == 1]),
        ("categorical_hinge", lambda t, z: np.maximum(0, 1 - (t * z).sum(1) + ((1 - t) * z).max(1))),
        ("squared_hinge", lambda t, z: (np.maximum(0, 1 - (2 * t - 1) * z) ** 2).mean(1)),
        ("sparse_categorical_crossentropy", lambda t, z: -log_softmax(z)[t == 1]),
        ("CategoricalCrossentropy", lambda t, z: -log_softmax(z)[t == 1]),
        ("categorical_generalized_cross_entropy", lambda t, z: (1 - np.exp(log_softmax(z)[t == 1]) ** 0.5) / 0.5),
        ("dice", lambda t, z: 1 - 2 * (t * np.exp(log_softmax(z))).sum(1) / 2),
        ("categorical_focal_crossentropy", lambda t, z: 0.25 * (1 - np.exp(log_softmax(z)[t == 1])) ** 2 * -log_softmax(z)[t == 1]),
    ],
)  # fmt: skip
def test_losses_of_keras_get_what_they_are_made_for(name, reference):
    found = values(loss_of(ONE, loss=name), INDICES, LOGITS)
    # Keras keeps probabilities 1e-7 away from 0 and 1.
    np.testing.assert_allclose(found, reference(ONE_HOT, LOGITS), rtol=1e-4, atol=2e-6)


def test_losses_of_keras_get_probabilities_of_each_label():
    found = values(loss_of(MANY, loss="mean_absolute_error"), MARKS, MARK_LOGITS)
    close(found, np.abs(MARKS - sigmoid(MARK_LOGITS)).mean(1))


@pytest.mark.parametrize(
    ("task", "options", "sentence"),
    [
        (ONE, {"loss": "focall"}, "Did you mean 'focal'?"),
        (ONE, {"loss": "mean_sqared_error"}, "Did you mean 'mean_squared_error'?"),
        (ONE, {"loss": "ctc"}, "there is no 'ctc'"),
        (MANY, {"loss": "categorical"}, "--loss categorical is for one label a picture, and 'tags' may have several"),
        (MANY, {"loss": "categorical_generalized_cross_entropy"}, "takes one class a picture"),
        (ONE, {"class_weights": "cat=2,brid=1"}, "there is no class 'brid'. Did you mean 'bird'?"),
        (ONE, {"class_weights": "cat"}, "--class-weights should be none, balanced, or CLASS=FACTOR,… (got 'cat')"),
        (ONE, {"class_weights": "cat=-1"}, "(got 'cat=-1')"),
        (ONE, {"loss_weights": "knd=2"}, "--loss-weights: there is no task 'knd'. Did you mean 'kind'?"),
        (MANY, {"loss": "huber", "class_weights": "balanced"}, "need --loss binary or focal"),
        (ONE, {"focal_gamma": 3.0}, "--focal-gamma is for --loss focal, not for auto"),
        (ONE, {"own": "mse", "loss": "focal"}, "my.py: loss() gives the loss; leave --loss out"),
        (ONE, {"own": {"knd": "mse"}}, "my.py: loss(): there is no task 'knd'"),
        (ONE, {"own": lambda t, z: keras.ops.mean(z)}, "my.py: loss() returns shape [] for 3 pictures; expected [3]"),
        (ONE, {"own": lambda t, z: 1 / 0}, "ZeroDivisionError: division by zero"),
        (ONE, {"own": 3}, "my.py: loss() returns 3; expected a loss of Keras, its name, or a function"),
    ],
)  # fmt: skip
def test_a_wrong_loss_is_a_sentence(task, options, sentence):
    with pytest.raises(ConfigError) as error:
        loss_of(task, **options)
    assert sentence in str(error.value)


class Halved(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return losses.softmax_cross_entropy(y_true, y_pred) / 2


@pytest.mark.parametrize(
    ("own", "factor"),
    [
        (Halved(), 0.5),
        (lambda t, z: 3 * losses.softmax_cross_entropy(t, z), 3),
        ({"kind": "categorical"}, 1),
        (keras.losses.CategoricalCrossentropy(from_logits=True), 1),
        (keras.losses.CategoricalCrossentropy(), 1),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), 1),
    ],
)
def test_a_recipe_may_give_the_loss_in_several_ways(own, factor):
    found = values(loss_of(ONE, own=own), INDICES, LOGITS)
    np.testing.assert_allclose(
        found, factor * -log_softmax(LOGITS)[ONE_HOT == 1], rtol=1e-4, atol=2e-6
    )


def test_smoothing_and_class_weights_hold_for_a_recipes_loss_too():
    loss = loss_of(ONE, own=Halved(), label_smoothing=0.3, class_weights="dog=3")
    smoothed = 0.7 * ONE_HOT + 0.1
    expected = np.array([1, 3, 1])[INDICES] * -(smoothed * log_softmax(LOGITS)).sum(1) / 2
    close(values(loss, INDICES, LOGITS), expected)


def test_each_task_of_a_recipe_may_have_its_own():
    own = {"tags": lambda t, z: keras.ops.mean((t - z) ** 2, axis=-1)}
    options = TrainOptions(data="d", loss_weights="tags=0.5")
    counts = {t.name: dict.fromkeys(t.classes, 5) for t in (ONE, MANY)}
    made = losses_of([ONE, MANY], options, counts, 15, own=own, where="my.py: loss()")
    close(values(made["kind"], INDICES, LOGITS), -log_softmax(LOGITS)[ONE_HOT == 1])
    close(values(made["tags"], MARKS, MARK_LOGITS), ((MARKS - MARK_LOGITS) ** 2).mean(1) / 2)


def test_shares_are_refused_by_losses_of_indices():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ConfigError, match="leave mixup, CutMix and several labels out"):
        adapt(loss, ONE, "my.py: loss()", mixes=True)


def fitted(loss_options, own_metrics=None, tasks=(ONE, MANY)):
    """Train a linear model a step, validate on padded batches; return its logs and outputs."""
    options = TrainOptions(data="d", **loss_options)
    counts = {t.name: dict.fromkeys(t.classes, 5) for t in tasks}
    made = losses_of(tasks, options, counts, 15)
    inputs = keras.Input((5,))
    outputs = {t.name: keras.layers.Dense(len(t.classes), name=t.name)(inputs) for t in tasks}
    model = keras.Model(inputs, outputs)
    metrics = metrics_of(tasks, made, own=own_metrics, where="my.py: metrics()")
    model.compile("sgd", made, weighted_metrics=metrics, jit_compile=False)
    x = RNG.normal(size=(16, 5)).astype(np.float32)
    y = {"kind": INDICES, "tags": MARKS}
    y = {t.name: y[t.name] for t in tasks}
    weights = {t.name: np.r_[np.ones(9), np.zeros(7)].astype(np.float32) for t in tasks}
    clock = Clock(total_steps=2, batch_size=8)
    history = model.fit(x, y, batch_size=8, validation_data=(x, y, weights), validation_batch_size=8, callbacks=[clock], verbose=0)  # fmt: skip
    exact = {t.name: values(made[t.name], y[t.name], model.predict(x, verbose=0)[t.name])[:9].mean() for t in tasks}  # fmt: skip
    return {name: v[0] for name, v in history.history.items()}, exact


@pytest.mark.parametrize(
    "options",
    [{}, {"loss": "focal"}, {"label_smoothing": 0.2, "class_weights": "dog=3", "loss_weights": "kind=0.5,tags=2"}],
)  # fmt: skip
def test_the_validation_loss_counts_each_picture_once_and_weighs_tasks(options):
    logs, exact = fitted(options)
    close(logs["val_loss"], sum(exact.values()))
    close([logs["val_kind_loss"], logs["val_tags_loss"]], [exact["kind"], exact["tags"]])
    assert not [name for name in logs if "exact" in name]
    assert {"val_kind_cross_entropy", "val_tags_cross_entropy", "kind_accuracy"} <= set(logs)


def test_one_task_has_plain_names():
    logs, exact = fitted({}, tasks=(ONE,))
    close(logs["val_loss"], exact["kind"])
    close(logs["val_cross_entropy"], exact["kind"])


def test_a_recipes_metrics_are_added():
    top = keras.metrics.SparseTopKCategoricalAccuracy(3, name="top3")
    logs, _ = fitted({}, own_metrics=[top], tasks=(ONE,))
    assert logs["val_top3"] == 1.0
    assert "val_accuracy" in logs
    logs, _ = fitted(
        {}, own_metrics={"tags": [keras.metrics.BinaryAccuracy(threshold=9.0, name="strict")]}
    )
    assert "val_tags_strict" in logs


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        ([], "should return a dictionary by task, as there are 2"),
        ({"tag": []}, "there is no task 'tag'. Did you mean 'tags'?"),
        ({"kind": [3]}, "returns 3; expected metrics of Keras"),
        ({"kind": ["accuracy"]}, "returns a metric named 'accuracy', which there is already"),
    ],
)
def test_wrong_metrics_are_a_sentence(own, sentence):
    with pytest.raises(ConfigError) as error:
        fitted({}, own_metrics=own)
    assert sentence in str(error.value)


def test_what_a_recipe_does_wrong_names_its_line(tmp_path):
    file = tmp_path / "my.py"
    file.write_text("def loss():\n    return missing\n\ndef metrics():\n    pass\n")
    recipe = Recipe.load(file)
    with pytest.raises(
        ConfigError, match=r"my\.py, line 2: loss\(\): NameError: name 'missing' is not defined"
    ):
        recipe.make("loss")
    with pytest.raises(ConfigError, match=r"my\.py: metrics\(\) returns nothing"):
        recipe.make("metrics")
    assert Recipe.none().make("loss") is None


def test_a_training_uses_the_recipes_loss_and_metrics(shapes, tmp_path):
    from hornbeam import workflow

    file = tmp_path / "my.py"
    file.write_text(
        "import keras\n"
        "def loss():\n    return lambda t, z: keras.ops.sum((t - z) ** 2, axis=-1) * 0 + 7.0\n"
        "def metrics():\n    return [keras.metrics.SparseTopKCategoricalAccuracy(6, name='top6')]\n"
    )  # fmt: skip
    options = {"data": str(shapes), "run": tmp_path / "run", "recipe": file, "epochs": 1}
    run = workflow.train(TrainOptions(image_size=32, batch_size=8, **options))
    header, row = (line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines())
    logs = dict(zip(header, map(float, row), strict=True))
    assert logs["val_loss"] == logs["loss"] == 7.0
    assert logs["val_top6"] == 1.0
    assert "exact_loss" not in header


def test_smoothing_needs_what_it_spreads():
    for name, task, spread in (
        ("auto", ONE, 1 / 3),
        ("binary", ONE, 0.5),
        ("focal", MANY, 0.5),
        ("mse", ONE, 1 / 3),
    ):
        assert loss_named(name, task, gamma=2.0, positive=None, mixes=False)[1] == pytest.approx(
            spread
        )
    assert isinstance(
        TaskLoss(functools.partial(losses.softmax_focal, gamma=1.0), ONE), keras.losses.Loss
    )
