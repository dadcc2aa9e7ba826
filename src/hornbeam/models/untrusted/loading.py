"""Load a whole model from a file that a stranger may have made."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.errors import HornbeamError, ModelError
from hornbeam.models.untrusted.archives import (
    CONFIG,
    WEIGHTS,
    RefusedError,
    check_archive,
    refusal,
)
from hornbeam.models.untrusted.configs import check_config
from hornbeam.models.untrusted.hdf5 import check_hdf5

if TYPE_CHECKING:
    import keras

TRUST = "--trust loads it as if it were your own code."

_OLDEST = (3, 13, 2)
"""Keras before this let files read others and run code (CVE-2025-12058, CVE-2026-0897 and before)."""

_COPIES, _SLACK = 4, 2**20
"""Numbers that a configuration may declare per number in the file (an optimiser has up to two more per
weight), and that any may: states of random numbers and counters are not always stored."""

_LARGEST_MAP = 2**28
"""Numbers that a layer may make of one picture: 1 GiB of float32."""


def load_model(
    path: Path, *, trust: bool = False, patient: bool = False, advice: str = TRUST
) -> keras.Model:
    """Load a model, not compiled; Keras' backend must be chosen before.

    Args:
        path: a `.keras` or `.h5` file.
        trust: run what code it holds, and believe its sizes: it is one's own.
        patient: building it may take minutes: what comes with it runs code anyway.
        advice: what to do about a file that is refused.

    Raises:
        ModelError: it is damaged, or refused: it names code or layers that are not Keras' own, reads
            other files, or declares more than it holds. Layers that a recipe has registered are known.
    """
    import keras

    require_safe_keras()
    try:
        if not trust:
            look_through(path, patient=patient)
        return keras.saving.load_model(path, compile=False, safe_mode=not trust)
    except RefusedError as error:
        raise RefusedError(f"{error} {advice}") from None
    except HornbeamError:
        raise
    except Exception as error:  # Keras, h5py and zipfile raise dozens of kinds
        raise ModelError(f"{path} cannot be loaded ({_first_line(error)}).") from None


def load_parts(layers: Path, weights: Path, *, patient: bool = False) -> keras.Model:
    """Load a model whose layers are one file, of JSON, and whose weights are another.

    Args:
        layers: what `model.to_json()` gave.
        weights: a `.weights.h5` file.
        patient: see `load_model`.

    Raises:
        ModelError: see `load_model`.
    """
    import h5py
    import keras

    with h5py.File(weights, "r") as file:
        numbers = check_hdf5(file, weights)
    text = layers.read_text(encoding="utf-8")
    check_config(text, layers, patient=patient)
    _build_without_memory(lambda: keras.models.model_from_json(text), numbers, layers)
    model = keras.models.model_from_json(text)
    model.load_weights(weights)
    return model


def look_through(path: Path, *, patient: bool = False) -> None:
    """Check all that a model file says, before anything is built of it.

    Args:
        path: see `load_model`.
        patient: the same.

    Raises:
        ModelError: see `load_model`.
    """
    import h5py
    import keras

    if path.suffix == ".keras":
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            config = check_config(archive.read(CONFIG), path, patient=patient)
            content = io.BytesIO(archive.read(WEIGHTS))
        with h5py.File(content, "r") as file:
            numbers = check_hdf5(file, path)
        config["compile_config"] = None
        _build_without_memory(lambda: keras.saving.deserialize_keras_object(config), numbers, path)
        return
    with h5py.File(path, "r") as file:
        numbers = check_hdf5(file, path)
        text = file.attrs.get("model_config")
    if text is None:
        raise ModelError(
            f"{path} holds weights without a model; `hornbeam train --weights` takes those."
        )
    check_config(text, path, patient=patient)

    def build() -> Any:
        return keras.saving.load_model(path, compile=False, safe_mode=True)

    _build_without_memory(build, numbers, path)


def require_safe_keras() -> None:
    """Refuse a Keras that is known to run code of files.

    Raises:
        ModelError: it is too old.
    """
    import keras

    version = tuple(int(part) for part in keras.version().split(".")[:3] if part.isdecimal())
    if version < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise ModelError(
            f"Keras {keras.version()} opens files less safely than it should; "
            f"pip install 'keras>={oldest}'."
        )


def _build_without_memory(build: Any, numbers: int, path: Path) -> None:
    """Build a model whose variables have shapes and no values; refuse it if those would be too many.

    Args:
        build: makes it.
        numbers: that the file has.
        path: of the file.

    Raises:
        ModelError: see `load_model`.
    """
    import keras
    from keras.src.backend.common import global_state

    allowed = _COPIES * numbers + _SLACK

    class Declared(keras.StatelessScope):  # type: ignore[misc]  # Keras has no types
        """Variables that are made in a stateless scope wait for their values until its end."""

        def get_current_value(self, variable: Any) -> Any:
            size = math.prod(variable.shape)
            if size > allowed:
                raise _too_much(path, size, numbers)
            return super().get_current_value(variable)

    waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = list(waiting)
    fault: Exception | None = None
    try:
        with Declared(initialize_variables=False):
            model = build()
            _check_maps(model, path)
    except Exception as error:  # what is told below, once the sizes are known
        fault = error
    made = global_state.get_global_attribute("uninitialized_variables")[len(before) :]
    # Else the next scope would give them values.
    global_state.set_global_attribute("uninitialized_variables", before)
    declared = sum(math.prod(variable.shape) for variable in made)
    if declared > allowed:
        raise _too_much(path, declared, numbers)
    if fault is not None:
        raise fault


def _check_maps(model: Any, path: Path) -> None:
    """Refuse layers that make absurdly much of one picture."""
    for layer in getattr(model, "operations", None) or getattr(model, "layers", None) or ():
        _check_maps(layer, path)
        try:
            outputs = layer.output
        except (AttributeError, ValueError, RuntimeError):  # used several times, or not at all
            continue
        for tensor in _tensors(outputs):
            size = math.prod(side or 1 for side in tensor.shape)
            if size > _LARGEST_MAP:
                raise refusal(path, f"its layer {layer.name!r} makes {size:,} numbers of a picture")


def _tensors(outputs: Any) -> list[Any]:
    import keras

    return [each for each in keras.tree.flatten(outputs) if hasattr(each, "shape")]


def _too_much(path: Path, declared: int, numbers: int) -> ModelError:
    return refusal(path, f"its layers declare {declared:,} weights, and it holds {numbers:,}")


def _first_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 300 else f"{words[:297]}…"
