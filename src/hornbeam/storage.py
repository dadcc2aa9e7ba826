"""Files written so that a reader never sees half of one: under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.errors import DataError

_EARLIER = ".earlier-"
"""What the name of a directory begins with while another takes its place."""

_MASK = threading.Lock()
"""Held while the process's mask is read."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all; an earlier file stays until the rename."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any, *, infinite: bool = False) -> None:
    """Write `content` as indented JSON to `path`, whole or not at all.

    Args:
        path: of the file.
        content: plain values.
        infinite: whether it may hold NaN and infinities, which only Python reads; else they are a
            `ValueError`.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=infinite)
    write_text(path, text + "\n")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the lines of a CSV file by its columns.

    Raises:
        DataError: it is damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}).") from None


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Write some columns of lines as a CSV file, whole or not at all; what a line lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_table(path: Path, table: Any) -> None:
    """Write an Arrow table, whole or not at all: as CSV, JSON or JSON lines where the path ends so.

    Else as Parquet.
    """
    import pyarrow.csv
    import pyarrow.parquet

    suffix = path.suffix.lower()
    if suffix == ".json":
        write_text(path, json.dumps(table.to_pylist(), indent=1, ensure_ascii=False) + "\n")
        return
    if suffix == ".jsonl":
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())
        write_text(path, "".join(lines))
        return
    write = pyarrow.csv.write_csv if suffix == ".csv" else pyarrow.parquet.write_table
    with replacing(path) as temporary:
        write(table, temporary)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file that has one a line; nothing where there is no file.

    A line that is being written, or is damaged, is left out.
    """
    found = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return [each for each in found if isinstance(each, dict)]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with the same suffix, renamed to it on success.

    On an error the temporary file is removed and `path` is as it was.
    """
    # The suffix is kept because Keras chooses the format of a file by it.
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=f"-{path.name}")
    except OSError as error:
        error.filename = str(path)  # nobody knows the temporary one
        raise
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        _flush(temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, name):
            error.filename = str(path)  # a write to a full disk names no file at all
        raise


@contextlib.contextmanager
def new_directory(path: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`, renamed to it on success, removed on an error.

    Args:
        path: of the directory to be.
        replace: an earlier directory there makes room, and is removed after the rename.

    Raises:
        FileExistsError: `path` is there already and is not an empty directory, and `replace` is off.
    """
    if not replace and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(17, "exists already", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".part-{path.name}-"))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        earlier = path.with_name(f"{_EARLIER}{path.name}")
        if replace and path.exists():
            shutil.rmtree(earlier, ignore_errors=True)  # of somebody who was killed here
            path.replace(earlier)
        temporary.replace(path)
        _flush(path.parent)
        shutil.rmtree(earlier, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def flush_directory(path: Path) -> None:
    """Wait until the files in a directory are on the disk."""
    for file in path.iterdir():
        _flush(file)
    _flush(path)


def tidy(directory: Path) -> None:
    """Remove what somebody who was killed has left half written in a directory.

    What `new_directory` was about to replace is put back, if there is nothing in its place.
    """
    for earlier in directory.glob(f"{_EARLIER}*"):
        path = earlier.with_name(earlier.name.removeprefix(_EARLIER))
        if path.exists():
            shutil.rmtree(earlier, ignore_errors=True)
        else:
            earlier.replace(path)
    for part in directory.glob(".part-*"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def point_link(link: Path, target: str) -> None:
    """Make the symbolic link `link` point to `target` (relative to it), replacing an earlier one."""
    temporary = link.with_name(f".part-{link.name}-{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _flush(path: Path) -> None:
    # Without this a crash of the machine can leave the new name on an empty file.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # The mask can be read only by setting it, and of two threads that did so at once the second would
    # put back what the first had set. mkstemp made the file private; users expect theirs.
    with _MASK:
        mask = os.umask(0o022)
        os.umask(mask)
    return mask
