"""Which file is read how."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbeam.errors import ConfigError, HornbeamError, ModelError, did_you_mean
from hornbeam.models.restoring import keras_files
from hornbeam.models.restoring.tables import Stored, WeightFile, first_sentence
from hornbeam.models.restoring.tensorflow_checkpoints import find_prefix, read_checkpoint

EXPECTED = ".keras, .h5, .weights.h5 or .safetensors file, or a TensorFlow checkpoint"


def read_weight_file(path: Path, option: str = "--weights") -> WeightFile:
    """Read what a file of weights holds; its arrays are read when they are asked for.

    Args:
        path: a `.keras`, `.h5`, `.weights.h5` or `.safetensors` file; or a checkpoint of TensorFlow,
            by its prefix, one of its files, its directory, or a SavedModel.
        option: that named the file, for messages.

    Raises:
        ConfigError: there is no such file, or it is of another kind.
        ModelError: the file is damaged, or its reader is not installed.
    """
    if path.is_file() and path.suffix in _READERS:
        kind, read = _READERS[path.suffix]
        by_keras = path.suffix != ".safetensors"
        try:
            variables = read(path)
            named = not by_keras or keras_files.tells_names(path)
        except HornbeamError:
            raise
        except Exception as error:  # zipfile, h5py and safetensors raise a dozen kinds
            raise ModelError(
                f"{path} cannot be read as {kind}: {first_sentence(error)}. Is it whole?"
            ) from None
        return _filled(WeightFile(path, kind, variables, by_keras, named))
    prefix = find_prefix(path)
    if prefix is not None:
        return _filled(WeightFile(prefix, "a TensorFlow checkpoint", read_checkpoint(prefix)))
    if path.suffix in (".pt", ".pth", ".bin"):
        raise ConfigError(
            f"{option} {path}: PyTorch's own files may hold code and are not read; save the weights by "
            "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')."
        )
    if path.is_dir():
        raise ConfigError(f"{option} {path}: no checkpoint is in there; expected a {EXPECTED}.")
    require_there(path, option)
    raise ConfigError(f"{option} {path}: this is none; expected a {EXPECTED}.")


def require_there(path: Path, option: str = "--weights") -> None:
    """See that there is a file, directory or prefix of that name, without opening it.

    Raises:
        ConfigError: there is none.
    """
    if not path.exists() and not Path(f"{path}.index").is_file():
        near = did_you_mean(str(path), ("imagenet",))
        raise ConfigError(f"{option} {path}: there is no such file; expected a {EXPECTED}.{near}")


def _filled(file: WeightFile) -> WeightFile:
    if not file.variables:
        raise ModelError(f"{file.path} holds no weights.")
    return file


def _read_safetensors(path: Path) -> dict[str, Stored]:
    import ml_dtypes  # noqa: F401 - registers bfloat16 with NumPy
    from safetensors import safe_open

    file: Any = safe_open(path, framework="numpy")

    def stored(name: str) -> Stored:
        part = file.get_slice(name)
        dtype = _SAFETENSORS_TYPES.get(part.get_dtype(), part.get_dtype().lower())
        return Stored(tuple(part.get_shape()), dtype, lambda: file.get_tensor(name))

    return {name: stored(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary


_SAFETENSORS_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64",
    "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip

_READERS: dict[str, tuple[str, Callable[[Path], dict[str, Stored]]]] = {
    ".keras": ("a Keras model", keras_files.read_archive),
    ".h5": ("HDF5 weights of Keras", keras_files.read_h5),
    ".safetensors": ("safetensors", _read_safetensors),
}
