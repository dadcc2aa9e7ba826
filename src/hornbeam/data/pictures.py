"""One picture of a batch: read, decoded no larger than needed, varied, brought to the right size."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from hornbeam.data.dataset import Dataset
from hornbeam.data.pixels.augment import Augmentation
from hornbeam.data.pixels.images import Pixels
from hornbeam.data.pixels.resize import ResizeMode
from hornbeam.data.pixels.view import View, require_picture, see

Augment = Callable[[Pixels, np.random.Generator], Pixels]
Preprocess = Callable[[Pixels, bool, np.random.Generator], Pixels]

_PREPARATION = 3
"""Added to the key of a picture's generator for `preprocess`, so that using it varies no crop."""

_PLAIN = Augmentation()


class Pictures:
    """Pictures of a dataset by row, as the network takes them.

    Args:
        dataset: where they are.
        image_size: (height, width, channels) of the result.
        augment: variation, or a recipe's function in its place.
        preprocess: a recipe's function that goes before all else, or `None`.
        resize_mode: how a picture gets its shape.
        training: what `preprocess` is told.
        in_memory: bytes that may hold decoded pictures.
    """

    def __init__(
        self,
        dataset: Dataset,
        image_size: tuple[int, ...],
        augment: Augmentation | Augment,
        preprocess: Preprocess | None,
        resize_mode: ResizeMode,
        training: bool,
        in_memory: int,
    ) -> None:
        self._dataset = dataset
        self._size = (image_size[0], image_size[1])
        self._channels = image_size[2]
        self._augment = augment
        self._preprocess = preprocess
        self._mode = resize_mode
        self._training = training
        self._decoded = Decoded(in_memory)

    def get(self, row: int, key: tuple[int, ...]) -> Pixels:
        """Return one picture, uint8 `[height, width, channels]`.

        Args:
            row: of the dataset.
            key: seeds the generators that alone decide what becomes of it.

        Raises:
            DataError: it cannot be read; the message names it.
            ConfigError: a function of the recipe returned something else than a picture.
        """
        if self._preprocess is None and isinstance(self._augment, Augmentation):
            return self._varied(row, key, self._augment)
        rng = np.random.default_rng(key)
        pixels = self._whole(row)
        if self._preprocess is not None:
            own = np.random.default_rng((*key, _PREPARATION))
            made = self._preprocess(pixels.copy(), self._training, own)
            pixels = require_picture(self._preprocess, made, self._channels)
        if isinstance(self._augment, Augmentation):
            return self._augment(pixels, self._size, rng, self._mode)
        pixels = require_picture(self._augment, self._augment(pixels.copy(), rng), self._channels)
        return _PLAIN(pixels, self._size, rng, self._mode)

    def _varied(self, row: int, key: tuple[int, ...], augment: Augmentation) -> Pixels:
        """Draw first, then decode as small as that allows."""
        data = None
        measured = self._decoded.sizes.get(row)
        if measured is None:
            data = self._dataset.read(row)
            measured = self._dataset.measure(row, data)

        def plan(height: int, width: int) -> View:
            return augment.plan(height, width, self._size, np.random.default_rng(key), self._mode)

        def decode(reduction: int) -> Pixels:
            nonlocal data
            pixels = self._decoded.get(row, reduction)
            if pixels is None:
                data = self._dataset.read(row) if data is None else data
                pixels = self._dataset.decode(row, data, self._channels, reduction)
                self._decoded.keep(row, reduction, measured, pixels)
            return pixels

        return see(measured, plan, decode)

    def _whole(self, row: int) -> Pixels:
        pixels = self._decoded.get(row, 1)
        if pixels is None:
            pixels = self._dataset.decode(row, self._dataset.read(row), self._channels)
            self._decoded.keep(row, 1, (pixels.shape[0], pixels.shape[1]), pixels)
        return pixels


class Decoded:
    """Decoded pictures that stay in memory, as many as fit.

    What is kept is what decoding returned, by the reduction that a crop asked for, so that a
    picture is the same whether it comes from here or not. What no longer fits is decoded each time.

    Args:
        budget: bytes; 0 keeps nothing.
    """

    def __init__(self, budget: int) -> None:
        self._left = self._budget = budget
        self._kept: dict[tuple[int, int], Pixels] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def get(self, row: int, reduction: int) -> Pixels | None:
        """Return a picture that was kept, or `None`."""
        return self._kept.get((row, reduction))

    def keep(self, row: int, reduction: int, size: tuple[int, int], pixels: Pixels) -> None:
        """Keep a picture if it fits.

        Args:
            row: of the dataset.
            reduction: that it was decoded at.
            size: (height, width) at full scale.
            pixels: no longer changed by anyone.
        """
        with self._lock:
            if pixels.nbytes <= self._left and (row, reduction) not in self._kept:
                self._left -= pixels.nbytes
                self._kept[row, reduction] = pixels
                self.sizes[row] = size

    def __getstate__(self) -> int:
        return self._budget  # other processes fill their own

    def __setstate__(self, budget: int) -> None:
        self.__init__(budget)  # type: ignore[misc]
