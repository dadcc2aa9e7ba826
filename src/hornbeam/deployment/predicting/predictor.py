"""Ask a bundle: pictures in, calibrated answers out, with doubt where there is some."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend
from hornbeam.data.tasks import Task
from hornbeam.deployment.bundle.archive import unpacked
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.deployment.predicting.answers import Answer, answers_of
from hornbeam.deployment.predicting.choosing import open_artifact
from hornbeam.deployment.predicting.golden_check import check_golden
from hornbeam.deployment.predicting.preparation import Picture, Preparation, is_one
from hornbeam.deployment.predicting.streaming import stream
from hornbeam.errors import BundleError

__all__ = ["Answer", "Picture", "Predictor"]


class Predictor:
    """A bundle, opened.

        with Predictor("clothing.zip") as predictor:
            for answer in predictor.stream(paths):
                print(answer.picture, answer.error or answer.best())

    Arrays are RGB: what OpenCV's `imread` gives must be turned (`array[..., ::-1]`).

    Any number of threads may call `prepare` at once, and `predict`, `stream` and `ask` too; the artifact
    itself is asked by one thread at a time, whose call may use all `threads`.

    Args:
        bundle: the folder, or the `.zip`.
        format: which artifact; else the quickest exact one whose runtime is installed.
        threads: that decoding and the runtime may use; 0 = one per core.
        batch_size: pictures at a time.
        check: ask about the golden pictures first.
        trust: run the recipe's `preprocess`, if the bundle has one, and files that can hold code.
        max_pixels: a picture of more is refused; else as the bundle says.

    Raises:
        BundleError: it is damaged, its runtime is not installed, or it answers otherwise than it did.
    """

    def __init__(
        self, bundle: str | Path, *, format: str | None = None, threads: int = 0,
        batch_size: int = 32, check: bool = True, trust: bool = False,
        max_pixels: int | None = None,
    ) -> None:  # fmt: skip
        if batch_size < 1 or threads < 0:
            raise BundleError("batch_size must be at least 1, and threads at least 0.")
        directory = unpacked(Path(bundle))
        self.manifest = Manifest.load(directory)
        self.threads = threads or backend.cores()
        self.batch_size = batch_size
        self.prepare = Preparation(directory, self.manifest, trust=trust)
        self._runtime = open_artifact(directory, self.manifest, format, self.threads, trust=trust)
        self.format = self._runtime.artifact.format
        self._one_at_a_time = threading.Lock()
        self._closed = False
        if check:
            try:
                check_golden(directory, self.manifest, self.prepare, self._runtime)
            except BaseException:
                self._runtime.close()
                raise
        if max_pixels is not None:  # from here on: golden pictures may have more
            self.manifest = dataclasses.replace(self.manifest, max_pixels=max_pixels)
            self.prepare.max_pixels = max_pixels

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the bundle answers."""
        return self.manifest.tasks

    def predict(
        self, pictures: Iterable[Picture], features: Iterable[Sequence[float]] | None = None
    ) -> list[Answer]:
        """Return an answer to each picture, in their order; of one that cannot be read, its `error`.

        Args:
            pictures: any number of them; an array `[pictures, height, width, channels]` is some, too.
            features: the numbers beside each picture, `[pictures, columns]`, where the bundle has some.

        Raises:
            BundleError: numbers are needed and not given, or the other way round.
        """
        return list(self.stream(pictures, features))

    def stream(
        self, pictures: Iterable[Picture], features: Iterable[Sequence[float]] | None = None
    ) -> Iterator[Answer]:
        """Yield an answer to each picture, in their order, in bounded memory.

        Args:
            pictures: at most two batches are taken ahead of the one whose answers are yielded; a
                generator need never end. An error that it raises comes after the answers to all before.
            features: the same for the numbers beside them; see `predict`.
        """
        _require_several(pictures)
        self._require_features(features is not None)
        return stream(self, pictures, features)

    def ask(
        self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None
    ) -> list[Answer]:
        """Return the answers to prepared pictures.

        Args:
            image: uint8 `[batch, height, width, channels]`, of `prepare`; RGB.
            features: numbers `[batch, columns]`.

        Raises:
            BundleError: they are of another type or shape.
        """
        self._require_features(features is not None)
        image = self._checked_image(image)
        features = None if features is None else self._checked_features(features, len(image))
        if not len(image):
            return []
        with self._one_at_a_time:
            if self._closed:
                raise BundleError("This Predictor is closed.")
            outputs = self._runtime.run(image, features)
        return answers_of(self.manifest, outputs)

    def warm_up(self) -> None:
        """Ask about a grey picture, and a batch of them, so that the first real answer is as quick."""
        columns = len(self.manifest.features)
        for size in sorted({1, self.batch_size}):
            grey = np.full((size, *self.manifest.image_size), 128, np.uint8)
            self.ask(grey, np.zeros((size, columns), np.float32) if columns else None)

    def close(self) -> None:
        """Give up the artifact; nothing can be asked any more."""
        with self._one_at_a_time:
            if not self._closed:
                self._closed = True
                self._runtime.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _checked_image(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image, size = np.asarray(image), self.manifest.image_size
        if image.dtype != np.uint8 or image.shape[1:] != size or image.ndim != 4:
            raise BundleError(
                f"Prepared pictures of {image.dtype} {list(image.shape)} were given; expected uint8 "
                f"[batch, {', '.join(map(str, size))}]; `prepare` and `predict` take any picture."
            )
        return image

    def _checked_features(self, features: NDArray[Any], count: int) -> NDArray[np.float32]:
        features = np.asarray(features)
        shape = (count, len(self.manifest.features))
        if features.dtype.kind not in "fiu" or features.shape != shape:
            raise BundleError(
                f"Features of {features.dtype} {list(features.shape)} were given; expected numbers "
                f"{list(shape)}: {', '.join(self.manifest.features)} beside each picture."
            )
        return features.astype(np.float32, copy=False)

    def _require_features(self, given: bool) -> None:
        names = self.manifest.features
        if names and not given:
            raise BundleError(
                f"The model takes {', '.join(names)} beside each picture; give them as features."
            )
        if given and not names:
            raise BundleError("The model takes no numbers beside a picture; give no features.")


def _require_several(pictures: Any) -> None:
    """Refuse what would be taken apart, a row or a byte at a time, or cannot be.

    Raises:
        BundleError: it is one picture, or nothing of the kind.
    """
    if is_one(pictures):
        raise BundleError("Give a list of pictures, also of one: [picture].")
    if not isinstance(pictures, Iterable):
        raise BundleError(f"A {type(pictures).__name__} was given; give a list of pictures.")
