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


FUNCTIONS = {
    "build_model": "build_model(input_shape, targets, features)",
    "preprocess": "preprocess(image, training, rng)",
    "augment": "augment(image, rng)",
    "loss": "loss()",
    "metrics": "metrics()",
    "callbacks": "callbacks()",
    "examples": "examples(split)",
}
"""What a recipe may define, and how it is called."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The functions of a recipe file; those it does not define are `None`.

    Attributes:
        path: of the file; `None` where there is none.
        build_model: `build_model(input_shape, targets, features)`, which returns a Keras model; see
            `models.classifier.adapt_user_model`.
        preprocess: `preprocess(image, training, rng)`: a picture, uint8 `[height, width, channels]`
            of any size, to another, before all else; in training, evaluation and prediction alike.
        augment: `augment(image, rng)`, in place of our variations of training pictures.
        loss: `loss()`, which returns what is trained on in place of `--loss`: a loss of Keras, its name,
            or a function of targets, float32 `[batch, classes]`, and logits that returns one number
            a picture; or a dictionary of those by task.
        metrics: `metrics()`, which returns what is reported beside ours: a list of metrics of Keras,
            which get class indices and logits, or a dictionary of lists by task.
        callbacks: `callbacks()`, which returns a list of Keras callbacks, new ones in each call; see
            `training/following/own_callbacks.py`.
        examples: `examples(split)`, in place of a folder or manifest; see `data/tables/examples.py`.
    """

    path: Path | None
    build_model: Callable[..., Any] | None = None
    preprocess: Callable[..., Any] | None = None
    augment: Callable[..., Any] | None = None
    loss: Callable[..., Any] | None = None
    metrics: Callable[..., Any] | None = None
    callbacks: Callable[..., Any] | None = None
    examples: Callable[..., Any] | None = None

    @classmethod
    def none(cls) -> Recipe:
        """Return a recipe that replaces nothing."""
        return cls(None)

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Run a recipe file. Keras' backend must be chosen before, as most recipes import Keras.

        Raises:
            ConfigError: the file is missing, fails, or defines nothing that we know.
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
        found = {name: functions[name] for name in FUNCTIONS if name in functions}
        for name in BUILD_NAMES:
            if name in functions:
                found.setdefault("build_model", functions[name])
        if found:
            _send_by_value(module)
            return cls(path, **found)
        known = (*FUNCTIONS, *BUILD_NAMES)
        near = next(filter(None, (did_you_mean(name, known) for name in functions)), "")
        raise ConfigError(f"{path} defines none of {', '.join(FUNCTIONS.values())}.{near}")

    def make(self, name: str) -> Any:
        """Return what one of its functions without arguments returns; `None` where there is none.

        Raises:
            ConfigError: it fails, or returns nothing.
        """
        function = getattr(self, name)
        if function is None:
            return None
        assert self.path is not None
        try:
            made = function()
        except Exception as error:
            where = _where(self.path, error)
            raise ConfigError(f"{where}: {name}(): {type(error).__name__}: {error}.") from error
        if made is None:
            raise ConfigError(f"{self.path}: {name}() returns nothing.")
        return made

    def where(self, error: Exception) -> str:
        """Return `file, line n` of the line of the recipe that led to an error; the file if none did."""
        assert self.path is not None
        return _where(self.path, error)


def _send_by_value(module: Any) -> None:
    """Let worker processes, which have no such module, get its functions whole."""
    try:
        import cloudpickle
    except ImportError:  # what asks a bundle has no worker processes
        return
    cloudpickle.register_pickle_by_value(module)


def _where(path: Path, error: Exception) -> str:
    """Return `file, line n`: the innermost line of the recipe that led to the error."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f.lineno for f in frames if Path(f.filename).resolve() == path.resolve()]
    if isinstance(error, SyntaxError) and Path(error.filename or "").resolve() == path.resolve():
        lines.append(error.lineno)  # it did not come to run; another file is told by the message
    return f"{path}, line {lines[-1]}" if lines and lines[-1] else str(path)
