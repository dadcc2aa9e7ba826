"""A small network that has learnt shapes, and files of it; made once."""

import numpy as np
import pytest
from drawn_bars import drawn, network

from hornbeam.deployment.conversion.job import Job


@pytest.fixture(scope="session")
def learnt():
    """The network, trained: it is right about nearly all pictures."""
    import keras

    model = network()
    model.compile(keras.optimizers.Adam(0.01), {"kind": "sparse_categorical_crossentropy"})
    pictures, classes = drawn(512, 0)
    model.fit(pictures, {"kind": classes}, epochs=15, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="session")
def job(tmp_path_factory):
    """What is asked for: files in an empty folder, by pictures drawn for it."""
    folder = tmp_path_factory.mktemp("quantised")
    np.savez(folder / "calibration.npz", image=drawn(64, 1)[0])
    np.savez(folder / "selection.npz", image=drawn(128, 2)[0])
    return Job(
        "", None, (), str(folder), ("kind",), calibration=str(folder / "calibration.npz"),
        selection=str(folder / "selection.npz"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def int8(learnt, job, tmp_path_factory):
    """Its `litert-int8` file, and what was said about it."""
    from hornbeam.deployment.conversion.quantisation.litert import convert_int8

    path = tmp_path_factory.mktemp("int8") / "model-int8.tflite"
    return path, convert_int8(learnt, job, path)
