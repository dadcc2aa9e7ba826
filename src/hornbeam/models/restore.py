"""Weights that were trained elsewhere, put into a backbone."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from hornbeam.errors import ConfigError, ModelError, listing
from hornbeam.models.classifier import BACKBONE, IMAGENET_DEVIATION

if TYPE_CHECKING:
    import keras

_PATIENCE = 4.0
"""Seconds to wait for the server of the ImageNet weights."""


def load_weights(backbone: keras.Model, path: Path) -> None:
    """Put the weights of a file into a network, all of them or none.

    A head in the file is left out. Understood are `.weights.h5` of Keras 3, `.h5` of weights or of
    whole models, and `.keras`, of the bare network or of a Hornbeam run.

    Args:
        backbone: gets the weights; a classifier's backbone, or a whole model of a recipe.
        path: of the file.

    Raises:
        ConfigError: the file is missing or of another kind.
        ModelError: the file is damaged, or does not fit the network.
    """
    if not path.is_file():
        raise ConfigError(
            f"--weights {path}: there is no such file; expected none, imagenet, or a .h5, "
            ".weights.h5 or .keras file."
        )
    if path.suffix not in (".h5", ".keras"):
        raise ConfigError(f"--weights {path}: expected a .h5, .weights.h5 or .keras file.")
    before = backbone.get_weights()
    try:
        if path.suffix == ".keras":
            _copy_layers(read_model(path), backbone, path)
        elif path.name.endswith(".weights.h5"):
            backbone.load_weights(path)
        else:
            _load_h5(backbone, path)
    except ModelError:
        backbone.set_weights(before)
        raise
    except Exception as error:  # Keras and h5py raise a dozen kinds for files that do not fit
        backbone.set_weights(before)
        raise ModelError(
            f"{path} does not fit the network: {_first_sentence(error)} Is it of this architecture "
            "and width?"
        ) from None
    _mend_efficientnet(backbone)


@contextlib.contextmanager
def imagenet_download(constructor: str, wanted: bool = True) -> Iterator[None]:
    """Let Keras fetch or find its ImageNet weights inside this block, without waiting for long.

    Keras keeps what it fetched and needs no network for it. Where its server cannot be reached, a
    download fails at once rather than after minutes.

    Args:
        constructor: of the network in `keras.applications`.
        wanted: whether there is anything to fetch; otherwise the block is left alone.

    Raises:
        ModelError: the weights are not here and cannot be fetched.
    """
    if not wanted:
        yield
        return
    url = _weights_url(constructor)
    # Behind a proxy a direct connection tells nothing; the socket's time limit must do.
    online = "https" in urllib.request.getproxies() or _is_reachable(urlsplit(url).hostname or "")
    earlier = socket.getdefaulttimeout()
    opener = urllib.request._opener  # type: ignore[attr-defined]
    try:
        socket.setdefaulttimeout(4 * _PATIENCE)
        if not online:
            urllib.request.install_opener(_Offline())
        yield
    except Exception as error:
        # Keras wraps the cause in an Exception of its own, with the address in it.
        if isinstance(error, ConfigError) or "URL fetch failure" not in str(error):
            raise
        raise ModelError(
            "The ImageNet weights are not on this machine and cannot be fetched "
            f"({urlsplit(url).hostname} is out of reach); copy them from another machine to "
            f"{_cache() / 'models'}, or pass --weights FILE or --weights none."
        ) from None
    finally:
        socket.setdefaulttimeout(earlier)
        urllib.request._opener = opener  # type: ignore[attr-defined]


class _Offline(urllib.request.OpenerDirector):
    def open(self, *arguments: Any, **options: Any) -> Any:
        raise urllib.error.URLError("out of reach")


def _cache() -> Path:
    import os

    home = os.environ.get("KERAS_HOME")
    return Path(home) if home else Path.home() / ".keras"


def _weights_url(constructor: str) -> str:
    import inspect

    import keras

    module = inspect.getmodule(getattr(keras.applications, constructor))
    for name, value in sorted(vars(module).items()):
        if name.endswith("_PATH") and isinstance(value, str) and "://" in value:
            return value
    return ""


def _is_reachable(host: str) -> bool:
    """Whether a server answers in a few seconds; in a thread, as looking up a name has no timeout."""
    answer: list[bool] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, 443), timeout=_PATIENCE).close()
            answer.append(True)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(answer)


def read_model(path: Path) -> keras.Model:
    """Load a whole model from a `.keras` or `.h5` file, trusting it with nothing."""
    import keras

    # safe_mode refuses Lambda layers and pickled code; compile=False ignores foreign losses.
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _load_h5(backbone: keras.Model, path: Path) -> None:
    """Load a `.h5` by its layers' order, or, where it has a head besides, by their names."""
    try:
        backbone.load_weights(path)
    except ValueError:
        import h5py

        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            raw = group.attrs.get("layer_names", [])
            present = {n.decode() if isinstance(n, bytes) else str(n) for n in raw}
        wanted = [layer.name for layer in backbone.layers if layer.weights]
        _refuse_missing([name for name in wanted if name not in present], len(wanted), path)
        backbone.load_weights(path, by_name=True)


def _copy_layers(source: keras.Model, backbone: keras.Model, path: Path) -> None:
    names = {layer.name for layer in source.layers}
    if BACKBONE in names:
        source = source.get_layer(BACKBONE)
        names = {layer.name for layer in source.layers}
    wanted = [layer for layer in backbone.layers if layer.weights]
    _refuse_missing([layer.name for layer in wanted if layer.name not in names], len(wanted), path)
    for layer in wanted:
        layer.set_weights(source.get_layer(layer.name).get_weights())


def _refuse_missing(missing: list[str], wanted: int, path: Path) -> None:
    if missing:
        raise ModelError(
            f"{path} lacks {len(missing)} of the {wanted} layers of the network, among them "
            f"{listing(missing, 3)}; is it of this architecture?"
        )


def _mend_efficientnet(backbone: keras.Model) -> None:
    """Square the "variance" of Keras' EfficientNet files, which hold the deviation there.

    Keras repairs that with a further layer, but only under weights="imagenet"
    (keras/src/applications/efficientnet.py); a file loaded by its path would miss it.
    """
    import keras

    for layer in backbone.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.built:
            values = layer.get_weights()
            if len(values) >= 2 and np.allclose(values[1].ravel(), IMAGENET_DEVIATION, atol=1e-3):
                layer.set_weights([values[0], values[1] ** 2, *values[2:]])
                layer.finalize_state()


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    end = text.find(". ")
    return (text if end < 0 else text[:end]).rstrip(".")[:300] + "."
