"""Files at which LiteRT aborts the process: they are not made, and where they are, they cost no other."""

import dataclasses
import re

import numpy as np
import pytest
from drawn_bars import SIDE, drawn

from hornbeam.deployment.conversion.job import Job
from hornbeam.deployment.conversion.quantisation import litert, litert_routes
from hornbeam.deployment.conversion.quantisation.flatbuffer import Graph
from hornbeam.deployment.conversion.quantisation.opening import must_survive
from hornbeam.errors import ModelError


@pytest.fixture(scope="module")
def collapsed():
    """Features that are all but the same for all pictures, and what is left of them without their mean.

    So are those of a network after a few steps, whose unknown score looks at them from their middle.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="image")
    features = layers.GlobalAveragePooling2D()(layers.Rescaling(1e-6)(image))
    features = layers.ReLU()(layers.Rescaling(1.0, [100.0, 90.0, 80.0])(features))
    away = layers.Rescaling(1.0, [-100.0, -90.0, -80.0])(features)
    return keras.Model(image, {"kind": layers.Dense(4, "softmax")(layers.Rescaling(1e4)(away))})


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collapsed")
    np.savez(folder / "pictures.npz", image=drawn(16, 1)[0])
    pictures = str(folder / "pictures.npz")
    return Job("", None, (), str(folder), ("kind",), calibration=pictures, selection=pictures)


@pytest.fixture(scope="module")
def deadly(collapsed, asked):
    """A file of that network, by the ranges as they were measured."""
    begun = litert.begin(collapsed, asked)
    return litert_routes.by_edge_quantizer(begun.content, begun.extremes.ranges())


def scales_of_sums(content):
    """The larger scale of the inputs and that of the output, of each ADD and SUB."""
    return [
        (max(t.scales[0] for t in o.inputs), o.outputs[0].scales[0])
        for o in Graph(content).operators if o.type in ("ADD", "SUB")
    ]  # fmt: skip


def test_litert_aborts_at_a_sum_whose_scale_is_too_small_for_its_inputs(deadly):
    """If it does no more, `with_room` has lost its reason."""
    assert max(given / made for given, made in scales_of_sums(deadly)) >= 2**19
    with pytest.raises(
        ModelError, match=r"^a process was ended by SIGABRT while LiteRT opened the"
    ):
        must_survive(deadly, 1)


@pytest.mark.parametrize("route", ["by_converter", "by_edge_quantizer"])
def test_sums_that_cancel_get_room(route, collapsed, asked):
    begun = litert.begin(collapsed, asked)
    content = getattr(litert_routes, route)(begun.content, begun.ranges(0.0))
    scales = scales_of_sums(content)
    assert scales
    assert max(given / made for given, made in scales) < 2**9
    must_survive(content, 1)


def test_other_ranges_stay_as_they_were(learnt, job):
    begun = litert.begin(learnt, job)
    assert begun.ranges(0.0) == begun.extremes.ranges() | {"image": (0.0, 255.0)}


def test_a_way_that_ends_the_process_is_lost_and_the_others_stay(
    learnt, job, deadly, tmp_path, monkeypatch
):
    begun = dataclasses.replace(litert.begin(learnt, job), without_floats=[])
    monkeypatch.setattr(litert, "begin", lambda model, job: begun)
    monkeypatch.setattr(litert, "by_edge_quantizer", lambda content, ranges: deadly)
    made = litert.convert_int8(learnt, job, tmp_path / "model-int8.tflite")
    assert re.search(
        r"ai-edge-quantizer, [^:]*: failed \(ModelError: a process was ended by SIGABRT while LiteRT opened "
        r"the file\)",
        made.notes[0],
    )
    assert made.outputs["kind"].scale == pytest.approx(1 / 256)
