"""A user's own reader: `examples(split)` of a recipe.

It returns, for `train`, `validation` and `test`, an object with `__len__` and `__getitem__` (a list
will do), or `None`. An item is `(image, label)`, or a dictionary with `image`, one entry for each label
column, and a number for each of `--feature-columns`; an image is a path, the encoded bytes of a file, or
pixels (uint8 `[height, width]` or `[height, width, channels]`). A label is a name or a number; a list of
them makes the task multi-label.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hornbeam.data.dataset import FEATURE, SPLITS, Dataset
from hornbeam.data.pixels.images import Pixels
from hornbeam.data.remote import is_remote, join, read_bytes
from hornbeam.data.tables.labels import Rows
from hornbeam.data.tables.numbers import require_distinct, to_numbers
from hornbeam.errors import ConfigError, DataError

_IMAGE = "image"


class ExamplesReader:
    """Gets pictures from the objects of a recipe.

    Args:
        objects: by split, what `examples(split)` returned.
    """

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects

    def read(self, dataset: Dataset, row: int) -> bytes | Pixels:
        """Return the picture of one item: its bytes, or its pixels."""
        split, _, index = dataset.table["example"][row].as_py().partition("/")
        image = _item(self.objects[split], split, int(index))[_IMAGE]
        if isinstance(image, (str, os.PathLike)):
            return read_bytes(join(dataset.root, os.fspath(image)))
        return image  # type: ignore[no-any-return]


def ask_for_examples(examples: Callable[..., Any], location: str | None) -> ExamplesReader:
    """Call `examples(split)`, or `examples(split, data)`, for every split.

    Raises:
        ConfigError: it returns something else than sequences.
        DataError: there are no examples at all.
    """
    takes_data = len(inspect.signature(examples).parameters) > 1
    objects: dict[str, Any] = {}
    for split in SPLITS:
        found = examples(split, location) if takes_data else examples(split)
        if found is None:
            continue
        if not (hasattr(found, "__len__") and hasattr(found, "__getitem__")):
            raise ConfigError(
                f"examples('{split}') returned {type(found).__name__}; expected an object with "
                "__len__ and __getitem__, such as a list, or None."
            )
        if len(found):
            objects[split] = found
    if not objects:
        raise DataError("examples(split) of the recipe returned no examples for any split.")
    return ExamplesReader(objects)


def read_examples(
    examples: Callable[..., Any], location: str | None, features: Sequence[str] = ()
) -> Rows:
    """Ask a recipe for its examples, once each, and return their labels and numbers.

    Args:
        examples: `examples(split)`, or `examples(split, data)`.
        location: DATA of the command line: what paths are relative to, and `data` of the function.
        features: entries of the items that are numbers beside the picture, and not labels.

    Raises:
        ConfigError: the function does not fit.
        DataError: an item is not what it should be; the message names split and index.
    """
    root: Path | str = location if location and is_remote(location) else Path(location or ".")
    reader = ask_for_examples(examples, location)
    places, names, splits = [], [], []
    cells: dict[str, list[Any]] | None = None
    numbers: dict[str, list[Any]] = {name: [] for name in features}
    for split, items in reader.objects.items():
        for index in range(len(items)):
            item = _item(items, split, index)
            image = item[_IMAGE]
            place = f"{split}/{index}"
            is_path = isinstance(image, (str, os.PathLike))
            names.append(os.fspath(image) if is_path else f"examples/{place}")
            places.append(place)
            splits.append(split)
            for name, values in numbers.items():
                values.append(str(item.get(name, "")))
            labels = {k: value for k, value in item.items() if k != _IMAGE and k not in numbers}
            if cells is None:
                cells = {name: [] for name in labels}
            if set(labels) != set(cells):
                raise DataError(
                    f"examples('{split}')[{index}] has labels {sorted(labels)}; others have "
                    f"{sorted(cells)}."
                )
            for name, value in labels.items():
                cells[name].append(_label(value, f"examples('{split}')[{index}]"))
    if not cells:
        raise DataError("The items of examples(split) have no labels; expected (image, label).")

    def where(row: int, column: str) -> str:
        split, index = places[row].split("/")
        return f"examples('{split}')[{index}], '{column}'"

    columns = {
        "path": pa.array(names, pa.string()),
        "split": pa.array(splits, pa.string()),
        "example": pa.array(places, pa.string()),
    }
    require_distinct(features, ())
    for name, values in numbers.items():
        texts = pa.array(values, pa.string())
        columns[FEATURE + name] = to_numbers(texts, functools.partial(where, column=name))
    labels = {name: _column(values) for name, values in cells.items()}
    return Rows(root, columns, labels, where, reader=reader)


def _item(items: Any, split: str, index: int) -> dict[str, Any]:
    """Return an item as a dictionary with a checked `image`."""
    where = f"examples('{split}')[{index}]"
    try:
        item = items[index]
    except Exception as error:
        raise DataError(f"{where} failed: {type(error).__name__}: {error}.") from error
    if isinstance(item, (tuple, list)) and len(item) == 2:
        item = {_IMAGE: item[0], "label": item[1]}
    if not isinstance(item, dict) or _IMAGE not in item:
        raise DataError(f"{where}: expected (image, label) or a dictionary with 'image'.")
    return {**item, _IMAGE: _picture(item[_IMAGE], where)}


def _picture(image: Any, where: str) -> Any:
    if isinstance(image, (str, bytes, os.PathLike)):
        return image
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        raise DataError(
            f"{where}: the picture is an array of {pixels.dtype} {list(pixels.shape)}; expected uint8 "
            "[height, width, channels], a path, or the bytes of a file."
        )
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.shape[2] not in (1, 3, 4):
        raise DataError(f"{where}: the picture has {pixels.shape[2]} channels; expected 1, 3 or 4.")
    return pixels


def _label(value: Any, where: str) -> str | list[str]:
    if isinstance(value, (set, frozenset)):
        # Sets of names have another order in each process, and the fingerprint of the table with them.
        return sorted(str(_label(part, where)) for part in value)
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim == 1):
        return [str(_label(part, where)) for part in value]
    if isinstance(value, (bytes, np.bytes_)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise DataError(f"{where}: the label {value!r} is not UTF-8.") from None
    if isinstance(value, (str, bool, int, np.integer, np.bool_)) or (
        isinstance(value, np.ndarray) and not value.ndim
    ):
        return str(value)
    raise DataError(f"{where}: the label is {value!r}; expected a name, a whole number, or a list.")


def _column(values: list[Any]) -> Any:
    listed = any(isinstance(value, list) for value in values)
    if not listed:
        return pa.array(values, pa.string())
    lists = [value if isinstance(value, list) else [value] for value in values]
    return pa.array(lists, pa.list_(pa.string()))
