"""Servers in processes of their own."""

import pytest
from onnx_bundle import make_bundle
from running import Running


@pytest.fixture
def serving(tmp_path):
    """Start `hornbeam serve`: `serving("--max-bytes", 2000, seconds=HELD)` → a `Running` one.

    Named arguments are those of `make_bundle`, in upper case variables of the environment; `seconds`
    is that of `Running`.
    """
    started = []

    def start(*words, bundle=None, seconds=0, **arguments):
        environment = {n: arguments.pop(n) for n in list(arguments) if n.isupper()}
        bundle = bundle or make_bundle(tmp_path / "bundle", **arguments)
        started.append(Running(bundle, *words, seconds=seconds, **environment))
        return started[-1]

    yield start
    for each in started:
        each.let_go()
        each.stop()
        assert not [line for line in each.errors if "Traceback" in line], each.errors


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A server with the usual options, shared by the tests of a file."""
    server = Running(make_bundle(tmp_path_factory.mktemp("served") / "colours"))
    yield server
    assert server.stop() == 0
    assert not server.errors, server.errors
