"""The thumbnails of a report: a bounded number, decoded small, in threads."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

from hornbeam import backend
from hornbeam.data.dataset import Dataset
from hornbeam.errors import HornbeamError
from hornbeam.page import jpeg_address, shown

MOST = 400
"""Thumbnails in all: of 3 to 5 kB each, so that a page has 2 MB at most of them."""

SIDE = 128
"""Of a thumbnail, in pixels."""

_QUALITY = 75


@dataclasses.dataclass
class Shots:
    """Thumbnails by path: asked for first, then decoded all at once, then shown.

    Attributes:
        judged: the pictures of the report.
        others: all pictures of the run, where they are at hand: those of other splits may be shown.
        sizes: (height, width) of the pictures that were looked at.
    """

    judged: Dataset
    others: Dataset | None = None
    sizes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    _wanted: dict[str, None] = dataclasses.field(default_factory=dict)
    _addresses: dict[str, str | None] = dataclasses.field(default_factory=dict)

    def want(self, path: str) -> bool:
        """Ask for a picture; return whether it gets a place."""
        if path not in self._wanted and len(self._wanted) >= MOST:
            return False
        self._wanted[path] = None
        return True

    def decode(self) -> None:
        """Decode all that was asked for; pictures that are gone have no thumbnail."""
        places = self._places()
        with ThreadPoolExecutor(backend.cores()) as pool:
            made = list(pool.map(_decode, places.values()))
        for path, done in zip(places, made, strict=True):
            self._addresses[path] = done[0] if done else None
            if done:
                self.sizes.append(done[1])

    def address(self, path: str) -> str | None:
        """Return the thumbnail as an address of its own; `None` if there is none."""
        return self._addresses.get(path)

    def figure(self, path: str, words: str, name: int | None = None) -> str:
        """Return a picture with words below it.

        Args:
            path: of the picture.
            words: HTML.
            name: its number among the names of the page, by which the script finds it again.
        """
        address = self.address(path)
        mark = f" data-p={name}" if name is not None else ""
        picture = (
            f'<img{mark} alt="" width={SIDE} height={SIDE} decoding=async src="{address}">'
            if address
            else "<p class=none>the picture is gone</p>"
        )
        return f"<figure>{picture}<figcaption>{words}<small>{shown(path)}</small></figcaption></figure>"

    def _places(self) -> dict[str, tuple[Dataset, int]]:
        """Return where the wanted pictures are."""
        places: dict[str, tuple[Dataset, int]] = {}
        for dataset in (self.judged, self.others):
            if dataset is None or len(places) == len(self._wanted):
                continue
            for row, path in enumerate(dataset.paths):
                if path in self._wanted and path not in places:
                    places[path] = (dataset, row)
        return places


def _decode(place: tuple[Dataset, int]) -> tuple[str, tuple[int, int]] | None:
    """Return a thumbnail and the size of the whole picture; `None` if that is gone or damaged."""
    dataset, row = place
    try:
        pixels, size = dataset.preview(row, SIDE)
    except (HornbeamError, OSError):
        return None
    return jpeg_address(pixels, SIDE, quality=_QUALITY)[0], size
