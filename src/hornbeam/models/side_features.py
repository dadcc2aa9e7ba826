"""Numbers beside the picture (side features): the input that takes them, standardised inside the model.

As with pixels, no one can then prepare them wrongly later: a model takes them as they are in the table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

FEATURES = "features"
"""Name of the model's second input: all numbers of a picture in one vector."""

_WIDTH = 128
"""Units between the columns and the classes in the zoo's classifiers.

Of pictures of noise, whose class only a column told, the compact network learnt the noise by heart
when the columns went to the classes straight: 0.54 to 0.70 on others. Through 64 units, or 128, it
was 1.0 (learning rate 0.02; through 16, 0.92 to 1.0).
"""

_CONSTANT = 1e-6
"""Deviation, relative to the mean, below which a column of float32 does not vary but is rounded."""


@dataclasses.dataclass(frozen=True)
class SideFeatures:
    """What a model must know of the numbers beside its pictures.

    Attributes:
        names: of the columns, in the order of the vector.
        means: of the training pictures, one a column.
        deviations: their standard deviations; 1 for a column that does not vary.
    """

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def of(cls, names: Sequence[str], values: NDArray[np.float32]) -> SideFeatures:
        """Measure the columns of the training pictures.

        Args:
            names: of the columns.
            values: float32 `[pictures, columns]`, finite.
        """
        exact = values.astype(np.float64)
        means, deviations = exact.mean(axis=0), exact.std(axis=0)
        varies = deviations > _CONSTANT * np.abs(means)
        deviations = np.where(varies, deviations, 1.0)
        return cls(tuple(names), tuple(means.tolist()), tuple(deviations.tolist()))

    def input(self) -> keras.KerasTensor:
        """Return a new input of the numbers as they are: float32 `[batch, columns]`."""
        import keras

        return keras.Input((len(self.names),), dtype="float32", name=FEATURES)

    def standardize(self, numbers: Any) -> Any:
        """Return the numbers minus their mean, over their deviation."""
        from keras import layers

        # Constants, so that they are in the model's file and no training changes them; in float32
        # whatever the precision, as bfloat16 cannot tell the year 2020 from 2024.
        return layers.Rescaling(
            [1 / deviation for deviation in self.deviations],
            [
                -mean / deviation
                for mean, deviation in zip(self.means, self.deviations, strict=True)
            ],
            dtype="float32",
            name="standardize",
        )(numbers)

    def encode(self, numbers: Any) -> Any:
        """Return what the zoo's classifiers make of the numbers: standardised, then a hidden layer."""
        from keras import layers

        hidden = layers.Dense(_WIDTH, activation="relu", dtype="float32", name="encode_features")
        return hidden(self.standardize(numbers))


def beside(pixels: Any, numbers: Any) -> Any:
    """Return what a model is made of: the input of pixels, or a dictionary with that of numbers."""
    return pixels if numbers is None else {"image": pixels, FEATURES: numbers}
