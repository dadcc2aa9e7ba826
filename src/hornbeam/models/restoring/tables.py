"""What a file of weights holds: a table of names, shapes and types, whose values are read when asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hornbeam.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Stored:
    """A variable in a file.

    Attributes:
        shape: of its array.
        dtype: its type in the file, as NumPy writes it (`float32`, `bfloat16`).
        read: gets the array.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class WeightFile:
    """A file of weights.

    Attributes:
        path: of the file, or what is common to the files of a checkpoint.
        kind: in words.
        variables: by name, in the order of the file.
        keras: whether Keras wrote it, so that names are those of layers.
        named: whether the file tells them; older versions of Keras 3 wrote kinds and numbers.
    """

    path: Path
    kind: str
    variables: dict[str, Stored]
    keras: bool = False
    named: bool = True

    def read(self, name: str, integer: bool = False) -> NDArray[Any]:
        """Return a variable as float32, or as it is where an integer is wanted.

        Raises:
            ModelError: it cannot be read, is no number, or is not finite.
        """
        stored = self.variables[name]
        try:
            values = np.asarray(stored.read())
            if integer:
                return values
            if values.dtype.kind in "iub":
                raise ModelError(
                    f"{self.path}: '{name}' is of type {stored.dtype}; weights are floats. Skip it by "
                    "a rule."
                )
            values = values.astype(np.float32)
        except ModelError:
            raise
        except Exception as error:  # h5py, TensorFlow and safetensors raise kinds of their own
            raise ModelError(
                f"{self.path} is damaged: '{name}' cannot be read ({first_sentence(error)})."
            ) from None
        if not np.isfinite(values).all():
            raise ModelError(f"{self.path}: '{name}' holds values that are not finite.")
        return values


def first_sentence(error: Exception) -> str:
    """Return how the message of a library begins, in one line, without a full stop."""
    text = " ".join(str(error).split())
    end = text.find(". ")
    return (text if end < 0 else text[:end]).rstrip(".")[:200]


def times(shape: tuple[int, ...]) -> str:
    """Write a shape: `3x3x32x64`, or `1` for a single number."""
    return "x".join(map(str, shape)) or "1"
