"""Which way to integers is kept, on how many pictures, and what a file is called that was made anew."""

import dataclasses

import numpy as np
import pytest
from drawn_bars import drawn, network

from hornbeam.deployment.conversion.quantisation import flatbuffer, litert, pictures
from hornbeam.deployment.conversion.quantisation.choosing import Candidate, Closeness
from hornbeam.deployment.conversion.quantisation.cost import multiply_adds


class Trying:
    """Stands in for `Begun`: the way made anew is as near as a test says."""

    outputs, content = ("kind", "unknown"), b""

    def __init__(self, closeness):
        self.closeness = closeness

    def source(self, way):
        return b""

    def ranges(self, trim):
        return {}

    def candidate(self, way, make):
        return Candidate(way, b"anew", self.closeness)


@pytest.mark.parametrize(
    ("way", "anew"),
    [
        ("ai-edge-quantizer", "TensorFlow's converter"),
        ("TensorFlow's converter", "TensorFlow's converter"),
        (litert.CLIPPED, litert.CLIPPED),
    ],
)
@pytest.mark.parametrize(("agreement", "is_kept"), [(0.99, True), (0.985, False)])
def test_a_file_with_the_unknown_score_in_float_says_how_it_was_made_and_is_no_worse(
    way, anew, agreement, is_kept, monkeypatch
):
    graph = dataclasses.make_dataclass("Graph", ["content", ("outputs", tuple, ("a", "b"))])
    monkeypatch.setattr(litert, "Graph", graph)
    monkeypatch.setattr(litert, "only_behind", lambda graph, output: ("x",))
    kept = Candidate(f"{way}, ranges of all pictures", b"old", Closeness(0.99, 0.01, 0.5))
    found, alone, (note,) = litert.unknown_in_float(
        Trying(Closeness(agreement, 0.02, 0.05)), kept, 0.0, ()
    )
    if is_kept:
        assert found.content == b"anew"
        assert found.way == f"{anew} with the unknown score in float, ranges of all pictures"
        assert litert.trim_of(found) == 0.0
        assert alone == ("x",)
        assert f"{found.way}, 99.0% and 0.0200" in note
    else:
        assert (found, alone) == (kept, ())
        assert note == "The unknown score is 0.50 of its standard deviation off."


def test_multiply_adds_are_those_counted_by_hand():
    first, second = 12 * 12 * (3 * 3 * 3 * 8 + 3 * 3 * 8), 6 * 6 * (3 * 3 * 8 * 16 + 3 * 3 * 16)
    assert multiply_adds(network()) == first + second + 16 * 4


def test_multiply_adds_of_known_networks_are_the_published_ones():
    import keras

    found = multiply_adds(keras.applications.MobileNetV2(weights=None))
    assert found == pytest.approx(300e6, rel=0.01)  # Sandler et al. 2018, table 4
    image = keras.Input((224, 224, 3))
    nested = keras.Model(image, keras.applications.MobileNetV2(weights=None)(image))
    assert multiply_adds(nested) == found


def test_how_many_pictures_choose_depends_on_the_network_alone():
    given = {"image": drawn(256, 0)[0], "features": np.zeros((256, 2))}
    for cost, count in ((1e6, 256), (1e9, 100), (4e9, 48)):
        for _ in range(2):
            assert [len(v) for v in pictures.enough_of(given, int(cost)).values()] == [count] * 2


def test_weights_that_are_read_as_bytes_are_written_at_once(learnt, job, monkeypatch):
    content = litert.begin(learnt, job).content
    read = flatbuffer.flatbuffer_utils.read_model_from_bytearray

    def as_bytes(given):  # as weights are that lie behind the flatbuffer
        model = read(given)
        for buffer in model.buffers:
            buffer.data = None if buffer.data is None else bytes(buffer.data)
        return model

    before = flatbuffer.Graph(content).content()
    monkeypatch.setattr(flatbuffer.flatbuffer_utils, "read_model_from_bytearray", as_bytes)
    graph = flatbuffer.Graph(content)
    stored = [buffer.data for buffer in graph.model.buffers if buffer.data is not None]
    assert all(isinstance(data, np.ndarray) for data in stored)
    assert graph.content() == before
