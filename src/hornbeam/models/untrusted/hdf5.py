"""HDF5 files: no links, nothing that lies elsewhere, no more numbers than there are bytes for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from hornbeam.models.untrusted.archives import EXPANSION, FLOOR, refusal

if TYPE_CHECKING:
    import h5py

_DEEPEST = 50
"""Groups in groups; our networks have 8."""


def check_hdf5(file: h5py.File, path: Path) -> int:
    """Look through an HDF5 file; no array is read.

    Args:
        file: opened.
        path: of the file that it is, or is in, whose size says what can be there.

    Returns:
        How many numbers all its arrays have.

    Raises:
        ModelError: it has links to other places or files, arrays that are computed or lie in other
            files, or arrays that declare more than such a file can hold.
    """
    import h5py

    seen: set[int] = set()
    numbers = declared = 0
    waiting: list[tuple[h5py.Group, int]] = [(file, 0)]
    while waiting:
        group, depth = waiting.pop()
        if depth > _DEEPEST:
            raise refusal(path, f"groups lie {depth} deep in it")
        for name in group:
            what = f"'{group.name.rstrip('/')}/{name}'"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise refusal(path, f"{what} is a link to another place or file")
            each = group[name]
            address = h5py.h5o.get_info(each.id).addr
            if address in seen:
                raise refusal(path, f"{what} is there under two names")
            seen.add(address)
            if isinstance(each, h5py.Group):
                waiting.append((each, depth + 1))
            elif isinstance(each, h5py.Dataset):
                _check_dataset(each, path, what)
                numbers += math.prod(each.shape)
                declared += math.prod(each.shape) * each.dtype.itemsize
    there = path.stat().st_size
    if declared > FLOOR + EXPANSION * there:
        raise refusal(path, f"its arrays declare {declared:,} bytes, and it has {there:,}")
    return numbers


def _check_dataset(dataset: h5py.Dataset, path: Path, what: str) -> None:
    if dataset.external or dataset.is_virtual:
        raise refusal(path, f"the values of {what} lie in other files")
    if dataset.shape is None or dataset.dtype.kind == "O":
        raise refusal(path, f"{what} is no array of numbers")
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    if chunk > FLOOR + math.prod(dataset.shape) * dataset.dtype.itemsize:
        raise refusal(path, f"{what} is stored in pieces of {chunk:,} bytes, larger than itself")
