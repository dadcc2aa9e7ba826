"""Whether two trainings ended alike: a killed one that went on, and one that nobody killed."""

import csv
import json

import numpy as np
from safetensors.numpy import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NETWORK = """
def build_model(input_shape, targets):
    layers = keras.layers
    pixels = keras.Input(input_shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(pixels)
    for filters in (8, 16):
        x = layers.Conv2D(filters, 3, strides=2, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, [layers.Dense(len(task.classes))(x) for task in targets])
"""
"""Of a recipe: a small network with all that has a state."""


def ended(run):
    """Return all that must be the same: the lines of metrics.csv, the last variables, the curves."""
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"], row["pictures_per_second"]
    last = run / "checkpoints" / "last"
    curves = {}
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        if "pictures_per_second" not in tag:
            curves[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    state = json.loads((last / "state.json").read_text())
    best = (run / "checkpoints" / "best").resolve().name
    return (
        rows,
        load_file(last / "training.safetensors"),
        curves,
        best,
        state["callbacks"].get("Plateau"),
    )


def assert_same(one, other):
    rows, variables, curves, best, plateau = one
    other_rows, other_variables, other_curves, other_best, other_plateau = other
    assert rows == other_rows
    assert variables.keys() == other_variables.keys()
    different = [n for n in variables if not np.array_equal(variables[n], other_variables[n])]
    assert different == []
    assert curves == other_curves
    assert (best, plateau) == (other_best, other_plateau)
