"""The page of a search: what no other beats, whatever the names, in one file."""

import math
import xml.dom.minidom

import numpy as np
import pytest

from hornbeam.config import SearchOptions
from hornbeam.drawing import Point, draw_curves, draw_scatter
from hornbeam.evaluation.scoring.scores import Share
from hornbeam.search.pareto_page import front, write_page
from hornbeam.search.rows import Row
from hornbeam.search.space import Parameter, Space
from hornbeam.search.study import Plan
from hornbeam.search.trial import Objective


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_no_other_beats(seed):
    rng = np.random.default_rng(seed)
    points = [(float(x), float(y)) for x, y in rng.integers(0, 6, (20, 2))]
    beaten = [
        any((x <= a and y >= b) and (x, y) != (a, b) for x, y in points) for a, b in points
    ]  # the definition
    expected = {point for point, lost in zip(points, beaten, strict=True) if not lost}
    chosen = front(points)
    assert {points[i] for i in chosen} == expected
    assert len(chosen) == len(expected)  # of equal ones, one
    assert [points[i][0] for i in chosen] == sorted(points[i][0] for i in chosen)


def row(number, accuracy, state="complete", **known):
    curve = tuple(accuracy - 0.1 / (i + 1) for i in range(3)) + ((accuracy,) if accuracy else ())
    return Row(
        number, {"build_model.kind": f"<script>{number}"}, state, accuracy, accuracy,
        Share(round(accuracy * 100), 100).interval if accuracy == accuracy else None, 4, 4.0,
        curve if accuracy == accuracy else (), **known,
    )  # fmt: skip


def test_the_page_shows_every_trial_and_escapes_what_comes_from_users(tmp_path):
    options = SearchOptions(data="x", grid="dropout=0,0.1")
    space = Space((Parameter("build_model.kind", choices=("a", "b")),))
    plan = Plan(options, {}, space, tmp_path, Objective("auto", "auto"))
    rows = [
        row(1, 0.9, one=2.0, batch=30.0, parameters=1000, megabytes=0.2),
        row(0, 0.8, one=1.0, batch=20.0, parameters=900, megabytes=5.0),
        row(2, 0.5, "pruned"),
        row(3, math.nan, "failed", error="<b>memory"),
    ]
    write_page(plan, rows, {"build_model.kind": 1.0})
    text = (tmp_path / "search.html").read_text()
    assert "<script>" not in text
    assert "<b>memory" not in text
    assert "2 complete, 1 pruned, 1 failed" in text
    assert "Trial 1 is the best: 90.0% of the validation pictures" in text
    drawings = [part.split("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
    assert len(drawings) == 4
    for drawing in drawings:
        xml.dom.minidom.parseString("<svg" + drawing)


@pytest.mark.parametrize("xs", [[1.0], [1.0, 1.0], [0.5, 0.51], [0.01, 3.0, 900.0]])
def test_drawings_place_all_points_inside_with_some_round_ticks(xs):
    points = [Point(x, 0.5 + 0.1 * i, None, str(i), True, True, "") for i, x in enumerate(xs)]
    drawn = xml.dom.minidom.parseString(draw_scatter(points, "ms", "accuracy"))
    circles = drawn.getElementsByTagName("circle")
    assert len(circles) == len(xs)
    for circle in circles:
        assert 52 <= float(circle.getAttribute("cx")) <= 444
        assert 16 <= float(circle.getAttribute("cy")) <= 254
    assert len(drawn.getElementsByTagName("text")) >= len(xs) + 2 + 4


def test_curves_of_losses_that_are_no_numbers_are_drawn():
    drawn = draw_curves(
        [((1.0, math.nan, 0.5), "pruned", "<"), ((math.nan,), "failed", "")], "val_loss"
    )
    assert "nan" not in drawn
    xml.dom.minidom.parseString(drawn)
