"""Whether the files of a bundle are still those that it was made of."""

from __future__ import annotations

from pathlib import Path

from hornbeam.deployment.bundle.archive import sha256_of
from hornbeam.deployment.bundle.manifest import Artifact
from hornbeam.errors import BundleError


def files_of(directory: Path, artifact: Artifact) -> list[Path]:
    """Return all files of an artifact, in the order of their names.

    Of a folder (`savedmodel`) all below it; of OpenVINO the `.xml` and the `.bin` beside it.
    """
    path = directory / artifact.file
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    beside = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return sorted([path, *beside])


def verify_artifact(directory: Path, artifact: Artifact) -> None:
    """Check that an artifact's files are those whose digest the bundle has.

    Raises:
        BundleError: one is missing, was changed, or lies outside of the bundle.
    """
    path = directory / artifact.file
    files = files_of(directory, artifact)
    root = directory.resolve()
    for file in files:
        if not file.resolve().is_relative_to(root):
            raise BundleError(f"{file} leads out of the bundle; get the bundle anew.")
    try:
        size = sum(file.stat().st_size for file in files)
        intact = size == artifact.bytes and sha256_of(files) == artifact.sha256
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; get the bundle anew.") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}).") from None
    if not intact:
        raise BundleError(
            f"{path} is not the file that the bundle was made with (its SHA-256 differs); get the "
            "bundle anew."
        )
