"""Candidates in LiteRT's own interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def interpreter(content: bytes, threads: int, *, keep_all: bool = False) -> Any:
    """Return an interpreter of a file; `keep_all` leaves every tensor readable."""
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        running = Interpreter(
            model_content=content, num_threads=threads, experimental_preserve_all_tensors=keep_all
        )
    running.allocate_tensors()
    return running


def set_inputs(running: Any, inputs: Mapping[str, NDArray[Any]], row: int) -> None:
    """Give an interpreter one picture; numbers are quantised as its inputs are."""
    for details in running.get_input_details():
        values = inputs[input_of(details["name"], inputs)][row : row + 1]
        running.set_tensor(details["index"], quantised(values, details))


def quantised(values: NDArray[Any], details: Mapping[str, Any]) -> NDArray[Any]:
    """Return real values in the form that a tensor stores."""
    scale, zero_point = details["quantization"]
    dtype = np.dtype(details["dtype"])
    if not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    stored = np.rint(values.astype(np.float32) / scale) + zero_point
    return np.asarray(np.clip(stored, limits.min, limits.max), dtype)


def answers(
    content: bytes, inputs: Mapping[str, NDArray[Any]], outputs: tuple[str, ...], threads: int
) -> dict[str, NDArray[np.float32]]:
    """Return what a file answers, by output, float32 `[pictures, …]`.

    Args:
        content: of the file, of batch 1.
        inputs: `image` `[pictures, height, width, channels]`, and `features`.
        outputs: names of the file's outputs, in its order.
        threads: that may be used.
    """
    running = interpreter(content, threads)
    details = running.get_output_details()
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in outputs}
    for row in range(len(next(iter(inputs.values())))):
        set_inputs(running, inputs, row)
        running.invoke()
        for name, each in zip(outputs, details, strict=True):
            stored = running.get_tensor(each["index"])
            scale, zero_point = each["quantization"]
            values = stored.astype(np.float32)
            found[name].append((values - zero_point) * scale if scale else values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def input_of(tensor: str, inputs: Mapping[str, Any]) -> str:
    """Return which input a tensor of a file is: by its name, by a part of it, or the only one.

    What stands for the numbers beside a picture may be called by a layer, as `image_data/add`.
    """
    if tensor in inputs:
        return tensor
    return next((name for name in inputs if name in tensor), next(iter(inputs)))
