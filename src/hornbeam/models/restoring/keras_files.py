"""Weights in the files of Keras, named by layer: `block_1_expand/kernel`, whatever Keras wrote them.

Only arrays are read. No model is built of what a file says, so a file from a stranger can do nothing.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.models.restoring.tables import Stored
from hornbeam.models.untrusted.archives import WEIGHTS, check_archive
from hornbeam.models.untrusted.hdf5 import check_hdf5

if TYPE_CHECKING:
    import h5py

_ORDER = {
    "dense": ("kernel", "bias"),
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "separable_conv2d": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "layer_normalization": ("gamma", "beta"),
    "normalization": ("mean", "variance", "count"),
    "layer_scale": ("gamma",),
}
"""Names of the variables of layers; Keras 3 writes numbers in their place."""


def read_archive(path: Path) -> dict[str, Stored]:
    """Read the weights of a `.keras` file."""
    import h5py

    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(WEIGHTS)
    file = _checked(h5py.File(io.BytesIO(content)), path)
    return dict(_numbered(file, ""))


def read_h5(path: Path) -> dict[str, Stored]:
    """Read a `.h5` file: of weights, of a whole model, or of weights as Keras 3 writes them."""
    import h5py

    file = _checked(h5py.File(path), path)
    if "layer_names" in file.attrs or "model_weights" in file:
        return dict(_named(file.get("model_weights", file)))
    return dict(_numbered(file, ""))


def _checked(file: h5py.File, path: Path) -> h5py.File:
    """Return a file that stays open, for arrays to be read when wanted; close one that is refused."""
    try:
        check_hdf5(file, path)
    except BaseException:
        file.close()
        raise
    return file


def tells_names(path: Path) -> bool:
    """Whether a file of Keras holds the names of layers, and not only their kinds and numbers."""
    import h5py

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            file = h5py.File(io.BytesIO(archive.read(WEIGHTS)))
    else:
        file = h5py.File(path)
    with file:
        layers = file.get("layers", {})
        return not layers or any("name" in layers[key].get("vars", layers).attrs for key in layers)


def _named(group: h5py.Group) -> Iterator[tuple[str, Stored]]:
    """Yield what the older formats hold: a group for each layer, with lists of names."""
    for layer in _texts(group.attrs["layer_names"]):
        for weight in _texts(group[layer].attrs["weight_names"]):
            name = re.sub(r":\d+$", "", weight)
            if not name.startswith(f"{layer}/"):
                name = f"{layer}/{name}"
            yield name, _stored(group[layer][weight])


def _numbered(group: h5py.Group, scope: str) -> Iterator[tuple[str, Stored]]:
    """Yield what Keras 3 writes: `layers/conv2d_1/vars/0`, with the layer's own name as attribute."""
    for key in sorted(group.get("layers", {}), key=_by_number):
        layer = group["layers"][key]
        name = scope + str(layer["vars"].attrs.get("name", key) if "vars" in layer else key)
        if "layers" in layer:
            yield from _numbered(layer, f"{name}/")
            continue
        for inner, parts in _inside(layer, ""):
            variables = parts["vars"]
            kind = re.sub(r"_\d+$", "", key)
            for number in sorted(variables, key=int):
                called = _name_of(kind, int(number), len(variables)) if not inner else number
                yield f"{name}/{inner}{called}", _stored(variables[number])


def _inside(layer: h5py.Group, scope: str) -> Iterator[tuple[str, h5py.Group]]:
    """Yield a layer, then the layers that it holds as attributes, where they have variables."""
    if "vars" in layer:
        yield scope, layer
    for key in layer:
        if key not in ("vars", "seed_generator") and hasattr(layer[key], "keys"):
            yield from _inside(layer[key], f"{scope}{key}/")


def _name_of(kind: str, number: int, count: int) -> str:
    names = _ORDER.get(kind, ())
    if kind == "batch_normalization" and count == 3:  # as in Inception: without scale
        names = names[1:]
    return names[number] if count <= len(names) else str(number)


def _stored(dataset: h5py.Dataset) -> Stored:
    return Stored(tuple(dataset.shape), str(dataset.dtype), lambda: dataset[()])


def _texts(values: Any) -> list[str]:
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _by_number(key: str) -> tuple[str, int]:
    stem, _, number = key.rpartition("_")
    return (stem, int(number)) if number.isdecimal() else (key, 0)
