"""Callbacks of the user's recipe: they see plain numbers, and their errors name the recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from hornbeam.errors import ConfigError, HornbeamError
from hornbeam.training.callbacks import Logs
from hornbeam.world.world import lost_peers

_PER_BATCH = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class OwnCallbacks(keras.callbacks.Callback):  # type: ignore[misc]
    """Pass on everything that Keras tells to a recipe's callbacks, in their order.

    They get the metrics as numbers of Python, as plain Keras gives them, and not as arrays on the
    device. For what they do at each batch this waits for the device, so it is done only for callbacks
    that do something there. Numbers that they add to `logs` at a validation go on to the callbacks
    after them.

    Args:
        callbacks: what the recipe's `callbacks()` returned.
        where: of an error, the recipe's file and line; see `Recipe.where`.

    Raises:
        ConfigError: `callbacks` is no list of callbacks of Keras.
    """

    def __init__(self, callbacks: Any, where: Callable[[Exception], str]) -> None:
        super().__init__()
        if isinstance(callbacks, keras.callbacks.Callback) or not isinstance(callbacks, Sequence):
            callbacks = [callbacks]
        self._where = where
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise ConfigError(
                    f"{where(Exception())}: callbacks() should return a list of Keras callbacks "
                    f"(got {type(callback).__name__})."
                )
        self._callbacks: list[keras.callbacks.Callback] = list(callbacks)
        self._at_batches = [c for c in self._callbacks if _overrides(c, _PER_BATCH)]
        self._at_test_batches = [
            c
            for c in self._callbacks
            if _overrides(c, ("on_test_batch_begin", "on_test_batch_end"))
        ]

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass on what `fit` was asked for."""
        self.params = params
        for callback in self._callbacks:
            callback.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        """Pass on the model."""
        super().set_model(model)
        for callback in self._callbacks:
            self._call(callback, "set_model", model)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._callbacks, "on_train_begin", logs=logs)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._callbacks, "on_train_end", logs=logs)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._callbacks, "on_epoch_begin", epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Pass on, and take what was added to the metrics."""
        if epoch < 0:  # a head that was trained before; Keras knows no such epoch
            return
        told = self._tell(self._callbacks, "on_epoch_end", epoch, logs=logs)
        for name, value in told.items():
            if logs is not None:
                logs.setdefault(name, value)

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._at_batches, "on_train_batch_begin", batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._at_batches, "on_train_batch_end", batch, logs=logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._callbacks, "on_test_begin", logs=logs)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._callbacks, "on_test_end", logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._at_test_batches, "on_test_batch_begin", batch, logs=logs)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Pass on."""
        self._tell(self._at_test_batches, "on_test_batch_end", batch, logs=logs)

    def get_state(self) -> dict[str, Any]:
        """Return the states of those that have one, as JSON takes them."""
        return {
            key: self._call(callback, "get_state")
            for key, callback in self._named()
            if hasattr(callback, "get_state")
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Give each its state back."""
        for key, callback in self._named():
            if key in state and hasattr(callback, "set_state"):
                self._call(callback, "set_state", state[key])

    def _named(self) -> list[tuple[str, keras.callbacks.Callback]]:
        return [(f"{i} {type(c).__name__}", c) for i, c in enumerate(self._callbacks)]

    def _tell(
        self, callbacks: list[keras.callbacks.Callback], hook: str, *arguments: Any,
        logs: Logs | None = None,
    ) -> Logs:  # fmt: skip
        """Call one function of each; return the metrics as they left them."""
        if not callbacks:
            return {}
        plain = {name: _number(value) for name, value in (logs or {}).items()}
        for callback in callbacks:
            self._call(callback, hook, *arguments, plain)
        return plain

    def _call(self, callback: keras.callbacks.Callback, name: str, *arguments: Any) -> Any:
        try:
            with lost_peers():  # which JAX may find out where a callback asks for weights
                return getattr(callback, name)(*arguments)
        except HornbeamError:
            raise
        except Exception as error:
            raise ConfigError(
                f"{self._where(error)}: {type(callback).__name__}.{name}(): "
                f"{type(error).__name__}: {error}."
            ) from error


def _overrides(callback: keras.callbacks.Callback, hooks: Sequence[str]) -> bool:
    return any(
        getattr(type(callback), hook) is not getattr(keras.callbacks.Callback, hook)
        for hook in hooks
    )


def _number(value: Any) -> Any:
    """Return a metric as a number of Python; what is no single number stays."""
    if isinstance(value, float | int | str):
        return value
    array = np.asarray(keras.ops.convert_to_numpy(value))
    return array.item() if array.ndim == 0 else value
