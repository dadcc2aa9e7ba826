"""Whether a bundle answers here as it did where it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hornbeam.data.pixels.engine import TOLERANCE
from hornbeam.deployment.bundle.archive import sha256_of
from hornbeam.deployment.bundle.manifest import UNKNOWN, Golden, Manifest
from hornbeam.deployment.predicting.preparation import Preparation
from hornbeam.deployment.runtimes.runtime import Answers, Runtime
from hornbeam.errors import BundleError, DataError


def check_golden(
    directory: Path, manifest: Manifest, prepare: Preparation, runtime: Runtime
) -> None:
    """Ask an artifact about the golden pictures, and compare with what it said when it was made.

    Probabilities may differ by the artifact's `golden_tolerance`, or by as much as another decoder
    makes of it. The unknown score has no such scale: twice that of its size.

    Raises:
        BundleError: a picture is damaged, or an answer differs; it names both.
    """
    artifact = runtime.artifact
    allowed = max(artifact.golden_tolerance, TOLERANCE)
    for golden in manifest.golden:
        path = directory / golden.file
        wanted = golden.answers.get(artifact.format)
        if wanted is None:
            continue
        features = np.array([golden.features], np.float32) if manifest.features else None
        found = runtime.run(_prepared(path, golden, prepare)[None], features)
        for name, values in wanted.items():
            place, difference = _largest(found, name, values)
            scale = 2 * max(1.0, abs(values[place])) if name == UNKNOWN else 1.0
            if not difference <= allowed * scale:
                what = f"'{_what(manifest, name, place)}'"
                raise BundleError(
                    f"{directory / artifact.file} does not answer as it did: for {path} its value of "
                    f"{what} is {found[name][0].reshape(-1)[place]:.6g} and was {values[place]:.6g}, a "
                    f"difference of {difference:.2g} where {allowed * scale:.2g} is allowed."
                )


def _prepared(path: Path, golden: Golden, prepare: Preparation) -> NDArray[np.uint8]:
    try:
        intact = sha256_of([path]) == golden.sha256
        if intact:
            return prepare(path)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; get the bundle anew.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}).") from None
    except DataError as error:
        raise BundleError(f"A golden picture cannot be read: {error}") from None
    raise BundleError(
        f"{path} is not the picture that the bundle was made with (its SHA-256 differs); get the "
        "bundle anew."
    )


def _largest(found: Answers, name: str, values: tuple[float, ...]) -> tuple[int, float]:
    """Return where the largest difference is, and how large; not a number counts as infinite."""
    given = found[name][0].reshape(-1).astype(np.float64)
    if len(given) != len(values):
        return 0, float("inf")
    differences = np.nan_to_num(np.abs(given - np.asarray(values)), nan=np.inf)
    place = int(differences.argmax())
    return place, float(differences[place])


def _what(manifest: Manifest, name: str, place: int) -> str:
    for task in manifest.tasks:
        if task.name == name:
            return task.classes[place]
    return name
