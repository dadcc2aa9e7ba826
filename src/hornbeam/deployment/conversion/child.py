"""The process that exports: `python -m hornbeam.deployment.conversion.child job.json converted.json`."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbeam.deployment.bundle.manifest import FORMATS, IMAGE
from hornbeam.deployment.conversion.ending import tell, tell_in
from hornbeam.deployment.conversion.job import DOING, Converted, Job
from hornbeam.deployment.conversion.operators import refuse_bare_operations
from hornbeam.errors import HornbeamError
from hornbeam.storage import write_json

if TYPE_CHECKING:
    import keras

    Converter = Callable[[keras.Model, Job, Path], Converted]


def main(asked: Path, answered: Path) -> None:
    """Make all artifacts of a job; a format that fails does not keep the others from being made.

    What is made is written down at once: a library may end the process in the next format.
    """
    tell_in(answered.with_name(DOING))
    tell("reading the model")
    job = Job.load(asked)
    if job.recipe:
        from hornbeam.recipe import Recipe

        Recipe.load(Path(job.recipe))  # registers layers of its own
    from hornbeam.deployment.conversion.rebuild import rebuilt
    from hornbeam.models.untrusted.loading import load_model

    model = rebuilt(load_model(Path(job.model)))
    _give_back_memory()
    converted: dict[str, Any] = {}
    write_json(answered, converted)
    for name in job.formats:
        start = time.perf_counter()
        tell(f"making {FORMATS[name]}")
        try:
            made = _CONVERTERS[name](model, job, Path(job.out) / FORMATS[name])
        except Exception as error:
            kind = "" if isinstance(error, HornbeamError) else f"{type(error).__name__}: "
            sentence = " ".join(f"{kind}{error}".split())
            made = Converted(name, FORMATS[name], {}, {}, error=sentence[:2000])
        _give_back_memory()
        converted[name] = made.to_json() | {"seconds": round(time.perf_counter() - start, 3)}
        write_json(answered, converted)


def _follow() -> None:
    """End this process and those that it started when its parent, which has the other end, is gone."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _give_back_memory() -> None:
    """Free what nobody needs any more, down to the system: of a ResNet50, 0.2 GB of the peak."""
    gc.collect()  # models are full of cycles
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another libc than glibc
            ctypes.CDLL(None).malloc_trim(0)


def _keras(model: keras.Model, job: Job, path: Path) -> Converted:
    from hornbeam.deployment.bundle.manifest import Tensor

    if path.suffix == ".h5":
        refuse_bare_operations(model)
    model.save(path)
    inputs = model.input if isinstance(model.input, dict) else {IMAGE: model.input}
    return Converted(
        path.suffix[1:], path.name,
        {n: Tensor(n, str(i.dtype), tuple(i.shape)) for n, i in inputs.items()},
        {n: Tensor(n, "float32", tuple(o.shape)) for n, o in model.output.items()},
    )  # fmt: skip


def _by(module: str, function: str) -> Converter:
    """Return a function of a module of this folder, which is imported when it is called."""

    def convert(model: keras.Model, job: Job, path: Path) -> Converted:
        found = importlib.import_module(f"hornbeam.deployment.conversion.{module}")
        made: Converted = getattr(found, function)(model, job, path)
        return made

    return convert


_CONVERTERS: dict[str, Converter] = {
    "keras": _keras,
    "h5": _keras,
    "savedmodel": _by("savedmodel", "convert"),
    "litert": _by("litert", "convert_float"),
    "litert-f16": _by("litert", "convert_float16"),
    "litert-dynamic": _by("quantisation.litert", "convert_dynamic"),
    "litert-int8": _by("quantisation.litert", "convert_int8"),
    "edgetpu": _by("quantisation.edgetpu", "convert"),
    "onnx": _by("onnx", "convert"),
    "onnx-int8": _by("quantisation.onnx", "convert_int8"),
    "openvino": _by("openvino", "convert"),
}


if __name__ == "__main__":
    threading.Thread(target=_follow, daemon=True).start()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
