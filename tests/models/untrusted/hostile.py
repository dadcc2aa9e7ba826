"""Model files that are made to do harm, each by one trick."""

import io
import json
import zipfile

import h5py
import keras
import numpy as np

DENSE = {
    "module": "keras.layers", "class_name": "Dense", "registered_name": None,
    "config": {"name": "dense", "units": 2, "activation": "linear", "use_bias": True},
}  # fmt: skip


def layer(class_name, module="keras.layers", **config):
    """One layer as Keras writes it."""
    config = {"name": "bad", **config}
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": None,
    }


def sequential(*layers, shape=(4,)):
    """A model of layers one after the other."""
    first = layer("InputLayer", batch_shape=[None, *shape], dtype="float32")
    first["config"]["name"] = "input"
    config = {"name": "m", "trainable": True, "layers": [first, *layers]}
    return {
        "module": "keras", "class_name": "Sequential", "config": config, "registered_name": None,
        "build_config": {"input_shape": [None, *shape]}, "compile_config": None,
    }  # fmt: skip


def weights(fill=None):
    """An HDF5 file as bytes: of a small Dense layer, or what `fill` puts in."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        if fill is None:
            variables = file.create_group("layers/dense/vars")
            variables["0"] = np.ones((4, 2), np.float32)
            variables["1"] = np.zeros(2, np.float32)
        else:
            fill(file)
    return stream.getvalue()


def archive(path, config, content=None, more=(), compression=zipfile.ZIP_STORED):
    """Write a `.keras` file."""
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": keras.version()}))
        file.writestr("config.json", text)
        file.writestr("model.weights.h5", weights() if content is None else content)
        for name, data in more:
            file.writestr(name, data)
    return path


def hdf5(path, config=None, fill=None):
    """Write a `.h5` file of a whole model."""
    with h5py.File(path, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([b"dense"])
        dense = group.create_group("dense")
        dense.attrs["weight_names"] = np.array([b"dense/kernel"])
        (fill or (lambda g: g.create_dataset("dense/kernel", data=np.ones((4, 2), np.float32))))(
            dense
        )
    return path
