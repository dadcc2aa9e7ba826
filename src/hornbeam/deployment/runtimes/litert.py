"""LiteRT (TensorFlow Lite): `.tflite` files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from hornbeam.deployment.bundle.manifest import FEATURES, IMAGE, Artifact
from hornbeam.deployment.runtimes.quiet import quiet
from hornbeam.deployment.runtimes.runtime import Answers, Runtime, dequantised

AT_ONCE = 8
"""Pictures of a batch, where the graph allows one. Larger ones leave the processor's cache."""

_ALIKE = 0.01
"""Difference of a probability up to which a resized graph is believed; one that mixes pictures up is far
beyond, and kernels for batches round otherwise, int8 by a step of 1/256."""


class LiteRTRuntime(Runtime):
    """A `.tflite` file, mapped into memory.

    Its batch is one picture. A second interpreter takes `AT_ONCE`, if the graph can be resized so and
    answers as the first.
    """

    _resizable = True
    """Whether that is worth a try."""

    def __init__(self, path: Path, artifact: Artifact, threads: int, trust: bool) -> None:
        super().__init__(artifact)
        self._path, self._threads = path, threads
        self._one = self._open(1)
        self._many: Any = None
        self._tried = False

    def run(self, image: NDArray[np.uint8], features: NDArray[np.float32] | None = None) -> Answers:
        """See `Runtime.run`."""
        count, done = len(image), 0
        inputs = self.inputs_of(image, features)
        parts: list[dict[str, NDArray[np.float32]]] = []
        if count >= AT_ONCE and self._resizable and not self._tried:
            self._try_many()
        while done < count:
            size = AT_ONCE if self._many is not None and count - done >= AT_ONCE else 1
            asked = self._many if size > 1 else self._one
            parts.append(
                self._ask(asked, {name: v[done : done + size] for name, v in inputs.items()})
            )
            done += size
        if len(parts) == 1:
            return parts[0]
        return {n: np.concatenate([part[n] for part in parts]) for n in self.artifact.outputs}

    def _open(self, batch: int) -> _Asked:
        interpreter = Interpreter(
            model_path=str(self._path), num_threads=self._threads, **self._options()
        )
        return _Asked(interpreter, batch)

    def _options(self) -> dict[str, Any]:
        return {}

    def _ask(self, asked: _Asked, inputs: dict[str, NDArray[Any]]) -> Answers:
        stored = asked.run(inputs)
        return {
            name: dequantised(stored[tensor.name], tensor)
            for name, tensor in self.artifact.outputs.items()
        }

    def _try_many(self) -> None:
        """Resize the graph; keep that if it works and changes nothing.

        Asked about are pictures of its own: those of a caller may be alike, and then tell nothing.
        """
        self._tried = True
        inputs = self._unlike_inputs()
        try:
            with quiet():
                many = self._open(AT_ONCE)
                found = self._ask(many, inputs)
        except (RuntimeError, ValueError):
            return
        for row in range(AT_ONCE):
            alone = self._ask(self._one, {n: v[row : row + 1] for n, v in inputs.items()})
            for name, values in alone.items():
                if len(found[name]) != AT_ONCE or not np.allclose(
                    found[name][row], values[0], rtol=_ALIKE, atol=_ALIKE
                ):
                    return
        self._many = many

    def _unlike_inputs(self) -> dict[str, NDArray[Any]]:
        """Return a batch of coarse coloured pictures that are unlike each other, the same each time."""
        rng = np.random.default_rng(0)
        height, width, channels = self.artifact.inputs[IMAGE].shape[1:]
        assert height is not None
        assert width is not None
        assert channels is not None
        coarse = rng.integers(0, 256, (AT_ONCE, 4, 4, channels), np.uint8)
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
        numbers = self.artifact.inputs.get(FEATURES)
        features = None
        if numbers is not None:
            features = rng.normal(0, 1, (AT_ONCE, numbers.shape[1] or 1)).astype(np.float32)
        return self.inputs_of(np.ascontiguousarray(coarse[:, rows][:, :, columns]), features)


class _Asked:
    """An interpreter whose tensors are ready for a batch."""

    def __init__(self, interpreter: Interpreter, batch: int) -> None:
        self._interpreter = interpreter
        given = interpreter.get_input_details()
        for each in given:
            if each["shape"][0] != batch:
                shape = [batch, *each["shape"][1:].tolist()]
                interpreter.resize_tensor_input(each["index"], shape, strict=False)
        interpreter.allocate_tensors()
        self._inputs = {each["name"]: each["index"] for each in given}
        self._outputs = {each["name"]: each["index"] for each in interpreter.get_output_details()}

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for name, values in inputs.items():
            self._interpreter.set_tensor(self._inputs[name], values)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(i) for name, i in self._outputs.items()}
