"""The parts of a report, each alone: what is chosen, said and drawn."""

import dataclasses
import re

import numpy as np
import pytest
from sample_reports import many_classes

from hornbeam.data.dataset import Dataset
from hornbeam.data.tasks import Task
from hornbeam.evaluation.judged import Judged
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.report import ReportContent, words
from hornbeam.evaluation.report.cells import Names, cells_for_script, find_cells, want_pictures
from hornbeam.evaluation.report.confusion import confusion, worst_pairs
from hornbeam.evaluation.report.curves import curves
from hornbeam.evaluation.report.drawings import Axis, Line, draw
from hornbeam.evaluation.report.facts import cost, duration, training_seconds
from hornbeam.evaluation.report.facts import pictures as pictures_section
from hornbeam.evaluation.report.looks import lit
from hornbeam.evaluation.report.pictures import MOST, Shots
from hornbeam.evaluation.report.trust import in_words, trust
from hornbeam.evaluation.scoring.scores import score
from hornbeam.evaluation.scoring.units import Units
from hornbeam.evaluation.trust.abstention import threshold_for_precision
from hornbeam.evaluation.trust.measuring import measure_trust
from hornbeam.evaluation.trust.safeguards import Safeguards


def predictions_of(labels, probabilities, classes=("a", "b", "c"), split="test"):
    task = Task("label", classes)
    paths = [f"{i}.jpg" for i in range(len(labels))]
    dataset = Dataset.from_columns("nowhere", paths, [split] * len(labels), {task: labels})
    logits = np.log(np.asarray(probabilities, np.float32))
    return Predictions(dataset, (task,), {"label": logits}), task


def test_answers_beside_the_truth():
    predictions, task = predictions_of(
        [0, 1, None, 2], [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8], [0.9, 0.06, 0.04]]
    )
    judged = Judged.of(predictions, task)
    assert judged.wrong.tolist() == [False, True, False, True]
    np.testing.assert_allclose(judged.confidence, [0.7, 0.5, 0.8, 0.9], atol=1e-6)
    np.testing.assert_allclose(judged.margin, [0.5, 0.1, 0.7, 0.84], atol=1e-6)
    assert judged.second.tolist() == [1, 1, 0, 1]
    assert judged.mistakes().tolist() == [3, 1]
    assert judged.uncertain().tolist() == [1, 0, 2, 3]
    assert (judged.label_in_words(2), judged.answer_in_words(2)) == ("no label", "c")


def test_blocks_of_rows_give_what_all_rows_give(monkeypatch):
    predictions, task = many_classes(100, 7)
    whole = Judged.of(predictions, task)
    monkeypatch.setattr("hornbeam.evaluation.judged._ROWS", 9)
    parts = Judged.of(predictions, task)
    for field in dataclasses.fields(Judged)[1:]:
        np.testing.assert_array_equal(getattr(parts, field.name), getattr(whole, field.name))


@pytest.mark.parametrize("budget", [0, 1, 40, 100_000])
def test_every_cell_names_one_picture_before_any_names_two(budget):
    predictions, task = many_classes(600, 5)
    judged = Judged.of(predictions, task)
    cells = find_cells(judged, budget)
    matrix = score(predictions, task).confusion
    np.testing.assert_array_equal(cells.cell, np.flatnonzero(matrix))
    np.testing.assert_array_equal(cells.count, matrix.ravel()[matrix.ravel() > 0])
    named = np.bincount(cells.of, minlength=len(cells.cell))
    most = np.where(cells.cell // 5 == cells.cell % 5, 12, 60)
    full = np.minimum(most, cells.count)
    if budget >= full.sum():
        np.testing.assert_array_equal(named, full)
    else:
        assert named.sum() == budget
        assert (named >= np.minimum(full, named.max() - 1)).all()
    told = cells_for_script(cells, judged, Names(), predictions.dataset.paths)
    assert [[t, a, n] for t, a, n, _, _ in told] == [
        [c // 5, c % 5, n] for c, n in zip(cells.cell.tolist(), cells.count.tolist(), strict=True)
    ]


def test_thumbnails_are_bounded_and_mistakes_come_first():
    predictions, task = many_classes(3000, 20)
    judged = Judged.of(predictions, task)
    shots = Shots(predictions.dataset)
    cells = find_cells(judged, 20_000)
    want_pictures(cells, judged, shots, predictions.dataset.paths, 10_000)
    wanted = [row for row, path in enumerate(predictions.dataset.paths) if path in shots._wanted]
    assert len(wanted) == MOST
    assert judged.wrong[wanted].all()
    assert not shots.want("another")
    assert shots.want(predictions.dataset.paths[wanted[0]])  # it has its place


def test_the_worst_pairs_are_those_of_a_full_sort():
    predictions, task = many_classes(2000, 30)
    scores = score(predictions, task)
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    best = sorted(wrong.ravel().tolist(), reverse=True)[:10]
    pairs = worst_pairs(scores, 10)
    assert [count for _, _, count in pairs] == best
    assert all(wrong[i, j] == count for i, j, count in pairs)


@pytest.mark.parametrize("classes", [6, 60])
def test_cells_whose_pictures_the_script_does_not_have_cannot_be_chosen(classes):
    scores = score(*many_classes(500, classes))
    page = confusion(scores, 3)
    assert "data-c=3," in page
    assert ("data-map=3" in page, "data-pairs=3" in page) == (classes > 40,) * 2
    of_groups = confusion(scores, 3, clickable=False)
    assert "data-" not in of_groups
    assert "<td" in of_groups


def test_classes_that_chance_made_weak_are_not_called_so():
    predictions, task = many_classes(20_000, 400, wrong=0.3)
    scores = score(predictions, task)
    assert sum(c.recall.interval[1] < 0.6 for c in scores.classes) > 3  # one by one, some look weak
    assert words.weak_classes(scores) == []


def test_a_weak_class_is_named_with_what_to_do_about_it():
    labels = np.arange(300) % 3
    answers = np.where((labels == 2) & (np.arange(300) % 2 == 0), 0, labels)
    probabilities = 0.05 + 0.85 * np.eye(3)[answers]
    predictions, task = predictions_of(labels, probabilities)
    scores = score(predictions, task)
    assert [c.name for c in words.weak_classes(scores)] == ["c"]
    counts = {"label": {"train": {"a": 500, "b": 500, "c": 20}}}
    content = ReportContent("r", predictions, [scores], counts=counts, suspects=())
    said = words.summary(content, [None])
    assert re.search(r"confuses most often: .*c.* named .*a.* \(50 of 100\)", said)
    assert "Recognised clearly less often than the others" in said
    assert "Add training pictures of <em><bdi>c</bdi></em>" in said
    assert "83.3% of 300 test pictures were named right" in said
    assert "hornbeam labels" not in said  # somebody has looked, and found nothing


def test_pictures_are_counted_not_their_labels():
    marks = Task("marks", ("big", "red", "old"), multi_label=True)
    labels = {marks: [[0, 1, 2], [0, 1]]}
    dataset = Dataset.from_columns("nowhere", ["1", "2"], ["test"] * 2, labels)
    predictions = Predictions(dataset, (marks,), {"marks": np.ones((2, 3), np.float32)})
    content = ReportContent("r", predictions, [score(predictions, marks)])
    assert "<tr><td>all pictures<td>2<td>" in pictures_section(content, [])
    counts = {"marks": {"train": {"big": 4, "red": 3, "old": 2}}}
    trained = dataclasses.replace(content, counts=counts, sizes={"train": 5})
    assert "trained on 5 pictures" in words.summary(trained, [None])
    assert "<tr><td>all pictures<td>5<td>" in pictures_section(trained, [])
    unknown = dataclasses.replace(content, counts=counts)
    assert "trained on" not in words.summary(unknown, [None])
    assert "all pictures" not in pictures_section(unknown, [])


@pytest.mark.parametrize(
    ("weights", "suggested"), [("none", True), (None, True), ("imagenet", False)]
)
def test_pretrained_weights_are_suggested_to_those_who_had_none(weights, suggested):
    predictions, task = predictions_of([0, 1], [[0.8, 0.1, 0.1]] * 2)
    content = ReportContent(
        "r", predictions, [score(predictions, task)], config={"weights": weights},
        curves=[{"accuracy": "0.99", "val_accuracy": "0.6"}],
    )  # fmt: skip
    [step] = [step for step in words.next_steps(content) if "--augment" in step]
    assert ("--weights" in step) == suggested


def test_the_cost_is_that_of_the_judging_that_is_shown():
    predictions, task = predictions_of([0, 1], [[0.8, 0.1, 0.1]] * 2, split="test")
    told = {"event": "evaluation", "splits": ["test"], "pictures": 2, "views": 1}
    content = ReportContent(
        "r", predictions, [score(predictions, task)],
        events=[
            {**told, "seconds": 9}, {**told, "views": 8, "seconds": 4},
            {**told, "splits": ["validation"], "seconds": 2}, {**told, "pictures": 700, "seconds": 1},
        ],
    )  # fmt: skip
    assert "<td>judging<td class=words>4.0 s for 2 pictures, 4 pictures/s" in cost(content)
    assert "judging" not in cost(dataclasses.replace(content, data="/data/others"))
    assert "judging" not in cost(dataclasses.replace(content, events=content.events[2:]))


def test_what_is_marked_as_unsure_is_told_as_it_is():
    predictions, task = predictions_of(np.arange(40) % 3, np.full((40, 3), 1 / 3))
    measured = measure_trust(predictions, Safeguards(), fitted_here=False)[task.name]
    claims, units = np.linspace(0.5, 0.99, 40), Units.of(predictions.dataset)
    kept = threshold_for_precision(claims, np.ones(40, bool), 0.8, units)
    missed = threshold_for_precision(claims, np.arange(40) % 2 == 0, 0.99, units)
    assert (kept.probability is None, missed.probability is None) == (False, True)
    page = trust(dataclasses.replace(measured, thresholds=[missed], marks=True))
    assert "All answers are marked as unsure, as no threshold keeps that promise." in page
    assert "below it" not in page
    assert "Answers below it are marked as unsure." in trust(
        dataclasses.replace(measured, thresholds=[kept], marks=True)
    )
    assert "No answer is marked so far" in trust(dataclasses.replace(measured, thresholds=[missed]))


@pytest.mark.parametrize(
    ("claim", "verdict"), [(0.98, "too high"), (0.8, "about right"), (0.55, "too low")]
)
def test_claims_are_called_what_they_are(claim, verdict):
    rng = np.random.default_rng(0)
    right = rng.random(3000) < 0.8
    probabilities = np.full((3000, 2), 1 - claim)
    probabilities[:, 0] = claim
    predictions, task = predictions_of(np.where(right, 0, 1), probabilities, ("a", "b"))
    measured = measure_trust(predictions, Safeguards(), fitted_here=False)[task.name]
    assert measured.after is None
    assert verdict in in_words(measured)


def test_a_training_in_several_sessions_took_the_sum_of_them():
    events = [
        {"time": 100.0, "event": "start"}, {"time": 160.0, "event": "checkpoint"},
        {"time": 900.0, "event": "start"}, {"time": 901.0, "event": "resume"},
        {"time": 930.0, "event": "end"}, {"time": 5000.0, "event": "evaluation"},
    ]  # fmt: skip
    assert training_seconds(events) == 90.0
    assert training_seconds([]) == 0.0
    assert training_seconds([{"event": "end"}, {"time": "x", "event": "start"}]) == 0.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.2 s"), (42.4, "42 s"), (100, "2 min"), (5990, "1 h 40 min"), (400_000, "4.6 days")],
)
def test_durations_are_told_in_units_that_matter(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.2, 1), (-3, 17), (0, 1e-6), (12_000, 90_000), (0, 3.7)]
)
def test_ticks_are_few_round_and_inside(low, high):
    ticks = Axis("", low, high).ticks
    assert 3 <= len(ticks) <= 9
    assert min(ticks) >= low - 1e-9
    assert max(ticks) <= high * (1 + 1e-9)
    step = ticks[1] - ticks[0]
    assert f"{step:.0e}"[0] in "125"


def test_lines_with_gaps_and_nothing_are_drawn():
    line = Line(
        "a & b", [0, 1, 2], [0.5, float("nan"), float("inf")], "red", low=[0.4] * 3, high=[0.6] * 3
    )
    drawn = draw("t <1>", [line, Line("", [], [], "red")], Axis("x", 0, 2), Axis("", 0, 1))
    assert "nan" not in drawn
    assert "inf" not in drawn
    assert "t &lt;1&gt;" in drawn
    assert "a &amp; b" in drawn
    assert drawn.count("<circle") == 1


def test_long_trainings_have_short_drawings():
    rows = [{"step": str(i), "loss": "1.5", "val_loss": str(1 / (i + 1))} for i in range(20_000)]
    drawn = curves(rows)
    assert len(drawn) < 40_000
    assert "least, 5e-05, at step 19,999" in drawn


def test_empty_and_odd_cells_of_metrics_are_gaps():
    drawn = curves(
        [{"step": "1", "loss": "", "val_loss": "2"}, {"step": "2", "loss": "x", "val_loss": "1"}]
    )
    assert drawn.count("<circle") == 2


def test_light_falls_where_it_is_hot():
    picture = np.full((40, 40, 3), (200, 40, 40), np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[:2] = 1
    shown = lit(picture, heat)
    warm, cold = shown[2].astype(int), shown[-3].astype(int)
    assert (warm[:, 0] > 180).all()  # red and green are yellow
    assert (warm[:, 1] > 150).all()
    assert cold.max() < 90
    picture[5:9, 5:9] = 255
    assert lit(picture, heat)[6, 6].sum() > warm[6].sum() + 100  # what is there is seen through it
