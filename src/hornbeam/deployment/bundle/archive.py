"""A bundle as one `.zip`: written in a fixed order, unpacked so that a stranger's does no harm."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from hornbeam.data.remote import cache_directory
from hornbeam.deployment.bundle.manifest import MANIFEST
from hornbeam.deployment.bundle.paths import key_of, why_unsafe
from hornbeam.errors import BundleError
from hornbeam.limits import MAX_BUNDLE_BYTES, MAX_BUNDLE_ENTRIES, MAX_RATIO, RATIO_FREE
from hornbeam.storage import flush_directory, replacing

_BLOCK = 2**20

_DEFLATED = (".json", ".html", ".py", ".xml", ".txt")
"""Endings of files that are worth compressing: weights shrink by 7 % and take 3 s for 100 MB, pictures
are compressed already."""

_ENTRY_TIME = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip knows: two archives of the same files are the same."""


def write_archive(directory: Path, path: Path) -> list[str]:
    """Write all files of a bundle to a `.zip`, below the bundle's name; whole or not at all.

    A bundle whose name some system refuses is called `bundle` inside.

    Args:
        directory: the bundle.
        path: of the archive.

    Returns:
        Names of files that were left out, as `unpacked` would refuse the archive for them. (The user
        may have put anything beside what Hornbeam has made.)
    """
    root = "bundle" if why_unsafe(directory.name) else directory.name
    seen: set[str] = set()
    left_out = []
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in sorted(_files_below(directory)):
            name = file.relative_to(directory).as_posix()
            if file.is_symlink() or why_unsafe(name) or key_of(name) in seen:
                left_out.append(name)
                continue
            seen.add(key_of(name))
            entry = zipfile.ZipInfo(f"{root}/{name}", _ENTRY_TIME)
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            deflated = file.suffix.lower() in _DEFLATED
            entry.compress_type = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            entry.file_size = file.stat().st_size  # by which zip64 is chosen
            with file.open("rb") as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target, _BLOCK)
    return left_out


def _files_below(directory: Path) -> list[Path]:
    """Return all files of a bundle but artifacts that failed."""
    top = [p for p in directory.iterdir() if p.suffix != ".failed"]
    below = [p for folder in top if folder.is_dir() for p in folder.rglob("*")]
    return [p for p in top + below if p.is_file()]


def unpacked(path: Path) -> Path:
    """Return the folder of a bundle: itself, or where its archive was unpacked.

    An archive is unpacked once, to a folder of the cache that is named by its digest. Any number of
    processes may do that at a time.

    Args:
        path: of a folder, or of a `.zip`.

    Raises:
        BundleError: there is nothing, or no bundle; or the archive is damaged, or one that would
            write elsewhere or fill the disk; the message names the entry.
    """
    if path.is_dir():
        return path
    try:
        digest = sha256_of([path])
        place = cache_directory() / "bundles" / digest
        with zipfile.ZipFile(path) as archive:
            entries = _checked(archive, path)
            if not _is_whole(place, entries):
                _unpack(archive, entries, place, path)
    except FileNotFoundError:
        raise BundleError(
            f"{path} does not exist; expected a bundle: a folder or a .zip."
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError) as error:
        raise BundleError(f"{path} is no archive that can be read ({error}).") from None
    except OSError as error:
        raise BundleError(
            f"{path} cannot be unpacked ({error.strerror}: {error.filename})."
        ) from None
    return _bundle_in(place, path)


def sha256_of(files: Sequence[Path]) -> str:
    """Return the digest of the content of files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as source:
            while block := source.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    """Return the files of an archive, if all are harmless as far as it declares them."""
    entries = archive.infolist()
    if len(entries) > MAX_BUNDLE_ENTRIES:
        raise BundleError(
            f"{path} has {len(entries)} entries; a bundle has at most {MAX_BUNDLE_ENTRIES}."
        )
    seen: dict[str, bool] = {}
    for entry in entries:
        name = entry.filename.rstrip("/") if entry.is_dir() else entry.filename
        reason = why_unsafe(name) or _why_special(entry)
        if not reason and key_of(name) in seen:
            reason = "it is there twice"
        if reason:
            raise BundleError(f"{path}: the entry {name!r} is refused: {reason}.")
        seen[key_of(name)] = entry.is_dir()
        if entry.file_size > RATIO_FREE and entry.file_size > MAX_RATIO * entry.compress_size:
            raise BundleError(
                f"{path}: the entry {name!r} is refused: it grows from {entry.compress_size} to "
                f"{entry.file_size} bytes, more than {MAX_RATIO} times."
            )
    for name in seen:
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if seen.get(above) is False:
                raise BundleError(
                    f"{path}: the entry {name!r} is refused: {above!r} is a file, and no folder."
                )
    total = sum(entry.file_size for entry in entries)
    if total > MAX_BUNDLE_BYTES or total > MAX_RATIO * max(path.stat().st_size, RATIO_FREE):
        raise BundleError(
            f"{path} is refused: its {path.stat().st_size} bytes say that they unpack to {total}."
        )
    return [entry for entry in entries if not entry.is_dir()]


def _why_special(entry: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "it is a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is no plain file"
    if entry.flag_bits & 1:
        return "it is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is compressed in a way other than DEFLATE"
    return None


def _is_whole(place: Path, entries: Sequence[zipfile.ZipInfo]) -> bool:
    """Whether a folder of the cache still has all files; some programs remove old ones."""
    try:
        return all((place / e.filename).stat().st_size == e.file_size for e in entries)
    except OSError:
        return False


def _unpack(
    archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], place: Path, path: Path
) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.parent).free
    total = sum(entry.file_size for entry in entries)
    if total > free:
        raise BundleError(f"{path} unpacks to {total} bytes, and {place.parent} has {free} free.")
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=".part-"))
    try:
        for entry in entries:
            target = temporary / entry.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            # No more than declared is read, whatever the bytes hold; the checksum is compared, too.
            with archive.open(entry) as source, target.open("xb") as file:
                left = entry.file_size
                while block := source.read(min(_BLOCK, left + 1)):
                    left -= len(block)
                    if left < 0:
                        raise BundleError(
                            f"{path}: the entry {entry.filename!r} is refused: it unpacks to more "
                            f"than the {entry.file_size} bytes that it declares."
                        )
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())  # those below folders are not reached by `flush_directory`
            if left:
                raise zipfile.BadZipFile(f"'{entry.filename}' ends early")
        for folder in {(temporary / entry.filename).parent for entry in entries} | {temporary}:
            folder.chmod(0o755)
        flush_directory(temporary)
        _put(temporary, place, entries)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, place: Path, entries: Sequence[zipfile.ZipInfo]) -> None:
    """Give a folder its name, unless another process was quicker."""
    try:
        temporary.replace(place)
    except OSError:
        if _is_whole(place, entries):
            return
        aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=".part-"))
        try:
            place.replace(aside / "old")
            temporary.replace(place)
        except OSError:
            if not _is_whole(place, entries):
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _bundle_in(place: Path, path: Path) -> Path:
    """Return the folder with `bundle.json`: the archive's root, or its only folder that has one."""
    if (place / MANIFEST).is_file():
        return place
    found = sorted(p.parent for p in place.glob(f"*/{MANIFEST}"))
    if len(found) != 1:
        raise BundleError(f"{path} is not a bundle: it has {len(found) or 'no'} {MANIFEST}.")
    return found[0]
