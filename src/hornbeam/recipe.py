"""The user's own Python file: what it defines replaces ours."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbeam.errors import ConfigError, did_you_mean

BUILD_NAMES = ("build_model", "define_model", "construct")
"""Names under which a recipe may define its model: ours, then those of older projects."""

_MODULE = "hornbeam_recipe"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The functions of a recipe file.

    Attributes:
        path: of the file.
        build_model: `build_model(input_shape, targets)`, which returns a Keras model.
    """

    path: Path
    build_model: Callable[..., Any]

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Run a recipe file. Keras' backend must be chosen before, as most recipes import Keras.

        Raises:
            ConfigError: the file is missing, fails, or defines no model.
        """
        if not path.is_file():
            raise ConfigError(f"--recipe {path}: there is no such file.")
        spec = importlib.util.spec_from_file_location(_MODULE, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"--recipe {path}: expected a Python file, ending in .py.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[_MODULE] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise ConfigError(f"{_where(path, error)}: {type(error).__name__}: {error}.") from error
        functions = {k: v for k, v in vars(module).items() if callable(v) and not k.startswith("_")}
        for name in BUILD_NAMES:
            if name in functions:
                return cls(path, functions[name])
        near = next(filter(None, (did_you_mean(name, BUILD_NAMES) for name in functions)), "")
        raise ConfigError(f"{path} defines no build_model(input_shape, targets).{near}")


def _where(path: Path, error: Exception) -> str:
    """Return `file, line n`: the innermost line of the recipe that led to the error."""
    if isinstance(error, SyntaxError):
        return f"{path}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
    return f"{path}, line {lines[-1]}" if lines else str(path)
