"""Where a new bundle goes, what an earlier one there keeps, and what becomes of artifacts that fail."""

from __future__ import annotations

import dataclasses
import glob
import os
import shutil
import time
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from hornbeam.deployment.bundle.golden import FOLDER
from hornbeam.deployment.bundle.manifest import MANIFEST, Artifact, Golden, Manifest
from hornbeam.deployment.bundle.verifying import files_of, verify_artifact
from hornbeam.errors import BundleError, ConfigError

FAILED = ".failed"
_STALE = 3600.0
"""Seconds after which what a killed export has left is removed; none takes as long."""


def archive_of(directory: Path) -> Path:
    """Return where the archive of a bundle is: beside it."""
    return directory.with_name(f"{directory.name}.zip")


def require_place(directory: Path, overwrite: bool, archive: bool) -> Manifest | None:
    """Check, before any work, that a bundle may be made; return the one to add to, if there is one.

    Raises:
        ConfigError: there is something that is no bundle, or one that cannot be read.
    """
    _tidy(directory)
    if archive and archive_of(directory).exists() and not is_bundle(archive_of(directory)):
        raise ConfigError(
            f"{archive_of(directory)} is there already and is no bundle; choose another --out, or "
            "pass --no-zip."
        )
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return None
    if not (directory / MANIFEST).is_file():
        raise ConfigError(
            f"--out {directory}: there is something that is no bundle; choose another place."
        )
    if overwrite:
        return None
    try:
        return Manifest.load(directory)
    except BundleError as error:
        raise ConfigError(f"{error} Choose another --out, or pass --overwrite.") from None


def require_new(earlier: Manifest, formats: Sequence[str], directory: Path) -> None:
    """Check that a bundle has none of the formats that are to be added.

    Raises:
        ConfigError: it has some.
    """
    there = [name for name in formats if name in earlier.artifacts]
    if there:
        raise ConfigError(
            f"{directory} has {', '.join(there)} already; choose another --out, or pass --overwrite."
        )


def require_same(earlier: Manifest, fingerprints: Mapping[str, str], directory: Path) -> None:
    """Check that a bundle is of the model whose formats are to be added.

    Raises:
        ConfigError: it is of another, or of the same with another calibration.
    """
    if any(earlier.fingerprints.get(name) != value for name, value in fingerprints.items()):
        raise ConfigError(
            f"{directory} exists already, and is of another model; choose another --out, or pass "
            "--overwrite."
        )


def bring_along(
    earlier: Manifest, directory: Path, folder: Path
) -> tuple[dict[str, Artifact], tuple[Golden, ...]]:
    """Link what an earlier bundle has into a new one; return its artifacts and golden pictures.

    Raises:
        BundleError: something of it is missing or was changed.
    """
    for artifact in earlier.artifacts.values():
        verify_artifact(directory, artifact)
        for file in files_of(directory, artifact):
            _link(file, folder / file.relative_to(directory))
    for golden in earlier.golden:
        _link(directory / golden.file, folder / golden.file)
    return dict(earlier.artifacts), earlier.golden


def bring_the_rest(directory: Path, folder: Path, without: Collection[str]) -> None:
    """Link what else an earlier bundle has into a new one: reports, what failed, and the user's files.

    Args:
        directory: the earlier one.
        folder: the new one, when all that is new is there: what is, stays.
        without: names directly below the earlier one that are left out.
    """
    for each in directory.iterdir():
        there = os.path.lexists(folder / each.name) and each.name != FOLDER
        if not there and each.name not in without and each.name != MANIFEST:
            _link_all(each, folder / each.name)


def failed_names(artifact: Artifact) -> set[str]:
    """Return the names that `set_aside` gives."""
    path = Path(artifact.file)
    beside = {path.with_suffix(".bin").name + FAILED} if path.suffix == ".xml" else set()
    return {path.name + FAILED, *beside}


def set_aside(directory: Path, artifact: Artifact) -> Path:
    """Rename an artifact that failed; return its new name. `model.xml` and `model.bin` both get one."""
    path = directory / artifact.file
    moved = [path] if path.is_dir() else files_of(directory, artifact)
    for each in moved:
        if each.exists():
            each.replace(_cleared(each.with_name(each.name + FAILED)))
    return path.with_name(path.name + FAILED)


def keep_failed(folder: Path, directory: Path) -> None:
    """Move what failed to an earlier bundle that stays as it is."""
    for each in folder.glob(f"*{FAILED}"):
        each.replace(_cleared(directory / each.name))


def with_answers_of(
    golden: Sequence[Golden], answers: Mapping[str, Sequence[Mapping[str, tuple[float, ...]]]]
) -> tuple[Golden, ...]:
    """Return golden pictures with what more artifacts say of them, by format and picture."""
    return tuple(
        dataclasses.replace(
            each, answers={**each.answers, **{name: said[i] for name, said in answers.items()}}
        )
        for i, each in enumerate(golden)
    )


def _tidy(directory: Path) -> None:
    """Put back the bundle that a killed export had moved, and remove what it had half made.

    Where the new one has its name already, the moved one was to be removed; it would be in the way.
    """
    earlier = directory.with_name(f".earlier-{directory.name}")
    if earlier.is_dir():
        if directory.exists():
            shutil.rmtree(earlier, ignore_errors=True)
        else:
            earlier.replace(directory)
    for part in directory.parent.glob(f".part-{glob.escape(directory.name)}-*"):
        if part.is_dir() and time.time() - part.stat().st_mtime > _STALE:
            shutil.rmtree(part, ignore_errors=True)


def is_bundle(path: Path) -> bool:
    """Whether a file is an archive with a bundle in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == MANIFEST for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise BundleError(
            f"{source} is missing; pass --overwrite to make the bundle anew."
        ) from None
    except OSError:  # of a file system without links
        shutil.copy2(source, target)


def _link_all(source: Path, target: Path) -> None:
    """Link a file, or all below a folder, but for what is there already."""
    if source.is_symlink():
        if not os.path.lexists(target):
            target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir(exist_ok=True)
        for each in source.iterdir():
            _link_all(each, target / each.name)
    elif source.is_file() and not target.exists():
        _link(source, target)


def _cleared(path: Path) -> Path:
    """Return the path, with nothing there."""
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    return path
