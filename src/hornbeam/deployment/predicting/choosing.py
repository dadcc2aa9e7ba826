"""Which artifact of a bundle is asked, where none is named."""

from __future__ import annotations

from pathlib import Path

from hornbeam.deployment.bundle.manifest import Manifest
from hornbeam.deployment.bundle.verifying import verify_artifact
from hornbeam.deployment.runtimes.runtime import Runtime, RuntimeMissingError, open_runtime
from hornbeam.errors import BundleError, did_you_mean

EXACT = ("litert", "openvino", "onnx", "litert-f16", "keras", "h5")
"""Formats that answer as the model did, the quickest first; benchmarks/answering.py has the figures.

A SavedModel can hold code, and is asked only by its name.
"""

CHANGED = ("litert-dynamic", "onnx-int8", "litert-int8")
"""Formats whose answers are others now and then: only where a bundle has nothing else."""


def open_artifact(
    directory: Path, manifest: Manifest, format: str | None, threads: int, *, trust: bool
) -> Runtime:
    """Open the artifact that is named, or the first sensible one whose runtime is installed.

    Args:
        directory: the bundle.
        manifest: its own.
        format: which, or `None`.
        threads: see `open_runtime`.
        trust: see `open_runtime`.

    Raises:
        BundleError: there is none, it is damaged, or its runtime is not installed.
    """
    there = manifest.artifacts
    if format is not None:
        if format not in there:
            raise BundleError(
                f"{directory} has no {format}; it has {', '.join(there) or 'no artifact'}."
                f"{did_you_mean(format, there)}"
            )
        verify_artifact(directory, there[format])
        return open_runtime(directory, there[format], threads, trust=trust)
    names = [n for n in EXACT if n in there] or [n for n in CHANGED if n in there]
    if not names:
        rest = f"only {', '.join(there)}; name one (--format)" if there else "no artifact"
        raise BundleError(f"{directory} has {rest}.")
    missing: list[str] = []
    for name in names:
        verify_artifact(directory, there[name])
        try:
            return open_runtime(directory, there[name], threads, trust=trust)
        except RuntimeMissingError as error:
            missing.append(str(error))
    raise BundleError(missing[0])
