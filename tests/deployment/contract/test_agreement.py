"""How far answers are apart, and what of it is too much: by numbers counted by hand."""

import dataclasses

import numpy as np
import pytest

from hornbeam.config import TOLERANCES
from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.deployment.contract.agreement import HeldOut, compare
from hornbeam.deployment.contract.asking import not_finite
from hornbeam.deployment.contract.verdict import advice, failures, suffering
from hornbeam.evaluation.comparison.paired import score_interval

KIND = Task("kind", ("a", "b", "c"))
MARKS = Task("marks", ("x", "y"), multi_label=True)


def manifest(*tasks, **others):
    about = {
        "calibration": {}, "abstain": {}, "unknown": None, "groups": {}, "versions": {},
        "fingerprints": {},
    } | others  # fmt: skip
    return Manifest("n", "t", (8, 8, 3), "crop", 1, None, (), tasks, **about)


def spread(best, rest=0.1, count=3):
    """Return one row a best class: its probability is 1 less the rest of all others."""
    rows = np.full((len(best), count), rest)
    rows[np.arange(len(best)), best] = 1 - rest * (count - 1)
    return rows


def test_equal_answers_are_equal():
    expected = spread([0, 1, 2, 0])
    held_out = HeldOut({"kind": expected}, {"kind": np.array([0, 1, 2, 1])})
    found = compare(held_out, {"kind": expected.astype(np.float32)}, manifest(KIND))["kind"]
    assert found["first_answer_equal"] == found["clear_answer_equal"] == 1
    assert found["clear_answers"] == 4
    assert found["largest_difference"] < 1e-7
    assert found["accuracy"]["model"] == found["accuracy"]["artifact"] == 0.75
    assert found["suffering"] == []
    for tolerance in TOLERANCES.values():
        assert failures({"kind": found}, tolerance) == []


def test_changed_answers_are_counted_and_their_classes_named():
    expected = spread([0, 0, 1, 2])
    expected[3] = [0.33, 0.32, 0.35]  # not clear
    changed = expected.copy()
    changed[0] = [0.3, 0.5, 0.2]
    changed[3] = [0.36, 0.30, 0.34]
    held_out = HeldOut({"kind": expected}, {"kind": np.array([0, 0, 1, 0])})
    found = compare(held_out, {"kind": changed}, manifest(KIND))["kind"]
    assert found["first_answer_equal"] == 0.5
    assert found["clear_answers"] == 3
    assert found["clear_answer_equal"] == pytest.approx(2 / 3)
    assert found["largest_difference"] == pytest.approx(0.5)
    assert found["mean_largest_difference"] == pytest.approx((0.5 + 0.03) / 4)
    assert found["accuracy"] == pytest.approx({
        "pictures": 4, "model": 0.75, "artifact": 0.75, "change": 0.0,
        "low": score_interval(1, 1, 4)[0], "high": score_interval(1, 1, 4)[1],
    })  # fmt: skip
    assert found["suffering"] == [
        {"class": "c", "pictures": 1, "changed": 1}, {"class": "a", "pictures": 2, "changed": 1},
    ]  # fmt: skip
    assert suffering({"kind": found}) == "Most changed are answers of c (1 of 1), a (1 of 2)."


def test_of_answers_that_tie_any_will_do():
    expected = np.array([[0.4, 0.4, 0.2]])
    found = compare(
        HeldOut({"kind": expected}, {"kind": np.array([0])}),
        {"kind": expected + np.array([[-1e-6, 1e-6, 0]])}, manifest(KIND),
    )["kind"]  # fmt: skip
    assert found["first_answer_equal"] == 1
    assert found["clear_answers"] == 0


def test_pictures_without_a_label_count_for_agreement_alone():
    expected = spread([0, 1])
    labels = np.array([-1, 1])
    held_out = HeldOut({"kind": expected}, {"kind": labels}, np.array([0, 1]))
    found = compare(held_out, {"kind": expected}, manifest(KIND))["kind"]
    assert (found["pictures"], found["accuracy"]["pictures"]) == (2, 1)
    none = compare(
        HeldOut({"kind": expected}, {"kind": np.array([-1, -1])}),
        {"kind": expected},
        manifest(KIND),
    )
    assert none["kind"]["accuracy"] is None


def test_each_mark_is_a_decision_at_one_half():
    expected = np.array([[0.9, 0.1], [0.52, 0.2]])
    changed = np.array([[0.9, 0.1], [0.48, 0.2]])
    labels = np.array([[True, False], [True, False]])
    found = compare(
        HeldOut({"marks": expected}, {"marks": labels}), {"marks": changed}, manifest(MARKS)
    )["marks"]
    assert found["first_answer_equal"] == 0.75
    assert (found["clear_answers"], found["clear_answer_equal"]) == (3, 1.0)
    assert (found["accuracy"]["model"], found["accuracy"]["artifact"]) == (1.0, 0.5)
    assert found["suffering"] == [{"class": "x", "pictures": 2, "changed": 1}]


@pytest.mark.parametrize(("below", "equal"), [(0.75, 0.5), (None, 1.0), (0.8, 1.0)])
def test_sure_answers_are_compared(below, equal):
    expected, changed = spread([0, 0]), spread([0, 0])
    changed[0] = [0.7, 0.2, 0.1]
    if below == 0.8:
        changed[0] = [0.8 - 1e-7, 0.1, 0.1]  # float32 does not tell that from 0.8
    found = compare(
        HeldOut({"kind": expected}, {"kind": np.array([0, 0])}), {"kind": changed},
        manifest(KIND, abstain={"kind": {"below": below, "meaning": ""}}),
    )  # fmt: skip
    assert found["kind"]["sure_equal"] == equal


def test_the_unknown_score_is_compared_by_its_flag_and_its_size():
    answers = spread([0, 0, 0, 0])
    score = np.array([[-40.0], [-10.0], [-5.0], [-1.0]])
    about = manifest(KIND, unknown={"above": -4.0})
    held_out = HeldOut({"kind": answers, "unknown": score}, {"kind": np.zeros(4, int)})
    found = compare(held_out, {"kind": answers, "unknown": score + 2}, about)["unknown"]
    assert found["flag_equal"] == 0.75
    assert found["largest_difference"] == 2
    assert found["relative_difference"] == 0.05
    said = failures({"unknown": found}, TOLERANCES["litert"])
    assert "75 % are called unknown or not as by the model, less than 99.9 %" in said[0]
    assert "the score differs by 0.05, more than 0.0001" in said[1]


GOOD = {
    "pictures": 1000, "answers": 1000, "clear_answers": 1000, "first_answer_equal": 1.0, "clear_answer_equal": 1.0, "largest_difference": 0.0,
    "mean_largest_difference": 0.0, "accuracy": {"change": 0.0}, "sure_equal": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("format", "name", "value", "sentence"),
    [
        ("litert", "first_answer_equal", 0.998, "99.8 % of the first answers are the model's, less than 99.9 %"),
        ("onnx", "clear_answer_equal", 0.999, "where its margin exceeds 0.1, less than 100 %"),
        ("openvino", "largest_difference", 2e-4, "a probability differs by 0.0002, more than 0.0001"),
        ("litert-f16", "first_answer_equal", 0.994, "less than 99.5 %"),
        ("litert-f16", "largest_difference", 0.021, "more than 0.02"),
        ("litert-dynamic", "first_answer_equal", 0.969, "less than 97 %"),
        ("litert-dynamic", "clear_answer_equal", 0.994, "less than 99.5 %"),
        ("litert-dynamic", "mean_largest_difference", 0.031, "differ on average by 0.031, more than 0.03"),
        ("litert-int8", "clear_answer_equal", 0.984, "less than 98.5 %"),
        ("onnx-int8", "mean_largest_difference", 0.061, "more than 0.06"),
        ("edgetpu", "accuracy", {"change": -0.021}, "the accuracy is down by 2.1 points, more than 2"),
        ("litert-int8", "sure_equal", 0.89, "89 % are sure or not as the model's, less than 90 %"),
        ("litert", "largest_difference", float("nan"), "a probability differs by nan"),
        ("litert", "first_answer_equal", float("nan"), "nan % of the first answers"),
    ],
)  # fmt: skip
def test_each_tolerance_of_the_design_is_held(format, name, value, sentence):
    said = failures({"kind": {**GOOD, name: value}}, TOLERANCES[format])
    assert len(said) == 1
    assert sentence in said[0]
    assert advice(format)


@pytest.mark.parametrize(
    ("format", "change"),
    [
        ("litert", {"largest_difference": 9e-5}),
        ("litert-f16", {"first_answer_equal": 0.996, "largest_difference": 0.009}),
        ("litert-dynamic", {"first_answer_equal": 0.98, "largest_difference": 0.2}),
        ("litert-int8", {"first_answer_equal": 0.85, "accuracy": {"change": -0.019}}),
        ("litert", {"accuracy": None}),
    ],
)  # fmt: skip
def test_what_is_within_is_no_failure(format, change):
    assert failures({"kind": {**GOOD, **change}}, TOLERANCES[format]) == []


@pytest.mark.parametrize(
    ("format", "changed", "fails"),
    [("litert-dynamic", 1, False), ("litert-dynamic", 2, True), ("litert", 1, True)],
)
def test_one_picture_of_few_may_change_where_some_may(format, changed, fails):
    numbers = {**GOOD, "pictures": 25, "answers": 25, "first_answer_equal": 1 - changed / 25}
    assert bool(failures({"kind": numbers}, TOLERANCES[format])) == fails


@pytest.mark.parametrize(("changed", "fails"), [(1, False), (2, True)])
def test_clear_answers_are_counted_among_the_clear_ones(changed, fails):
    expected = np.full((500, 3), 0.0)
    expected[:] = [0.53, 0.47, 0.0]  # not clear
    expected[:60] = [0.6, 0.4, 0.0]
    found = expected.copy()
    found[:changed] = [0.49, 0.51, 0.0]
    held_out = HeldOut({"kind": expected}, {"kind": np.zeros(500, int)})
    compared = compare(held_out, {"kind": found}, manifest(KIND))
    assert compared["kind"]["clear_answers"] == 60
    said = failures(compared, TOLERANCES["litert-int8"])
    assert [("margin exceeds" in sentence) for sentence in said] == [True] * fails


@pytest.mark.parametrize(("changed", "fails"), [(30, True), (13, True), (12, False)])
def test_marks_are_counted_among_all_decisions(changed, fails):
    task = Task("marks", tuple(f"c{i}" for i in range(20)), multi_label=True)
    expected = np.full((20, 20), 0.52)
    found = expected.copy()
    found.reshape(-1)[:changed] = 0.48
    held_out = HeldOut({"marks": expected}, {"marks": np.ones((20, 20), bool)})
    compared = compare(held_out, {"marks": found}, manifest(task))
    assert compared["marks"]["answers"] == 400
    said = [s for s in failures(compared, TOLERANCES["litert-dynamic"]) if "first answers" in s]
    assert bool(said) == fails


def test_advice_names_no_option_that_the_format_does_not_heed():
    assert "--int8-activations 16" in advice("litert-int8")
    assert "--float-layers auto" in advice("litert-int8")
    assert "--int8-activations 16" in advice("onnx-int8")
    assert "--float-layers" not in advice("onnx-int8")
    for other in set(TOLERANCES) - {"litert-int8", "onnx-int8"}:
        assert "--int8-activations" not in advice(other)
        assert "--float-layers" not in advice(other)


def test_groups_widen_the_interval_of_the_accuracy():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    expected = spread(labels)
    changed = expected.copy()
    changed[:20] = spread((labels[:20] + 1) % 3)  # two groups of ten, all wrong
    held_out = HeldOut({"kind": expected}, {"kind": labels})
    alone = compare(held_out, {"kind": changed}, manifest(KIND))["kind"]["accuracy"]
    grouped = dataclasses.replace(held_out, groups=np.arange(200) // 10)
    together = compare(grouped, {"kind": changed}, manifest(KIND))["kind"]["accuracy"]
    assert alone["change"] == together["change"] == pytest.approx(-0.1)
    assert together["high"] - together["low"] > 1.5 * (alone["high"] - alone["low"])


def test_what_is_no_number_is_counted_by_picture():
    values = np.ones((4, 3), np.float32)
    values[1, 2], values[3] = np.nan, np.inf
    assert not_finite({"a": values, "b": np.ones((4, 1))}) == 2
