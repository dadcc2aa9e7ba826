"""The process that holds one artifact: `python -m hornbeam.deployment.benchmarking.worker`.

It reads a line of JSON for each thing to do, and answers with one. What libraries print goes elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_MEGABYTE = 2**20


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = _Worker()
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = getattr(worker, asked.pop("do"))(**asked)
        except Exception as error:  # libraries raise kinds of their own; the others go on
            words = " ".join(str(error).split()) or type(error).__name__
            said = {"error": words[:1000]}
        answers.write(json.dumps(said) + "\n")


class _Worker:
    def open(
        self, bundle: str, format: str, threads: int, trust: bool, pictures: Sequence[str]
    ) -> dict[str, Any]:
        """Open the artifact, ask it once; return milliseconds of both, and what is loaded for it.

        Args:
            bundle: folder or `.zip`.
            format: of the artifact.
            threads: for decoding and runtime.
            trust: see `Predictor`.
            pictures: paths of those that it is asked about; what cannot be read is left out.
        """
        import numpy as np

        from hornbeam.errors import DataError

        before = time.perf_counter()
        from hornbeam.deployment.predicting.predictor import Predictor

        imported = time.perf_counter()
        self._predictor = Predictor(
            bundle, format=format, threads=threads, check=False, trust=trust, batch_size=32
        )
        loaded = time.perf_counter()
        predictor = self._predictor
        self._bytes: list[bytes] = []
        prepared: list[Any] = []
        for path in pictures:
            with contextlib.suppress(DataError, OSError):
                data = Path(path).read_bytes()
                prepared.append(predictor.prepare(data))
                self._bytes.append(data)
        size = predictor.manifest.image_size
        random = np.random.default_rng(0)
        self._pixels = (
            np.stack(prepared) if prepared else random.integers(0, 256, (8, *size), np.uint8)
        )
        ready = time.perf_counter()
        self._ask(1, 0)
        return {
            "import": 1000 * (imported - before), "load": 1000 * (loaded - imported),
            "first": 1000 * (time.perf_counter() - ready), "versions": _versions(),
        }  # fmt: skip

    def check(self, bundle: str, format: str, threads: int, trust: bool) -> dict[str, Any]:
        """Ask about the golden pictures; an error says what differs."""
        from hornbeam.deployment.predicting.predictor import Predictor

        Predictor(bundle, format=format, threads=threads, trust=trust).close()
        return {}

    def model(self, batch: int, seconds: float) -> dict[str, Any]:
        """Ask about prepared pictures; return the milliseconds of each call."""
        return self._timed(lambda turn: self._ask(batch, turn), seconds)

    def files(self, batch: int, seconds: float) -> dict[str, Any]:
        """Ask about pictures as bytes of files: decoded, resized, answered."""
        if not self._bytes:
            return {"taken": []}
        there = self._bytes

        def call(turn: int) -> None:
            some = [there[(turn * batch + i) % len(there)] for i in range(batch)]
            answers = self._predictor.predict(some, self._numbers(batch))
            assert all(answer.error is None for answer in answers), answers[0].error

        return self._timed(call, seconds)

    def answers(self, pictures: Sequence[str]) -> dict[str, Any]:
        """Return by picture and task the index of the first answer; `None` of what cannot be read."""
        found: list[dict[str, int] | None] = []
        for answer in self._predictor.stream(pictures):
            found.append(
                None if answer.error is not None
                else {name: int(p.argmax()) for name, p in answer.probabilities.items()}
            )  # fmt: skip
        return {"found": found}

    def memory(self) -> dict[str, Any]:
        """Return the most memory that this process has held, in megabytes."""
        return {"peak": peak_memory() / _MEGABYTE}

    def _numbers(self, batch: int) -> Any:
        columns = len(self._predictor.manifest.features)
        return [[0.0] * columns] * batch if columns else None

    def _ask(self, batch: int, turn: int) -> None:
        import numpy as np

        rows = (np.arange(batch) + turn * batch) % len(self._pixels)
        numbers = self._numbers(batch)
        self._predictor.ask(
            self._pixels[rows], None if numbers is None else np.asarray(numbers, np.float32)
        )

    def _timed(self, call: Callable[[int], None], seconds: float) -> dict[str, Any]:
        """Call at least once, and as often as fits, after one call that warms what others cooled."""
        call(0)
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while not taken or time.perf_counter() < end:
            before = time.perf_counter()
            call(len(taken) + 1)
            taken.append(1000 * (time.perf_counter() - before))
        return {"taken": [round(each, 5) for each in taken]}


def peak_memory() -> int:
    """Return the most memory that this process has held since it began, in bytes.

    Not by `getrusage`, whose number a process begins with is that of whoever started it.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    from hornbeam.backend import peak_memory as by_usage

    return by_usage()


def _versions() -> dict[str, str]:
    """Return the versions of the runtimes that are loaded here."""
    from importlib import metadata

    packages = {
        "ai_edge_litert": "ai-edge-litert", "onnxruntime": "onnxruntime", "openvino": "openvino",
        "keras": "keras", "tensorflow": "tensorflow", "jax": "jax", "cv2": "opencv-python-headless",
        "numpy": "numpy",
    }  # fmt: skip
    found = {}
    for module, name in packages.items():
        if module in sys.modules:
            for each in (name, f"{name}-cpu"):
                try:
                    found[module] = metadata.version(each)
                    break
                except metadata.PackageNotFoundError:
                    continue
    return found


if __name__ == "__main__":
    main()
