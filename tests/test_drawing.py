"""Drawings of numbers as they come; tests/search/test_pareto_page.py has them in their page."""

from hornbeam.drawing import draw_curves


def test_numbers_that_differ_by_rounding_alone_are_drawn_as_one():
    drawn = draw_curves([([0.1 + 0.2, 0.3], "complete", "a trial")], "loss")
    assert 3 <= drawn.count('text-anchor="end"') <= 9
