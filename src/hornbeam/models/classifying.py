"""A Classifier in hand: the network, with the names of what it takes and answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.errors import ModelError
from hornbeam.models.classifier import Target, build_classifier
from hornbeam.models.zoo import find_architecture

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A Keras model from uint8 pixels to logits, one output a task, and what its numbers mean.

    `model` is a plain Keras model: `fit`, `save` and all else of Keras work on it.

    Attributes:
        model: from uint8 `[batch, height, width, channels]` to a dictionary of float32 logits
            `[batch, classes]` by task. With numbers beside the picture it takes a dictionary of `image`
            and `features`, float32 `[batch, columns]`.
        tasks: what it answers.
        features: names of those numbers, in their order; mostly none.

    Example:
        >>> task = hornbeam.Task("label", ("cat", "dog"))
        >>> cats = hornbeam.Classifier.build("compact", (task,), (64, 64))
        >>> cats.probabilities(pictures)["label"].shape
        (10, 2)
    """

    model: keras.Model
    tasks: tuple[Any, ...]
    features: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, name: str, tasks: Sequence[Target], image_size: tuple[int, ...] | None = None, *,
        weights: str | None = None, dropout: float = 0.0,
    ) -> Classifier:  # fmt: skip
        """Build an untrained one. Keras' backend must be chosen before, or is Keras' own choice.

        Args:
            name: of the network; `hornbeam models` lists them.
            tasks: what it is to answer.
            image_size: (height, width) in pixels, or (height, width, channels); else the network's own.
            weights: `imagenet`, or `None` for random ones.
            dropout: share of the pooled features that training drops, in [0, 1).

        Raises:
            ConfigError: there is no such network, or it does not take such pictures.
        """
        architecture = find_architecture(name)
        size = image_size or (architecture.size, architecture.size)
        model = build_classifier(architecture, size, tasks, weights=weights, dropout=dropout)
        return cls(model, tuple(tasks))

    @property
    def image_size(self) -> tuple[int, int, int]:
        """(height, width, channels) of the pictures that it takes."""
        given = self.model.input
        pixels = given["image"] if isinstance(given, dict) else given
        height, width, channels = pixels.shape[1:]
        return height, width, channels

    def logits(
        self, images: NDArray[np.uint8], features: NDArray[Any] | None = None, batch_size: int = 32
    ) -> dict[str, NDArray[np.float32]]:
        """Return the logits of pictures by task: float32 `[pictures, classes]`.

        Args:
            images: uint8 `[pictures, height, width, channels]`, RGB, of the size that it takes.
            features: the numbers beside each, `[pictures, columns]`, where it takes some.
            batch_size: pictures at a time.

        Raises:
            ModelError: they are not as it takes them.
        """
        if images.dtype != np.uint8 or images.shape[1:] != self.image_size:
            raise ModelError(
                f"The classifier takes uint8 {['pictures', *self.image_size]}; these are "
                f"{images.dtype} {list(images.shape)}."
            )
        if (features is not None) != bool(self.features):
            takes = ", ".join(self.features) or "no numbers beside pictures"
            raise ModelError(f"The classifier takes {takes}.")
        given: Any = images
        if features is not None:
            given = {"image": images, "features": np.asarray(features, np.float32)}
        found = self.model.predict(given, batch_size=batch_size, verbose=0)
        return {name: np.asarray(values, np.float32) for name, values in found.items()}

    def probabilities(
        self, images: NDArray[np.uint8], features: NDArray[Any] | None = None, batch_size: int = 32
    ) -> dict[str, NDArray[np.float32]]:
        """Return probabilities by task, as the network gives them: float32 `[pictures, classes]`.

        Those of `hornbeam predict` and of bundles are calibrated besides. They sum to 1, but for a task
        of several labels, where each stands alone. The arguments are those of `logits`.
        """
        result = {}
        logits = self.logits(images, features, batch_size)
        for task in self.tasks:
            values = logits[task.name]
            if getattr(task, "multi_label", False):
                # Not 1 / (1 + exp(-x)), which overflows below -88.
                result[task.name] = np.exp(-np.logaddexp(0, -values), dtype=np.float32)
            else:
                shares = np.exp(values - values.max(axis=1, keepdims=True))
                result[task.name] = np.asarray(shares / shares.sum(axis=1, keepdims=True))
        return result
