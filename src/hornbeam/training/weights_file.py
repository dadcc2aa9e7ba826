"""A `.weights.h5` of Keras, written later than its values are taken.

Keras writes a file while it walks over the layers, a call of HDF5 for each layer and variable: 0.2 s
and more for MobileNetV2 on a processor, which is several steps of an accelerator. Here the walk only
copies the values, and the file is made of them in whatever thread there is time for it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.src.saving.saving_lib import H5IOStore, _save_state
from numpy.typing import NDArray


class WeightsFile(H5IOStore):  # type: ignore[misc]
    """What Keras would write of a model's weights.

    Args:
        model: built; without a compiled optimiser, which would be in the file too.
    """

    def __init__(self, model: keras.Model) -> None:
        # Not that of Keras, which opens a file.
        self._entries: list[tuple[str, dict[str, str] | None, dict[str, NDArray[Any]]]] = []
        _save_state(model, self, None, inner_path="", visited_saveables=set())

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: dict[str, str] | None = None) -> WeightsFile:
        """Begin a layer: Keras calls this."""
        self._entries.append((path, metadata, {}))
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        # A copy, as on a processor it may be the memory that the next step changes.
        self._entries[-1][2][key] = np.array(keras.ops.convert_to_numpy(value))

    def write(self, path: Path) -> None:
        """Write the file that `save_weights` would have written.

        Raises:
            OSError: of the disk. HDF5, which would tell of it in its own way and at any time, works
                in memory.
        """
        file = io.BytesIO()
        store = H5IOStore(file, mode="w")
        for name, metadata, values in self._entries:
            layer = store.make(name, metadata)
            for key, value in values.items():
                layer[key] = value
        store.close()
        path.write_bytes(file.getbuffer())
