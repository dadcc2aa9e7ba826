"""Times of models are compared by turns."""

import pytest

from hornbeam.evaluation.comparison import turns
from hornbeam.evaluation.comparison.turns import seconds_by_turns


@pytest.fixture
def work(monkeypatch):
    """Work for so many seconds, by a clock of its own: how busy the machine is does not count."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)

    def work(seconds):
        clock.now += seconds

    return work


def test_each_call_has_its_own_time_and_takes_turns(work):
    order = []

    def calling(name, seconds):
        def call():
            order.append(name)
            work(seconds)

        return call

    quick, slow = seconds_by_turns([calling("a", 0.002), calling("b", 0.02)])
    assert quick == pytest.approx(0.002)
    assert slow == pytest.approx(0.02)
    assert order[:4] == ["a", "a", "b", "b"]
    assert order[4:] == ["a", "b"] * ((len(order) - 4) // 2)
    assert len(order) >= 4 + 2 * 5


def test_a_slow_call_is_made_a_few_times_only(work):
    calls = []
    seconds_by_turns([lambda: (calls.append(1), work(0.3))])
    assert len(calls) == 2 + 5
