"""`config.json`: which classes it names, checked before Keras makes any of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hornbeam.models.untrusted.archives import refusal
from hornbeam.models.untrusted.effort import check_effort

_DEEPEST = 100
"""Objects and lists in each other; the networks of `keras.applications` have 11."""

_LARGEST = 2**31
"""Of whole numbers, but for seeds."""

_SEEDS = ("seed", "shared_object_id")

_PLAIN = frozenset({
    "__numpy__", "__tensor__", "__keras_tensor__", "__ellipsis__", "__slice__", "__bytes__", "__tuple__",
    "TensorShape", "Policy",
})  # fmt: skip
"""Names under which Keras writes plain values."""

_REFUSED = frozenset({
    "Lambda",                                                   # code
    "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer",   # code of other frameworks
    "StringLookup", "IntegerLookup", "IndexLookup", "TextVectorization", "FeatureSpace",  # read files
    "Hashing", "HashedCrossing", "MelSpectrogram", "STFTSpectrogram",  # of no use for pictures
})  # fmt: skip
"""Layers that a classifier of pictures does not need, and that may do harm or take memory unasked."""


def check_config(text: str | bytes, path: Path, *, patient: bool = False) -> Any:
    """Return the content of `config.json`, if all that it names may be built.

    Args:
        text: of the file.
        path: to name.
        patient: building may take minutes.

    Raises:
        ModelError: it names a class that is not Keras' own or may do harm, its objects lie too deep, a
            number is absurd, or building it would take minutes.
        ValueError: it is no JSON.
    """
    try:
        config = json.loads(text)
    except RecursionError:
        raise refusal(path, "its configuration is nested too deep to be one") from None
    compiled = config.get("compile_config") if isinstance(config, dict) else None
    waiting: list[tuple[Any, str, int]] = [(config, "", 0)]
    while waiting:
        value, key, depth = waiting.pop()
        if depth > _DEEPEST:
            raise refusal(path, "its configuration is nested too deep to be one")
        if isinstance(value, dict):
            if value is compiled and depth == 1:
                continue  # losses and optimisers, which are left out when loading
            if "class_name" in value:
                _check_class(value, path)
            waiting += [(inner, name, depth + 1) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, key, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) > _LARGEST and key not in _SEEDS:
            raise refusal(path, f"its configuration says {key}={value}, which is absurd")
    if not patient:
        check_effort(config, path)
    return config


def _check_class(given: dict[str, Any], path: Path) -> None:
    """Refuse what is not Keras' own, as Keras would find it by module and name."""
    import keras

    name, module = given["class_name"], given.get("module")
    called = given.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None):
        raise refusal(path, f"it names a class {name!a}")
    if name == "function":
        function = given.get("config")
        if isinstance(function, str) and (_registered(called) or _registered(function)):
            return
        if not isinstance(function, str) or not callable(_activation(module, function)):
            raise refusal(path, f"it names the function {module!a}.{function!a}")
        return
    if name in _PLAIN:
        return
    if _registered(called if isinstance(called, str) else name):
        return  # by a recipe that was run: the user's own code
    found = _find(module, name)
    if not found:
        where = f"{module}." if module else ""
        raise refusal(path, f"its {where + name!a} is not one of Keras' own layers")
    kinds = (keras.layers.Layer, keras.Operation, keras.initializers.Initializer,
             keras.regularizers.Regularizer, keras.constraints.Constraint, keras.DTypePolicy,
             keras.quantizers.Quantizer, keras.optimizers.Optimizer, keras.losses.Loss,
             keras.metrics.Metric, keras.optimizers.schedules.LearningRateSchedule)  # fmt: skip
    for kind in found:
        if kind.__name__ in _REFUSED or name in _REFUSED:
            raise refusal(path, f"a {kind.__name__} layer may run code or read files")
        if not issubclass(kind, kinds) or not kind.__module__.startswith("keras.src."):
            raise refusal(path, f"its {name!a} is no layer of Keras")


def _find(module: str | None, name: str) -> list[type]:
    """Return the classes of Keras that these words may mean; without a module, in all its namespaces."""
    import keras

    if module is None:
        spaces = (keras.layers, keras.initializers, keras.regularizers, keras.constraints,
                  keras.dtype_policies, keras.models, keras.quantizers)  # fmt: skip
        found = [getattr(space, name, None) for space in spaces]
        if name == "Functional":
            found.append(getattr(sys.modules.get("keras.src.models"), name, None))
    elif module == "keras" or module.startswith("keras."):
        # Keras has imported all of itself: what it would import only now has no layers of pictures.
        space = sys.modules.get(module)
        found = [getattr(space, name, None)]
    else:
        found = []
    return [kind for kind in found if isinstance(kind, type)]


def _registered(name: Any) -> bool:
    """Whether code that runs here has registered a class or function of that name."""
    import keras

    return isinstance(name, str) and keras.saving.get_registered_object(name) is not None


def _activation(module: str | None, name: str) -> Any:
    """Return the activation that is meant, or `None`."""
    import keras

    if module not in (None, "builtins", "keras.activations"):
        return None
    return None if name.startswith("_") else getattr(keras.activations, name, None)
