"""What a set of pictures is said to show of two models is what it shows in simulations."""

import numpy as np
import pytest

from hornbeam.evaluation.scoring.power import advice, pictures_needed, smallest_difference
from hornbeam.evaluation.scoring.shares import Share


@pytest.mark.parametrize(("pictures", "mistakes"), [(372, 0.09), (2000, 0.2), (200, 0.3)])
def test_the_smallest_difference_is_found_in_80_of_100_cases(pictures, mistakes):
    difference = smallest_difference(pictures, mistakes)
    # Half of the mistakes are shared, so only one of the two is right about as many pictures.
    chances = [(mistakes + difference) / 2, (mistakes - difference) / 2, 1 - mistakes]
    drawn = np.random.default_rng(0).multinomial(pictures, chances, 4000)
    one, other = drawn[:, 0], drawn[:, 1]
    found = (one - other) / np.sqrt(np.maximum(1, one + other)) > 1.96  # McNemar's test
    assert 0.77 < found.mean() < 0.84


def test_pictures_needed_and_differences_shown_are_each_others_inverse():
    assert pictures_needed(smallest_difference(500, 0.1), 0.1) == pytest.approx(500, rel=1e-6)
    assert smallest_difference(3, 0.5) == pytest.approx(1)


def test_a_small_set_is_called_so_and_a_large_one_is_not():
    assert "too small to tell similar models apart" in advice(Share(80, 100), None)
    large = advice(Share(40_000, 50_000), None)
    assert "With 50,000 pictures" in large
    assert "too small" not in large
    assert "0.6 points" in large
    assert "too few" in advice(Share(5, 5), None)


def test_pictures_of_groups_show_less():
    groups = advice(Share(700, 800, effective=60.0, reach=2.09), 20)
    assert "With 800 pictures of 20 groups" in groups
    assert "Of so few groups all intervals are rough." in groups
    alone = advice(Share(700, 800), None)
    assert points(groups) > 3 * points(alone)


def points(sentence):
    return float(sentence.split(" points or more")[0].split()[-1])


def test_no_picture_gives_a_sentence_too():
    assert (
        advice(Share(0, 0), None) == "No picture has a label, so nothing is known of the accuracy."
    )
    assert "With 1 picture," in advice(Share(1, 1), None)
