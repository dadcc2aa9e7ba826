"""A `.weights.h5` of Keras, written later than its values are taken.

Keras writes a file while it walks over the layers, a call of HDF5 for each layer and variable: 0.2 s
and more for MobileNetV2 on a processor, which is several steps of an accelerator. The walk alone takes
0.07 s. Here it is done once; from then on the values of its variables are copied, and a file is made of
the copies in whatever thread there is time for it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.saving.saving_lib import H5IOStore, _save_state
from numpy.typing import NDArray

Values = list[NDArray[Any]]


class WeightsFile(H5IOStore):  # type: ignore[misc]
    """What Keras writes of a model's weights.

    Args:
        model: built; without a compiled optimiser, which would be in the file too.
    """

    def __init__(self, model: keras.Model) -> None:
        # Not that of Keras, which opens a file.
        self._model = model
        self._entries: list[tuple[str, dict[str, str] | None, dict[str, Any]]] = []
        self._walk()

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: dict[str, str] | None = None) -> WeightsFile:
        """Begin a layer: Keras calls this."""
        self._entries.append((path, metadata, {}))
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self._entries[-1][2][key] = value

    def values(self) -> Values:
        """Return copies of all values, as they are now."""
        if not all(isinstance(value, keras.Variable) for value in self._given()):
            self._walk()  # a layer computes what it saves
        # On a processor it may be the memory that the next step changes.
        return [np.array(keras.ops.convert_to_numpy(value)) for value in self._given()]

    def write(self, path: Path, values: Values) -> None:
        """Write the file that `save_weights` would have written when these values were taken.

        Raises:
            OSError: of the disk. HDF5, which would tell of it in its own way and at any time, works
                in memory.
        """
        file, left = io.BytesIO(), iter(values)
        store = H5IOStore(file, mode="w")
        for name, metadata, given in self._entries:
            layer = store.make(name, metadata)
            for key in given:
                layer[key] = next(left)
        store.close()
        path.write_bytes(file.getbuffer())

    def _walk(self) -> None:
        self._entries = []
        _save_state(self._model, self, None, inner_path="", visited_saveables=set())

    def _given(self) -> list[Any]:
        return [value for _, _, given in self._entries for value in given.values()]
