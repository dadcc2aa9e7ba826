"""Which engine computes, chosen before Keras is imported, and which device it runs on."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from hornbeam.errors import ConfigError

BACKENDS = ("tensorflow", "jax", "torch")

_ONE_ARENA = 8
"""Cores up to which all threads share one heap."""

_EXTRAS = (
    "pip install 'hornbeam[cpu]' for TensorFlow on a CPU, 'hornbeam[gpu]' for JAX on an NVIDIA GPU, "
    "or 'hornbeam[tpu]' for JAX on a TPU"
)
_HOW = {
    "jax": "pip install 'hornbeam[gpu]' for an NVIDIA GPU, 'hornbeam[tpu]' for a TPU, or jax for a CPU",
    "tensorflow": "pip install 'hornbeam[cpu]'",
}
"""How to get one that was asked for."""


def select_backend(choice: str) -> str:
    """Choose Keras' backend and tell Keras, which reads it once, at its import.

    Args:
        choice: `tensorflow`, `jax`, `torch`, or `auto`: the one of `$KERAS_BACKEND`, else JAX where
            there is a GPU or TPU, else the first that is installed.

    Returns:
        The name of the backend.

    Raises:
        ConfigError: it is not installed, no backend is, or Keras runs on another one already.
    """
    name = choice if choice != "auto" else _automatic()
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"The backend '{name}' is not installed; {_HOW.get(name, _EXTRAS)}.")
    if "keras" in sys.modules:
        running = str(sys.modules["keras"].config.backend())
        if choice == "auto" or running == name:
            return running
        raise ConfigError(
            f"Keras runs on '{running}' already and cannot change to '{name}'; choose the backend "
            "before the first use of Keras in this process."
        )
    if name == "tensorflow":
        keep_freed_memory()
    os.environ["KERAS_BACKEND"] = name
    talks = "TF_CPP_MIN_LOG_LEVEL" in os.environ
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if name == "tensorflow" and not talks:
        sys.meta_path.insert(0, _Silently(name))
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
    return name


class _Silently(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module whose C++ writes to stderr before it has read how much it may, whenever it is
    imported.

    TensorFlow 2.21 begins with four lines about oneDNN, of which two are called a WARNING. What it wrote
    is shown if it cannot be imported.
    """  # noqa: D205 - one sentence

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # From here on nobody need know of us.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        sys.stderr.flush()
        stderr = os.dup(2)
        with tempfile.TemporaryFile() as kept:
            os.dup2(kept.fileno(), 2)
            try:
                self._loader.exec_module(module)
            except BaseException:
                kept.seek(0)
                os.write(stderr, kept.read())
                raise
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)


def running() -> str:
    """Return the backend that Keras runs on."""
    import keras

    return str(keras.config.backend())


def be_deterministic() -> None:
    """Let the selected backend compute the same bits each time, on one machine and version.

    TensorFlow refuses what it cannot. JAX on a CPU does so anyway; for GPUs it must be told before its
    first computation.
    """
    name = running()
    if name == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif name == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


GRAPH_BFLOAT16 = "graph_bfloat16"
"""Precision of a float32 model in whose graph TensorFlow computes in bfloat16 where that is safe."""


def resolve_precision(choice: str) -> str:
    """Return the precision to begin with; `auto` stays where only trying can tell.

    `auto` is `mixed_bfloat16` on accelerators, `float32` on CPUs without bfloat16 and on JAX there;
    else `training.precision` tries. Must be called after `select_backend`.

    Raises:
        ConfigError: `graph_bfloat16` is asked for where there is no such thing.
    """
    import keras

    on_cpu = device_kind() == "cpu"
    in_graph = on_cpu and keras.config.backend() == "tensorflow"
    if choice == GRAPH_BFLOAT16 and not in_graph:
        raise ConfigError(
            "--precision graph_bfloat16 is for TensorFlow on a CPU; use mixed_bfloat16 here."
        )
    if choice != "auto":
        return choice
    if not on_cpu:
        return "mixed_bfloat16"
    return "auto" if in_graph and multiplies_bfloat16() else "float32"


def dtype_policy(precision: str) -> str:
    """Return Keras' name of a precision."""
    return "float32" if precision in ("auto", GRAPH_BFLOAT16) else precision


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextlib.contextmanager
def graph_bfloat16(wanted: bool) -> Iterator[None]:
    """Let TensorFlow compute in bfloat16 inside this block, where its graph pass finds that safe.

    Functions that were traced before obey too: TensorFlow keeps a version of each for either setting.
    """
    if not wanted:
        yield
        return
    import tensorflow as tf

    _set_graph_bfloat16(tf, True)
    try:
        yield
    finally:
        _set_graph_bfloat16(tf, False)


def _set_graph_bfloat16(tf: Any, on: bool) -> None:
    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": on})


def device_kind() -> str:
    """Return `cpu`, `gpu` or `tpu`: what the selected backend computes on."""
    import keras

    name = keras.config.backend()
    if name == "jax":
        import jax

        return str(jax.default_backend())
    if name == "tensorflow":
        import tensorflow as tf

        return "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def compiles_with_xla() -> bool | str:
    """Return `fit`'s `jit_compile`: off for TensorFlow on CPUs, else Keras' own choice.

    There XLA made a training step of the compact network no faster (125 ms either way), inference
    1.7 times slower (41 and 73 ms), and compiling longer.
    """
    import keras

    on_cpu = keras.config.backend() == "tensorflow" and device_kind() == "cpu"
    return False if on_cpu else "auto"


def peak_memory() -> int:
    """Return the most memory that this process has held so far, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # macOS tells bytes, Linux KiB


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory, rather than give it back and fault it in again each step.

    TensorFlow on a CPU allocates and frees hundreds of megabytes a step. A training step of a
    frozen MobileNetV2 (batch 32, 224 px, 2 cores) took 1.7 times as long without this, most of the
    difference in the kernel (benchmarks/memory.py). Must be called before there are many threads.

    Returns:
        Whether anything was set: not without glibc, nor where the user has set `MALLOC_…` variables.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # from malloc.h
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)
    if cores() <= _ONE_ARENA:
        # What one thread frees, the next step's other thread can use. With many cores their waiting
        # for the one lock might cost more; that was not measured.
        mallopt(arena_max, 1)
    return True


def describe_environment() -> dict[str, Any]:
    """Return versions, machine and device, for `environment.json`."""
    import platform
    from importlib import metadata

    import keras

    names = ("hornbeam", "keras", "tensorflow-cpu", "tensorflow", "jax", "torch", "numpy", "grain",
             "opencv-python-headless", "pillow", "pyarrow")  # fmt: skip
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": cores(),
        "backend": keras.config.backend(),
        "device": device_kind(),
        "versions": versions,
    }


def memory() -> int:
    """Return how many bytes of memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _automatic() -> str:
    wanted = os.environ.get("KERAS_BACKEND", "")
    if wanted:
        if wanted not in BACKENDS:
            raise ConfigError(
                f"$KERAS_BACKEND is '{wanted}'; expected one of {', '.join(BACKENDS)}."
            )
        return wanted
    order = ("jax", "tensorflow", "torch") if _has_accelerator() else BACKENDS
    for name in order:
        if importlib.util.find_spec(name) is not None:
            return name
    raise ConfigError(f"No backend for Keras is installed; {_EXTRAS}.")


def _has_accelerator() -> bool:
    """Whether JAX can drive a GPU or TPU here, found out without loading it."""
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin", "libtpu")
    if not any(importlib.util.find_spec(name) for name in plugins):
        return False
    return any(Path(p).exists() for p in ("/dev/nvidia0", "/dev/kfd", "/dev/accel0", "/dev/vfio/0"))
