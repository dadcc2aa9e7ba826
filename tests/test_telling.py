"""What is told and drawn of odd results is true and no error."""

import numpy as np
import pytest

from hornbeam.telling import plot_tried
from hornbeam.training.find_rate import Tried, smooth


def tried(*losses):
    return Tried(np.geomspace(1e-5, 1, len(losses)), np.array(losses), smooth(losses))


def test_of_losses_that_are_no_numbers_nothing_is_drawn(tmp_path, capsys):
    plot_tried(tried(np.nan), tmp_path / "p.png")
    assert capsys.readouterr().err == "warning: No loss was a number, so nothing was drawn.\n"
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_exploded_does_not_hide_those_before_it(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(
        "hornbeam.plot.write_plot", lambda _, x, curves, **_rest: drawn.update(curves)
    )
    plot_tried(tried(2.0, 1.0, np.inf), tmp_path / "p.png")
    assert drawn["loss"] == pytest.approx([2, 1])
    assert drawn["smoothed"] == pytest.approx(smooth([2.0, 1.0]))
