"""What one process of several makes of errors, and what it ends with."""

import pytest

from hornbeam.errors import LostPeerError
from hornbeam.world import world
from hornbeam.world.world import World


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setattr(world, "_here", World(1, 2, "gpu2"))


def of_jax(said):
    from jax.errors import JaxRuntimeError

    return JaxRuntimeError(said)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (of_jax, "UNAVAILABLE: failed to connect to all addresses"),
        (of_jax, "DEADLINE_EXCEEDED: Barrier timed out"),
        (of_jax, "UNKNOWN: Gloo all-reduce failed: Connection closed by peer [10.0.0.1]:41"),
        (ValueError, "UNKNOWN: Gloo all-reduce failed: Connection closed by peer [10.0.0.1]:41"),
        (RuntimeError, "The coordination service is not there any more"),
    ],
)
def test_what_jax_says_of_a_lost_process_becomes_one_sentence(kind, said, second_of_two):
    with pytest.raises(LostPeerError) as error, world.lost_peers():
        raise kind(said)
    assert str(error.value).startswith("Process 1 of 2 on gpu2 lost another one")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (RuntimeError, "no connection to the database of labels"),
        (RuntimeError, "the socket of the camera is unavailable"),
        (ValueError, "a deadline should be a date"),
        (of_jax, "RESOURCE_EXHAUSTED: Out of memory"),
    ],
)
def test_an_error_that_is_no_loss_stays_what_it_is(kind, said, second_of_two):
    with pytest.raises(Exception, match=said) as error, world.lost_peers():
        raise kind(said)
    assert not isinstance(error.value, LostPeerError)


def test_one_process_alone_loses_none():
    with pytest.raises(ValueError, match="Gloo"), world.lost_peers():
        raise ValueError("Gloo is a village, too")


@pytest.mark.parametrize("code", [0, 1, 2, 4, 130, 143])
def test_failures_end_with_higher_codes_where_only_the_highest_is_heard(code, monkeypatch):
    monkeypatch.delenv("HORNBEAM_RAISED_CODES", raising=False)
    assert world.end(code) == code
    monkeypatch.setenv("HORNBEAM_RAISED_CODES", "1")
    assert world.end(code) == {1: 201, 2: 202}.get(code, code)
