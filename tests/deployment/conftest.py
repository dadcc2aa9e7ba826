"""Tiny bundles in all formats, made once a session."""

import pytest
from small_bundles import make_small_bundle

FLOAT_FORMATS = ("keras", "h5", "savedmodel", "litert", "litert-f16", "onnx", "openvino")


@pytest.fixture(scope="session")
def made_trees(tmp_path_factory):
    """A bundle of a tiny network, and the network itself."""
    directory = tmp_path_factory.mktemp("bundles") / "trees"
    return directory, make_small_bundle(directory, FLOAT_FORMATS)


@pytest.fixture(scope="session")
def made_sized_trees(tmp_path_factory):
    """The same of a network that also takes two numbers beside each picture."""
    directory = tmp_path_factory.mktemp("bundles") / "sized"
    return directory, make_small_bundle(directory, FLOAT_FORMATS, features=("height", "age"))


@pytest.fixture(scope="session")
def trees(made_trees):
    """The bundle alone."""
    return made_trees[0]


@pytest.fixture(scope="session")
def sized_trees(made_sized_trees):
    """The bundle alone."""
    return made_sized_trees[0]
