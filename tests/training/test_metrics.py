"""Streamed metrics agree with scikit-learn, on any backend, and padding changes none of them."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from hornbeam.config import TrainOptions
from hornbeam.data.tasks import Task
from hornbeam.errors import ConfigError
from hornbeam.groups import groupings_of
from hornbeam.measures import parse_measure
from hornbeam.training.metrics import log_odds, metric_of
from hornbeam.training.objective import losses_of, metrics_of

ONE = Task("label", ("cat", "dog", "car", "a tree: né,e"))
MANY = Task("marks", ("round", "flat", "red"), multi_label=True)
GROUPS = {"animal": ["cat", "dog"]}
COUNTED = ["macro_precision", "macro_recall", "macro_f1"]
RANKED = ["auc", "average_precision", "sensitivity_at_specificity=0.9"]


def answers(task, count, seed=0, sure=1.5):
    """Labels, and logits that are mostly right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, len(task.classes))).astype(np.float32) * sure
    if task.multi_label:
        truth = (rng.random(logits.shape) < 0.3).astype(np.float32)
        return truth, logits + sure * (truth - 0.5)
    truth = rng.integers(0, len(task.classes), count).astype(np.int32)
    logits[np.arange(count), truth] += sure
    return truth, logits


def value(name, task, *batches, groups=None):
    """Feed batches of targets, logits and weights; return the metric's value."""
    grouping = groupings_of(groups, {task.name: task.classes}).get(task.name)
    metric = metric_of(parse_measure(name), task, grouping)
    assert metric.name == name
    for truth, logits, *weights in batches:
        metric.update_state(truth, logits, *weights)
    return float(metric.result())


def in_batches(truth, logits, size=37):
    return [(truth[i : i + size], logits[i : i + size]) for i in range(0, len(truth), size)]


def probabilities(task, logits):
    function = scipy.special.expit if task.multi_label else scipy.special.softmax
    options = {} if task.multi_label else {"axis": 1}
    return function(logits.astype(np.float64), **options)


def marks(task, truth):
    return truth if task.multi_label else np.eye(len(task.classes))[truth]


def predicted(task, logits):
    return logits >= 0 if task.multi_label else logits.argmax(axis=1)


def expected_counted(kind, task, truth, logits, **options):
    function = getattr(reference, f"{kind}_score")
    return function(truth, predicted(task, logits), zero_division=0, **options)


def expected_ranked(name, truth, scores):
    """Of one class, by scikit-learn."""
    if name == "auc":
        return reference.roc_auc_score(truth, scores)
    if name == "average_precision":
        return reference.average_precision_score(truth, scores)
    false, true, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    return true[1 - false >= float(name.partition("=")[2]) - 1e-9].max()


@pytest.mark.parametrize("task", [ONE, MANY], ids=["one label", "several labels"])
@pytest.mark.parametrize("name", COUNTED)
def test_means_of_counts_are_scikit_learns(name, task):
    truth, logits = answers(task, 500)
    found = value(name, task, *in_batches(truth, logits))
    kind = name.removeprefix("macro_")
    assert found == pytest.approx(
        expected_counted(kind, task, truth, logits, average="macro"), abs=1e-6
    )


@pytest.mark.parametrize("task", [ONE, MANY], ids=["one label", "several labels"])
@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_counts_of_a_class_are_scikit_learns(kind, task):
    truth, logits = answers(task, 500)
    expected = expected_counted(kind, task, truth, logits, average=None)
    for place, name in enumerate(task.classes):
        found = value(f"{kind}:{name}", task, *in_batches(truth, logits))
        assert found == pytest.approx(expected[place], abs=1e-6)


@pytest.mark.parametrize("sure", [0.3, 1.5, 8, 40], ids=lambda sure: f"logits of {sure}")
@pytest.mark.parametrize("task", [ONE, MANY], ids=["one label", "several labels"])
@pytest.mark.parametrize("name", RANKED)
def test_what_is_ranked_is_scikit_learns_within_the_bins(name, task, sure):
    truth, logits = answers(task, 4000, sure=sure)
    # Probabilities of a very sure model are all 0 or 1 in float64, too; its log-odds are not.
    scores = np.asarray(log_odds(logits.astype(np.float32), task), np.float64)
    if sure < 2:
        order = probabilities(task, logits)
        np.testing.assert_allclose(scipy.special.expit(scores), order, rtol=1e-4, atol=1e-7)
        scores = order
    known = marks(task, truth)
    each = [expected_ranked(name, known[:, i], scores[:, i]) for i in range(len(task.classes))]
    # A step of the curve is one picture; sensitivities may be off by the few of one bin.
    tolerance = 0.0005 if name == "auc" else 0.002
    assert value(name, task, *in_batches(truth, logits)) == pytest.approx(
        np.mean(each), abs=tolerance
    )
    last = value(f"{name}:{task.classes[-1]}", task, *in_batches(truth, logits))
    assert last == pytest.approx(each[-1], abs=2 * tolerance)


def test_bins_stay_fine_enough_for_a_thousand_classes():
    task = Task("label", tuple(f"c{i}" for i in range(1000)))
    truth, logits = answers(task, 3000)
    order = probabilities(task, logits)
    each = [reference.roc_auc_score(truth == i, order[:, i]) for i in np.unique(truth)]
    assert value("auc", task, *in_batches(truth, logits, 500)) == pytest.approx(
        np.mean(each), abs=5e-4
    )


@pytest.mark.parametrize("k", [2, 3])
def test_the_first_few_answers_are_scikit_learns(k):
    truth, logits = answers(ONE, 500)
    expected = reference.top_k_accuracy_score(truth, logits, k=k)
    assert value(f"top_{k}", ONE, *in_batches(truth, logits)) == pytest.approx(expected, abs=1e-6)


def test_a_group_is_answered_by_the_sum_of_its_classes():
    logits = np.log(np.array([[0.3, 0.3, 0.35, 0.05], [0.1, 0.2, 0.6, 0.1]], np.float32))
    # "car" is the first answer to both; "animal" has 0.6 of the first.
    assert value("group_accuracy", ONE, (np.array([0, 0]), logits), groups=GROUPS) == 0.5
    assert value("group_accuracy", ONE, (np.array([1, 2]), logits), groups=GROUPS) == 1.0
    truth, logits = answers(ONE, 300)
    shares = probabilities(ONE, logits)
    summed = np.stack([shares[:, :2].sum(axis=1), shares[:, 2], shares[:, 3]], axis=1)
    expected = reference.accuracy_score(np.array([0, 0, 1, 2])[truth], summed.argmax(axis=1))
    found = value("group_accuracy", ONE, *in_batches(truth, logits), groups=GROUPS)
    assert found == pytest.approx(expected, abs=1e-6)


def test_classes_without_pictures_count_in_no_mean():
    truth, logits = answers(ONE, 200)
    truth = np.where(truth == 3, 0, truth)
    there = {"labels": [0, 1, 2], "average": "macro"}
    for kind in ("precision", "recall", "f1"):
        expected = expected_counted(kind, ONE, truth, logits, **there)
        assert value(f"macro_{kind}", ONE, (truth, logits)) == pytest.approx(expected, abs=1e-6)
        assert np.isnan(value(f"{kind}:{ONE.classes[3]}", ONE, (truth, logits)))
    order = probabilities(ONE, logits)
    each = [reference.roc_auc_score(truth == i, order[:, i]) for i in range(3)]
    assert value("auc", ONE, (truth, logits)) == pytest.approx(np.mean(each), abs=2e-3)
    assert np.isnan(value("macro_f1", ONE, (truth, logits, np.zeros(200, np.float32))))
    assert np.isnan(value("auc", ONE, (truth, logits, np.zeros(200, np.float32))))


def test_a_class_that_is_never_answered_has_the_precision_0():
    logits = np.array([[2, 0, 0, 0], [2, 0, 0, 0]], np.float32)
    assert value("precision:dog", ONE, (np.array([0, 1]), logits)) == 0
    assert value("f1:dog", ONE, (np.array([0, 1]), logits)) == 0


def test_mixed_targets_count_as_their_larger_part():
    truth, logits = answers(ONE, 200)
    mixed = (
        0.7 * np.eye(4, dtype=np.float32)[truth] + 0.3 * np.eye(4, dtype=np.float32)[::-1][truth]
    )
    for name in (*COUNTED, *RANKED, "top_2", "group_accuracy"):
        plain = value(name, ONE, (truth, logits), groups=GROUPS)
        assert value(name, ONE, (mixed, logits), groups=GROUPS) == plain


@pytest.mark.parametrize("task", [ONE, MANY], ids=["one label", "several labels"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_padding_and_batches_change_no_value(task, data):
    truth, logits = answers(task, data.draw(st.integers(1, 60)), seed=data.draw(st.integers(0, 99)))
    names = [*COUNTED, *RANKED, f"f1:{task.classes[1]}", f"auc:{task.classes[0]}"]
    names += [] if task.multi_label else ["top_2", "group_accuracy"]
    size = data.draw(st.integers(1, 20))
    padded = []
    for some, of_them in in_batches(truth, logits, size):
        # Padding between the pictures, with any labels and logits, even such as are no numbers.
        pads = data.draw(st.integers(0, 5))
        fill = np.float32(data.draw(st.sampled_from([0.0, 7.5, -1e30, np.inf, np.nan])))
        order = np.random.default_rng(pads).permutation(len(some) + pads)
        padded.append((
            np.concatenate([some, np.zeros((pads, *some.shape[1:]), some.dtype)])[order],
            np.concatenate([of_them, np.full((pads, logits.shape[1]), fill)])[order],
            np.concatenate([np.ones(len(some)), np.zeros(pads)]).astype(np.float32)[order],
        ))  # fmt: skip
    groups = None if task.multi_label else GROUPS
    for name in names:
        plain = value(name, task, (truth, logits), groups=groups)
        np.testing.assert_allclose(
            value(name, task, *padded, groups=groups), plain, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.slow)])
def test_compiled_and_in_several_tasks_they_tell_the_same(backend, tmp_path):
    """Through `fit` and `evaluate`, with missing labels; state survives in `metrics_variables`."""
    names = (*COUNTED, *RANKED, "top_2", "f1:cat", "auc:a tree: né,e", "recall:red")
    data = {task.name: answers(task, 90) for task in (ONE, MANY)}
    weights = (np.random.default_rng(5).random(90) < 0.8).astype(np.float32)
    np.savez(
        tmp_path / "in.npz", weights=weights,
        **{f"{k}_{i}": v for k, pair in data.items() for i, v in enumerate(pair)},
    )  # fmt: skip
    code = f"""
import json, keras, numpy as np
from hornbeam.backend import compiles_with_xla
from test_metrics import GROUPS, MANY, ONE, TrainOptions, losses_of, metrics_of
data = np.load({str(tmp_path / "in.npz")!r})
inputs = {{name: keras.Input((n,), name=f"in_{{name}}") for name, n in (("label", 4), ("marks", 3))}}
outputs = {{k: keras.layers.Activation("linear", name=k)(v) for k, v in inputs.items()}}
model = keras.Model(list(inputs.values()), outputs)
losses = losses_of((ONE, MANY), TrainOptions(data="x"), {{}}, 90)
metrics = metrics_of((ONE, MANY), losses, names={names!r}, groups=GROUPS)
model.compile("sgd", losses, weighted_metrics=metrics, jit_compile=compiles_with_xla())
x = [data["label_1"], data["marks_1"]]
y = {{"label": data["label_0"], "marks": data["marks_0"]}}
w = {{"label": data["weights"], "marks": np.ones(90, "float32")}}
whole = model.evaluate(x, y, 30, sample_weight=w, return_dict=True, verbose=0)
kept = None
for s in (slice(0, 30), slice(30, 60), slice(60, 90)):
    reset = model.reset_metrics
    def restore():  # in place of the reset at the begin of test_on_batch
        reset()
        for variable, array in zip(model.metrics_variables, kept or [], strict=bool(kept)):
            variable.assign(array)
    model.reset_metrics = restore
    part = [{{k: v[s] for k, v in a.items()}} for a in (y, w)]
    resumed = model.test_on_batch([v[s] for v in x], *part, return_dict=True)
    model.reset_metrics = reset
    kept = [np.array(variable) for variable in model.metrics_variables]
history = model.fit(x, y, 30, sample_weight=w, verbose=0, shuffle=False).history
fitted = {{k: v[0] for k, v in history.items()}}
print(json.dumps([{{k: float(v) for k, v in d.items()}} for d in (whole, resumed, fitted)]))
"""
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.path.dirname(__file__),
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    whole, resumed, fitted = json.loads(done.stdout.splitlines()[-1])
    for task in (ONE, MANY):
        truth, logits = data[task.name]
        kept = weights if task is ONE else np.ones(90, np.float32)
        batch = (truth[kept > 0], logits[kept > 0])
        of_task = [n for n in names if n != "top_2" and ":" not in n]
        of_task += (
            ["top_2", "f1:cat", "auc:a tree: né,e", "group_accuracy"] if task is ONE
            else ["recall:red"]
        )  # fmt: skip
        for name in of_task:
            expected = value(name, task, batch, groups=GROUPS if task is ONE else None)
            for found in (whole, resumed, fitted):
                assert found[f"{task.name}_{name}"] == pytest.approx(expected, abs=2e-6), name


def test_the_state_of_a_metric_is_in_keras_variables():
    metric = metric_of(parse_measure("auc"), ONE, None)
    other = metric_of(parse_measure("auc"), ONE, None)
    truth, logits = answers(ONE, 50)
    metric.update_state(truth, logits)
    for there, here in zip(other.variables, metric.variables, strict=True):
        there.assign(here)
    assert float(other.result()) == float(metric.result())
    metric.reset_state()
    assert np.isnan(float(metric.result()))


def make(names, tasks=(ONE,), **options):
    losses = losses_of(tasks, TrainOptions(data="x"), {}, 10)
    return metrics_of(tasks, losses, names=names, **options)


@pytest.mark.parametrize(
    ("names", "tasks", "said"),
    [
        (["f1:Cat"], (ONE,), "--metrics f1:Cat: there is no class 'Cat'. Did you mean 'cat'?"),
        (["top_4"], (ONE,), "--metrics top_4: with 4 classes it would always be 1."),
        (["top_2"], (MANY,), "--metrics top_2 is for one label a picture."),
        (["group_accuracy"], (ONE,), "--metrics group_accuracy needs --groups FILE."),
    ],
)
def test_what_suits_no_task_is_an_error(names, tasks, said):
    with pytest.raises(ConfigError) as error:
        make(names, tasks)
    assert str(error.value) == said


def test_measures_go_to_the_tasks_that_they_suit():
    made = make(["top_2", "macro_f1", "f1:red"], (ONE, MANY), groups=GROUPS)
    names = {task: [metric.name for metric in of_task] for task, of_task in made.items()}
    assert names == {
        "label": ["accuracy", "cross_entropy", "top_2", "macro_f1", "group_accuracy", "exact_loss"],
        "marks": ["binary_accuracy", "cross_entropy", "macro_f1", "f1:red", "exact_loss"],
    }


def test_a_recipes_metric_may_not_have_the_name_of_one_of_ours():
    with pytest.raises(ConfigError, match="'macro_f1', which there is already"):
        make(["macro_f1"], own=[keras.metrics.Mean(name="macro_f1")], where="r.py: metrics()")
    made = make(["macro_f1"], own=[keras.metrics.Mean(name="mine")], where="r.py: metrics()")
    assert made["label"][-1].name == "mine"
