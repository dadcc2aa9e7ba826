"""What is ranked is scikit-learn's, exactly, and intervals hold the truth as often as they say."""

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from hornbeam.data.tasks import Task
from hornbeam.evaluation.scoring.means import counted_means, mean_of
from hornbeam.evaluation.scoring.odds import Odds
from hornbeam.evaluation.scoring.ranking import rank
from hornbeam.evaluation.scoring.shares import Area
from hornbeam.evaluation.scoring.units import Units

LEVELS = (0.5, 0.8, 0.9, 0.95)


def sensitivity(truth, scores, level):
    false, true, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    return true[1 - false >= level - 1e-9].max()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=60),
    st.integers(0, 9),
)
def test_with_ties_or_without_it_is_scikit_learns(pairs, seed):
    truth = np.array([mark for mark, _ in pairs])
    scores = np.array([score for _, score in pairs], float)
    scores[::3] += np.random.default_rng(seed).normal(size=len(scores[::3]))
    found = rank(truth, scores, LEVELS)
    if truth.all() or not truth.any():
        assert np.isnan(found.auc.value)
        assert all(np.isnan(share.value) for share in found.sensitivities.values())
    else:
        assert found.auc.value == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
        for level in LEVELS:
            expected = sensitivity(truth, scores, level)
            assert found.sensitivities[level].value == pytest.approx(expected, abs=1e-12)
    if truth.any():
        expected = metrics.average_precision_score(truth, scores)
        assert found.average_precision.value == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(found.average_precision.value)


def test_nothing_is_known_of_no_pictures():
    found = rank(np.zeros(0, bool), np.zeros(0), (0.9,))
    assert np.isnan(found.auc.value)
    assert found.auc.interval == (0, 1)
    assert np.isnan(found.average_precision.value)
    assert np.isnan(found.sensitivities[0.9].value)


@pytest.mark.parametrize("scale", [1, 1e4])
def test_log_odds_order_as_probabilities_do_and_keep_the_order_of_sure_answers(scale):
    task = Task("label", tuple("abcd"))
    logits = (np.random.default_rng(0).normal(size=(5000, 4)) * scale).astype(np.float32)
    found = Odds(logits, task).of_classes(0, 4).T
    assert np.isfinite(found).all()
    exact = scipy.special.softmax(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(scipy.special.expit(found), exact, rtol=1e-9, atol=1e-300)
    assert len(np.unique(found[:, 0])) == len(np.unique(logits, axis=0))


def test_log_odds_of_marks_are_the_logits():
    task = Task("marks", tuple("ab"), multi_label=True)
    odds = Odds(np.eye(2, dtype=np.float32), task)
    np.testing.assert_array_equal(odds.of_classes(0, 2), np.eye(2))


@pytest.mark.parametrize(("yes", "no"), [(15, 60), (60, 15), (200, 300)])
@pytest.mark.parametrize("truth", [0.6, 0.85, 0.97])
def test_the_interval_of_an_area_holds_it_in_95_of_100_cases(truth, yes, no):
    # Scores of two normal distributions, this far apart, have the area `truth`.
    apart = np.sqrt(2) * stats.norm.ppf(truth)
    rng = np.random.default_rng(0)
    labels = np.repeat([True, False], [yes, no])
    inside, lengths = [], []
    for _ in range(600):
        scores = rng.normal(size=yes + no) + apart * labels
        low, high = rank(labels, scores).auc.interval
        inside.append(low <= truth <= high)
        lengths.append(high - low)
    assert 0.925 <= np.mean(inside) <= 0.985
    # Not by being wider than DeLong's (1988) needs to be: the length for many pictures.
    if yes == 200 and truth < 0.9:
        assert np.mean(lengths) == pytest.approx(2 * 1.96 * delong(labels, scores), rel=0.15)


def delong(truth, scores):
    """Return the standard error of an area by its definition (DeLong et al. 1988)."""
    yes, no = scores[truth], scores[~truth]
    wins = (yes[:, None] > no).astype(float)
    return np.sqrt(wins.mean(1).var(ddof=1) / len(yes) + wins.mean(0).var(ddof=1) / len(no))


def test_the_interval_of_a_whole_area_leaves_room_below():
    low, high = Area(1.0, 10, 20).interval
    assert 0.7 < low < 0.95
    assert high == pytest.approx(1)
    assert Area(0.0, 10, 20).interval == pytest.approx((0, 1 - low), abs=1e-9)


def test_means_over_classes_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, answers = rng.integers(0, 4, 200), rng.integers(0, 6, 200)  # 4 and 5: answers only
    found = counted_means(truth, answers, 6, Units(200))
    options = {"labels": range(4), "average": "macro", "zero_division": 0}
    for name, mean in found.items():
        kind = name.removeprefix("macro_")
        expected = getattr(metrics, f"{kind}_score")(truth, answers, **options)
        assert mean.value == pytest.approx(expected, abs=1e-12)
        assert mean.interval[0] < mean.value < mean.interval[1]
    assert found["macro_recall"].value == pytest.approx(
        metrics.recall_score(truth, answers, labels=range(4), average="macro")
    )


@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_the_interval_of_a_mean_holds_it_about_as_often_as_it_says(kind):
    rng = np.random.default_rng(1)
    chances = np.array(
        [[0.8, 0.15, 0.05], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]]
    )  # of answers, by class
    shares = np.array([0.5, 0.3, 0.2])
    joint = shares[:, None] * chances
    both = np.diag(joint)
    exact = {"precision": both / joint.sum(0), "recall": both / shares,
             "f1": 2 * both / (shares + joint.sum(0))}[kind].mean()  # fmt: skip
    inside = []
    for _ in range(200):
        cells = rng.choice(9, 150, p=joint.ravel())
        means = counted_means(cells // 3, cells % 3, 3, Units(150))
        low, high = means[f"macro_{kind}"].interval
        inside.append(low <= exact <= high)
    assert 0.89 <= np.mean(inside) <= 0.99


def test_means_of_no_pictures_are_unknown():
    none = np.zeros((0, 3), bool)
    for mean in counted_means(none, none, 3, Units(0)).values():
        assert np.isnan(mean.value)
        assert np.isnan(mean.interval[0])
    gone = np.zeros(0)
    assert np.isnan(mean_of([float("nan")], gone, 0, Units(0)).value)
    assert mean_of([1.0, float("nan"), 0.0], gone, 2, Units(0)).value == 0.5
