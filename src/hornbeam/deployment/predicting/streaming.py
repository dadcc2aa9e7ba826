"""Many pictures in order and in bounded memory: some threads decode, the runtime gets batches."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.predicting.answers import Answer
from hornbeam.deployment.predicting.preparation import Picture, name_of
from hornbeam.errors import DataError, HornbeamError

if TYPE_CHECKING:
    from hornbeam.deployment.predicting.predictor import Predictor

_AHEAD = 2
"""Batches that are taken from the source and decoded while one is answered."""


_AT_ONCE = 4
"""Pictures that a thread decodes one after the other."""


class _Batch:
    """Pictures that are asked about at once, decoded into one array, which is used again.

    Attributes:
        image: uint8 `[batch, height, width, channels]`.
        numbers: float32 `[batch, columns]`.
    """

    def __init__(self, size: int, predictor: Predictor) -> None:
        manifest = predictor.manifest
        self._prepare = predictor.prepare
        self._columns = manifest.features
        self.image = np.empty((size, *manifest.image_size), np.uint8)
        self.numbers = np.empty((size, len(manifest.features)), np.float32)
        self.names: list[str | None] = []
        self.errors: list[str | None] = []
        self.done: list[Future[None]] = []

    def start(self, given: Sequence[tuple[Picture, Any]], pool: ThreadPoolExecutor | None) -> None:
        """Begin to decode; without a pool, do it."""
        self.names = [name_of(picture) for picture, _ in given]
        self.errors = [None] * len(given)
        work = list(enumerate(given))
        if pool is None:
            self._fill(work)
        else:
            # Several at a time: to hand one over takes 0.05 ms, a small picture 0.1.
            self.done = [
                pool.submit(self._fill, work[at : at + _AT_ONCE])
                for at in range(0, len(work), _AT_ONCE)
            ]

    def _fill(self, work: Sequence[tuple[int, tuple[Picture, Any]]]) -> None:
        for slot, (picture, numbers) in work:
            self._fill_slot(slot, picture, numbers)

    def _fill_slot(self, slot: int, picture: Picture, numbers: Any) -> None:
        try:
            if self._columns:
                self.numbers[slot] = _checked(numbers, self._columns)
            self.image[slot] = self._prepare(picture)
        except (HornbeamError, OSError, MemoryError) as error:
            self.errors[slot] = " ".join(str(error).split()) or type(error).__name__
        except Exception as error:  # whatever a decoder does with a damaged file: the others go on
            words = " ".join(f"{type(error).__name__}: {error}".split())
            name = self.names[slot]
            self.errors[slot] = (
                f"{name + ': ' if name else ''}the picture cannot be read ({words})."
            )

    def answers(self, predictor: Predictor) -> Iterator[Answer]:
        """Ask about what could be decoded, and yield answers to all."""
        for each in self.done:
            each.result()
        self.done = []
        good = [slot for slot, error in enumerate(self.errors) if error is None]
        whole = len(good) == len(self.errors)  # which is so nearly always, and needs no copy
        rows: Any = slice(len(good)) if whole else good
        found = iter(
            predictor.ask(self.image[rows], self.numbers[rows] if self._columns else None)
            if good
            else ()
        )
        for name, error in zip(self.names, self.errors, strict=True):
            if error is not None:
                yield Answer(name, predictor.tasks, {}, {}, error=error)
            else:
                answer = next(found)
                yield _named(answer, name)


def stream(
    predictor: Predictor,
    pictures: Iterable[Picture],
    features: Iterable[Sequence[float]] | None,
) -> Iterator[Answer]:
    """See `Predictor.stream`."""
    given = _Source(_pairs(pictures, features), predictor.batch_size)
    first = given.batch()
    if len(first) < 2 <= predictor.batch_size:  # all there is: a pool takes longer than a picture
        if first:
            batch = _Batch(1, predictor)
            batch.start(first, None)
            yield from batch.answers(predictor)
        given.finish()
        return
    free = [_Batch(len(first), predictor) for _ in range(_AHEAD + 1)]
    waiting: deque[_Batch] = deque()
    with ThreadPoolExecutor(predictor.threads, thread_name_prefix="decode") as pool:
        try:
            while True:
                while free and first:
                    batch = free.pop()
                    batch.start(first, pool)
                    waiting.append(batch)
                    # Only with room for them: what is drawn is held.
                    first = given.batch() if free else []
                if not waiting:
                    given.finish()
                    return
                batch = waiting.popleft()
                yield from batch.answers(predictor)
                free.append(batch)
                first = given.batch()
        finally:
            pool.shutdown(cancel_futures=True)


class _Source:
    """Pictures by batches. An error of theirs waits until what came before is answered."""

    def __init__(self, given: Iterator[tuple[Picture, Any]], size: int) -> None:
        self._given, self._size = given, size
        self._fault: Exception | None = None

    def batch(self) -> list[tuple[Picture, Any]]:
        """Return the next ones, fewer at the end and before an error."""
        drawn: list[tuple[Picture, Any]] = []
        if self._fault is None:
            try:
                drawn.extend(itertools.islice(self._given, self._size))
            except Exception as fault:  # the caller's own code
                self._fault = fault
        return drawn

    def finish(self) -> None:
        """Raise what stopped it, if something did."""
        if self._fault is not None:
            raise self._fault


def _pairs(
    pictures: Iterable[Picture], features: Iterable[Sequence[float]] | None
) -> Iterator[tuple[Picture, Any]]:
    if features is None:
        return zip(pictures, itertools.repeat(None))
    return _paired(pictures, features)


def _paired(
    pictures: Iterable[Picture], features: Iterable[Sequence[float]]
) -> Iterator[tuple[Picture, Any]]:
    try:
        yield from zip(pictures, features, strict=True)
    except ValueError as error:
        if "zip()" not in str(error):
            raise
        raise DataError("There are not as many rows of features as pictures.") from None


def _checked(numbers: Any, columns: tuple[str, ...]) -> NDArray[np.float32]:
    try:
        row = np.asarray(numbers, np.float32)
    except (TypeError, ValueError):
        raise DataError(f"the features {numbers!r} are no numbers.") from None
    if row.shape != (len(columns),):
        raise DataError(
            f"there are {row.size} features; expected {len(columns)}: {', '.join(columns)}."
        )
    if not np.isfinite(row).all():
        column = columns[int(np.flatnonzero(~np.isfinite(row))[0])]
        raise DataError(f"the feature '{column}' is missing or no finite number.")
    return row


def _named(answer: Answer, name: str | None) -> Answer:
    # dataclasses.replace takes as long as making the answer.
    object.__setattr__(answer, "picture", name)
    return answer
