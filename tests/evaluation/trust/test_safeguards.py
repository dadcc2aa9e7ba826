"""What was fitted is kept whole, comes back the same, and holds on other pictures."""

import dataclasses
import json
import re

import numpy as np
import pytest
import scipy.special

from hornbeam.config import PRECISIONS
from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.errors import RunError
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.trust.measuring import measure_trust
from hornbeam.evaluation.trust.safeguards import Safeguards, fit_safeguards
from hornbeam.evaluation.trust.unknown import Unknown

KINDS = Task("kind", ("a", "b", "c", "d"))
MARKS = Task("marks", ("x", "y"), multi_label=True)


def pictures(count, seed=0, split="validation", features=True, marks=True, factor=2.5):
    """Clusters in 12 dimensions, logits too large by `factor`, every tenth label missing."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(42).normal(size=(4, 12)) * 1.2
    labels = rng.integers(0, 4, count)
    places = centres[labels] + rng.normal(size=(count, 12))
    logits = places @ centres.T - (centres**2).sum(axis=1) / 2
    there = scipy.special.expit(places[:, :2]) > rng.random((count, 2))
    table = {KINDS: np.where(np.arange(count) % 10, labels, -1)}
    paths = [f"{split}{i}.jpg" for i in range(count)]
    import pyarrow as pa

    columns = {KINDS: pa.array(table[KINDS].astype(np.int32), mask=table[KINDS] < 0)}
    if marks:
        columns[MARKS] = [np.flatnonzero(row).tolist() for row in there]
    dataset = Dataset.from_columns("/nowhere", paths, [split] * count, columns)
    every = {"kind": (logits * factor).astype(np.float32)}
    if marks:
        every["marks"] = (places[:, :2] * factor).astype(np.float32)
    tasks = (KINDS, MARKS) if marks else (KINDS,)
    return Predictions(dataset, tasks, every, places.astype(np.float32) if features else None)


@pytest.fixture(scope="module")
def fitted():
    return fit_safeguards(pictures(400), precision=0.9, training=pictures(300, 1, "train"))


def test_they_come_back_as_they_were(fitted, tmp_path):
    fitted.save(tmp_path)
    again = Safeguards.load(tmp_path)
    assert again.scalings == fitted.scalings
    assert again.thresholds == fitted.thresholds
    assert again.offered == fitted.offered
    assert again.unknown.sentence == fitted.unknown.sentence
    other = pictures(50, 9)
    np.testing.assert_array_equal(again.unknown_scores(other), fitted.unknown_scores(other))
    assert again.unknown.trials == fitted.unknown.trials
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"calibration.json", "unknown.npz"}
    json.loads((tmp_path / "calibration.json").read_text(), parse_constant=pytest.fail)


def test_a_run_without_them_scales_nothing_and_is_sure_of_all(tmp_path):
    nothing = Safeguards.load(tmp_path)
    assert nothing == Safeguards()
    assert nothing.sure(pictures(5), KINDS) is None
    assert nothing.unknown_scores(pictures(5)) is None


def test_damage_is_told(fitted, tmp_path):
    fitted.save(tmp_path)
    (tmp_path / "unknown.npz").write_bytes(b"something else")
    with pytest.raises(RunError, match=r"of another fit.*makes it anew"):
        Safeguards.load(tmp_path)
    for damage in ("{", "[]", "{}", '{"tasks": 3}'):
        (tmp_path / "calibration.json").write_text(damage)
        with pytest.raises(RunError, match="cannot be read"):
            Safeguards.load(tmp_path)


def test_each_task_gets_a_scaling_and_those_of_one_label_thresholds(fitted):
    assert set(fitted.scalings) == {"kind", "marks"}
    assert fitted.scalings["kind"].temperature == pytest.approx(2.5, rel=0.3)
    assert set(fitted.thresholds) == set(fitted.offered) == {"kind"}
    assert [t.level for t in fitted.offered["kind"]] == list(PRECISIONS)
    sure = fitted.sure(pictures(50, 9), KINDS)
    assert sure.dtype == bool
    assert fitted.sure(pictures(50, 9), MARKS) is None


def test_what_is_wanted_holds_on_other_pictures(fitted):
    others = pictures(3000, 5, "test")
    scaled = Predictions(others.dataset, others.tasks, others.logits, scalings=fitted.scalings)
    labels = others.dataset.labels(KINDS)
    sure = fitted.sure(scaled, KINDS) & (labels >= 0)
    assert (scaled.predicted(KINDS) == labels)[sure].mean() > 0.89
    assert 0.2 < sure.mean() < 0.9


def test_a_wanted_coverage_and_no_calibration():
    fitted = fit_safeguards(pictures(400), calibration="none", coverage=0.5)
    assert fitted.scalings["kind"].is_identity
    # Uncalibrated, many are so sure that float32 cannot tell them apart; equal ones stay together.
    assert 0.5 <= fitted.thresholds["kind"].coverage.value < 0.6
    assert fit_safeguards(pictures(400)).thresholds == {}


def test_the_unknown_score_is_kept_if_it_is_given(fitted):
    again = fit_safeguards(pictures(400, features=False), unknown=fitted.unknown)
    assert again.unknown is fitted.unknown


@pytest.mark.parametrize("count", [0, 1, 3])
def test_hardly_any_pictures_are_survived(count, tmp_path):
    few = pictures(400).take(np.arange(count))
    fitted = fit_safeguards(few, precision=0.9)
    fitted.save(tmp_path)
    json.loads((tmp_path / "calibration.json").read_text(), parse_constant=pytest.fail)
    again = Safeguards.load(tmp_path)
    assert again.thresholds["kind"].probability is None
    assert again.scalings["kind"].is_identity
    measure_trust(few, fitted, fitted_here=True)


def test_the_error_shrinks_on_other_pictures_and_in_cross_fitting(fitted):
    for predictions, fitted_here in ((pictures(400), True), (pictures(2000, 5, "test"), False)):
        trust = measure_trust(predictions, fitted, fitted_here=fitted_here)
        for name in ("kind", "marks"):
            assert trust[name].after.corrected.value < 0.6 * trust[name].before.corrected.value
            assert abs(trust[name].after.gap.value) < abs(trust[name].before.gap.value)
        assert trust["kind"].thresholds == [fitted.thresholds["kind"]]
        assert any("unknown" in said for said in trust["kind"].sentences)
    assert any("have a sure answer" in said for said in trust["kind"].sentences)


def test_where_no_answer_is_sure_a_sentence_says_so():
    fitted = fit_safeguards(pictures(400), precision=0.9)
    other = pictures(50, 5, "test")
    never = dataclasses.replace(fitted.thresholds["kind"], probability=None)
    fitted = dataclasses.replace(fitted, thresholds={"kind": never})
    said = measure_trust(other, fitted, fitted_here=False)["kind"].sentences
    assert "None of these pictures has a sure answer." in said


def test_what_nobody_labelled_is_left_out():
    predictions = pictures(50)
    none = predictions.take(np.arange(0, 50, 10))
    assert set(measure_trust(none, Safeguards(), fitted_here=False)) == {"marks"}


def grouped(predictions, groups):
    dataset = predictions.dataset.with_column("group", list(groups))
    return Predictions(dataset, predictions.tasks, predictions.logits, predictions.features)


def test_pictures_of_a_single_group_are_survived(tmp_path):
    one = grouped(pictures(400), ["a"] * 400)
    fitted = fit_safeguards(one, precision=0.9, training=pictures(300, 1, "train"))
    fitted.save(tmp_path)
    json.loads((tmp_path / "calibration.json").read_text(), parse_constant=pytest.fail)
    again = Safeguards.load(tmp_path)
    assert again.thresholds == fitted.thresholds
    assert again.thresholds["kind"].probability is None
    assert again.scalings["kind"].temperature == pytest.approx(2.5, rel=0.3)
    # Nothing was held back that could tell what calibration does.
    assert measure_trust(one, fitted, fitted_here=True)["kind"].after is None
    assert measure_trust(one, fitted, fitted_here=False)["kind"].after is not None
    half = fit_safeguards(one, coverage=0.5)
    half.save(tmp_path)
    json.loads((tmp_path / "calibration.json").read_text(), parse_constant=pytest.fail)
    assert Safeguards.load(tmp_path).thresholds == half.thresholds


def test_a_picture_of_no_numbers_changes_nothing_for_the_others():
    good, training = pictures(400), pictures(300, 1, "train")
    bad = Predictions(
        good.dataset,
        good.tasks,
        {n: v.copy() for n, v in good.logits.items()},
        good.features.copy(),
    )
    for values in (*bad.logits.values(), bad.features):
        values[7] = np.nan
    rest = np.delete(np.arange(400), 7)
    found = fit_safeguards(bad, precision=0.9, training=training)
    clean = fit_safeguards(good.take(rest), precision=0.9, training=training)
    assert found.thresholds == clean.thresholds
    assert found.scalings["kind"].scale == clean.scalings["kind"].scale
    assert found.unknown.threshold == clean.unknown.threshold
    for fitted_here in (True, False):
        trust = measure_trust(bad, found, fitted_here=fitted_here)
        wanted = measure_trust(good.take(rest), clean, fitted_here=fitted_here)
        for name in ("kind", "marks"):
            assert trust[name].before.corrected == wanted[name].before.corrected
            assert trust[name].after.corrected == wanted[name].after.corrected
            assert any("1 picture has logits" in said for said in trust[name].sentences)


def test_intervals_in_the_sentences_are_of_groups(fitted):
    few = pictures(300, 5, "test", marks=False)
    same = few.take(np.repeat(np.arange(300), 10))
    groups = [f"g{i // 10}" for i in range(3000)]
    said = []
    for predictions in (same, grouped(same, groups)):
        sentences = measure_trust(predictions, fitted, fitted_here=False)["kind"].sentences
        for words in ("have a sure answer", "are marked as unknown"):
            text = next(s for s in sentences if words in s and s.startswith("Of these"))
            low, high = re.search(r"\(([\d.]+)% to ([\d.]+)%\)", text).groups()
            said.append(float(high) - float(low))
    # Ten copies of a picture are one witness: the interval is longer by the root of ten.
    assert 2.5 < said[2] / said[0] < 4
    assert 2.5 < said[3] / said[1] < 4


@pytest.mark.slow
def test_vector_scaling_keeps_the_promise_on_other_pictures():
    """As it was fitted on the very pictures, its claims would break it in 18 of 30 cases."""
    kinds = Task("kind", tuple("abcdefghijklmnopqrst"))

    def drawn(count, seed):
        rng = np.random.default_rng([seed, count])
        logits = rng.normal(size=(count, 20)) * 4
        sums = scipy.special.softmax(logits, axis=1).cumsum(axis=1)
        labels = (sums < rng.random((count, 1))).sum(axis=1).clip(0, 19).astype(np.int32)
        paths = [f"{i}.jpg" for i in range(count)]
        dataset = Dataset.from_columns("/nowhere", paths, ["test"] * count, {kinds: labels})
        return Predictions(dataset, (kinds,), {"kind": (2 * logits).astype(np.float32)})

    everyone, failed = drawn(8000, 999), 0
    labels = everyone.dataset.labels(kinds)
    for seed in range(40):
        unknown = Unknown("energy", "kind", 0.0, 0.0)
        found = fit_safeguards(
            drawn(200, seed), calibration="vector", precision=0.8, unknown=unknown
        )
        scaled = dataclasses.replace(everyone, scalings=found.scalings)
        sure = found.sure(scaled, kinds)
        failed += bool(sure.any() and (scaled.predicted(kinds) == labels)[sure].mean() < 0.8)
    assert failed <= 4
