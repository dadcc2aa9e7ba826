"""From whatever a picture comes as to the pixels that the network takes, as in training."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels import pillow
from hornbeam.data.pixels.images import Pixels, decode, measure, shrink, with_channels
from hornbeam.data.pixels.view import PlainView, require_picture, see
from hornbeam.data.remote import is_remote, read_bytes
from hornbeam.data.walking import require_utf8
from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.errors import BundleError, ConfigError, DataError

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = "str | Path | bytes | NDArray[np.uint8] | Image.Image"
"""A path or address, the bytes of a file, a picture of Pillow, or pixels: uint8 `[height, width]`, or
`[height, width, 1, 3 or 4]` in the order red, green, blue, alpha (OpenCV reads blue first)."""

_SEED = (0, 3)
"""Of the generator that `preprocess` gets; the same for every picture."""


class Preparation:
    """How pictures are read for a bundle. Any number of threads may use it at once.

    Args:
        directory: the bundle.
        manifest: its own.
        trust: run the recipe's `preprocess`, if there is one.

    Attributes:
        max_pixels: a picture of more is refused; the bundle's own to begin with.

    Raises:
        BundleError: there is one, and it is not trusted or cannot be run.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, trust: bool) -> None:
        height, width, self._channels = manifest.image_size
        self._size = (height, width)
        self._mode = manifest.resize_mode
        self.max_pixels = manifest.max_pixels
        self._preprocess = _preprocess_of(directory, manifest, trust)

    def __call__(self, picture: Picture) -> Pixels:
        """Return a picture as the network takes it, uint8 `[height, width, channels]`.

        Raises:
            DataError: it cannot be read; the message names it where it has a name.
        """
        if isinstance(picture, np.ndarray):
            return self._see(_checked(picture))
        if isinstance(picture, bytes | bytearray | memoryview):
            return self._see(bytes(picture))
        if pillow.is_image(picture):
            return self._see(self._of_pillow(picture))
        if not isinstance(picture, str | os.PathLike):
            raise DataError(
                f"a {type(picture).__name__} was given; expected a path, an address, the bytes of a "
                "file, a picture of Pillow or an array"
            )
        name = os.fspath(picture)
        require_utf8(name)
        data = _read(name)
        try:
            return self._see(data)
        except DataError as error:
            raise DataError(f"{name}: {error}.") from None

    def _see(self, data: bytes | Pixels) -> Pixels:
        if self._preprocess is not None:
            return self._preprocessed(self._decode(data, 1), self._preprocess)
        measured = measure(data) if isinstance(data, bytes) else data.shape[:2]
        return see(measured, self._plan, lambda reduction: self._decode(data, reduction))

    def _plan(self, height: int, width: int) -> PlainView:
        return PlainView.of(height, width, self._size, self._mode)

    def _decode(self, data: bytes | Pixels, reduction: int) -> Pixels:
        if isinstance(data, bytes):
            return decode(data, self._channels, reduction, self.max_pixels)
        return shrink(with_channels(data, self._channels), reduction)

    def _of_pillow(self, image: Any) -> Pixels:
        try:
            return pillow.pixels_of(image, self._channels)
        except Exception as error:  # files that Pillow has opened are read only now
            raise DataError(f"the picture of Pillow cannot be read ({error})") from None

    def _preprocessed(self, pixels: Pixels, preprocess: Callable[..., Any]) -> Pixels:
        try:
            made = preprocess(pixels.copy(), False, np.random.default_rng(_SEED))
        except Exception as error:  # the user's own code
            raise DataError(f"preprocess() failed ({type(error).__name__}: {error})") from error
        pixels = require_picture(preprocess, made, self._channels)
        view = self._plan(pixels.shape[0], pixels.shape[1])
        return view.apply(shrink(pixels, view.reduction))


def is_one(given: Any) -> bool:
    """Whether this is one picture and no list of them; an array of fewer than four dimensions is one."""
    if isinstance(given, np.ndarray) and given.dtype.kind not in "UO":  # those of names
        return given.ndim < 4
    kinds = (str, os.PathLike, bytes, bytearray, memoryview)
    return isinstance(given, kinds) or pillow.is_image(given)


def name_of(picture: Picture) -> str | None:
    r"""Return what an answer calls a picture; `None` of bytes and pixels.

    What is not UTF-8 in a name is escaped (`\udcff`), as no file of answers can hold it.
    """
    if not isinstance(picture, str | os.PathLike):
        return None
    return os.fspath(picture).encode(errors="backslashreplace").decode()


def _read(name: str) -> bytes:
    if is_remote(name):
        return read_bytes(name, cached=False)
    try:
        return read_bytes(name)
    except ValueError:  # a zero in it
        raise DataError(f"{name!r} is no path.") from None


def _checked(picture: NDArray[Any]) -> Pixels:
    shape = picture.shape
    fits = picture.ndim == 2 or (picture.ndim == 3 and shape[2] in (1, 3, 4))
    if picture.dtype != np.uint8 or not fits or not picture.size:
        raise DataError(
            f"a picture of {picture.dtype} {list(shape)} was given; expected uint8 [height, width] "
            "or [height, width, channels] with 1, 3 or 4 channels"
        )
    return picture


def _preprocess_of(directory: Path, manifest: Manifest, trust: bool) -> Callable[..., Any] | None:
    if manifest.preprocess is None:
        return None
    path = directory / manifest.preprocess
    if not trust:
        raise BundleError(
            f"The pictures of {directory} go through preprocess() of {path}, which is code that would "
            "run here; read it, and if you trust it, pass --trust (trust=True)."
        )
    from hornbeam.recipe import Recipe

    try:
        found = Recipe.load(path).preprocess
    except ConfigError as error:
        raise BundleError(f"preprocess() cannot be loaded: {error}") from None
    if found is None:
        raise BundleError(f"{path} defines no preprocess(); get the bundle anew.")
    return found
