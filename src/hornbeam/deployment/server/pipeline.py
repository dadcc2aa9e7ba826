"""From bytes to answers: threads that decode, one that asks the model about what has come together.

A picture waits for others only while others are being decoded, and no longer than `max_wait`; so a
server that has nothing else to do asks at once, and a busy one asks full batches.
"""

from __future__ import annotations

import asyncio
import base64
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.deployment.predicting.predictor import Answer
from hornbeam.deployment.server.refusals import Refusal
from hornbeam.deployment.server.swapping import Served
from hornbeam.errors import HornbeamError


class Item:
    """A picture on its way.

    Attributes:
        job: the request that it belongs to.
        data: the bytes of the file; or, as text, their base64.
        features: numbers beside it, float32 `[columns]`, or `None`.
        pixels: uint8 `[height, width, channels]`, once decoded.
        answer: once there is one; its `error` says why a picture has none.
        failed: whether that is the model's fault, and not the picture's.
    """

    __slots__ = ("answer", "data", "failed", "features", "job", "pixels", "ready_at")

    def __init__(self, job: Job, data: bytes | str, features: NDArray[np.float32] | None) -> None:
        self.job = job
        self.data: bytes | str = data
        self.features = features
        self.pixels: NDArray[np.uint8] | None = None
        self.answer: Answer | None = None
        self.failed = False
        self.ready_at = 0.0


class Job:
    """The pictures of a request.

    Attributes:
        served: the bundle that was there when it came; all its pictures are answered by it.
        items: in their order.
        done: resolved when all are answered.
        dropped: whether nobody waits for the answers any more.
    """

    __slots__ = ("done", "dropped", "items", "left", "served")

    def __init__(
        self, served: Served, pictures: Sequence[tuple[bytes | str, NDArray[np.float32] | None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:  # fmt: skip
        self.served = served
        self.items = [Item(self, data, features) for data, features in pictures]
        self.left = len(self.items)
        self.dropped = False
        self.done: asyncio.Future[None] = loop.create_future()

    def answers(self) -> list[Answer]:
        """Return the answers to all pictures, once they are there."""
        return [item.answer for item in self.items if item.answer is not None]

    @property
    def failed(self) -> int:
        """Pictures of which the model failed."""
        return sum(item.failed for item in self.items)


class Pipeline:
    """The threads, and what waits for them.

    Args:
        threads: that decode.
        max_batch: pictures per question to the model.
        max_wait: seconds that a decoded picture waits for those that are being decoded.
        max_queue: pictures that may wait.
        on_batch: told of each question: pictures, and seconds that it took.

    Attributes:
        waiting: pictures that have come and are not answered.
    """

    def __init__(
        self, *, threads: int, max_batch: int, max_wait: float, max_queue: int,
        on_batch: Callable[[int, float], None],
    ) -> None:  # fmt: skip
        self._max_batch, self._max_wait, self._max_queue = max_batch, max_wait, max_queue
        self._on_batch = on_batch
        self.waiting = 0
        self._raw: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._ready: deque[Item] = deque()
        self._decoding = 0
        self._wanted = 1
        lock = threading.Lock()
        self._grown, self._shrunk = threading.Condition(lock), threading.Condition(lock)
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._threads = [
            threading.Thread(target=self._decode, name=f"decode-{n}", daemon=True)
            for n in range(threads)
        ] + [threading.Thread(target=self._ask, name="ask", daemon=True)]
        for thread in self._threads:
            thread.start()

    @property
    def full(self) -> bool:
        """Whether no picture more may come."""
        return self.waiting >= self._max_queue

    def submit(self, job: Job) -> None:
        """Let the pictures of a request be answered.

        Raises:
            Refusal: too many wait already.
        """
        count = len(job.items)
        if self.waiting + count > self._max_queue:
            raise Refusal(429, f"{self.waiting} pictures wait already; ask again in a second.")
        self.waiting += count
        with self._grown:
            self._decoding += count
        for item in job.items:
            self._raw.put(item)

    def end(self) -> None:
        """Stop the threads; what waits gets no answer."""
        with self._grown:
            self._ended = True
            self._grown.notify_all()
            self._shrunk.notify_all()
        for _ in self._threads:
            self._raw.put(None)
        for thread in self._threads:
            thread.join(5)

    def _decode(self) -> None:
        while (item := self._raw.get()) is not None:
            if not item.job.dropped:
                item.answer = _prepare(item)
            item.data = b""
            with self._grown:
                self._decoding -= 1
                if item.pixels is not None:
                    # Decoded pictures are larger than files: no more of them than are asked soon.
                    while len(self._ready) >= 2 * self._max_batch and not self._ended:
                        self._shrunk.wait()
                    item.ready_at = time.monotonic()
                    self._ready.append(item)
                # Who gathers is woken when there is enough, not for each picture: waking costs more
                # than some networks.
                if len(self._ready) >= self._wanted or not self._decoding:
                    self._grown.notify()
            if item.pixels is None:
                self._deliver([item])

    def _ask(self) -> None:
        while batch := self._gather():
            asked = [item for item in batch if not item.job.dropped]
            if asked:
                started = time.monotonic()
                _answer(asked)
                self._on_batch(len(asked), time.monotonic() - started)
            self._deliver(batch)

    def _gather(self) -> list[Item]:
        """Wait for pictures of one bundle; return none when all is over."""
        with self._grown:
            self._wanted = 1
            while not self._ready and not self._ended:
                self._grown.wait()
            if self._ended:
                return []
            self._wanted = self._max_batch
            until = self._ready[0].ready_at + self._max_wait
            while len(self._ready) < self._max_batch and self._decoding and not self._ended:
                left = until - time.monotonic()
                if left <= 0:
                    break
                self._grown.wait(left)
            served = self._ready[0].job.served
            batch: list[Item] = []
            while (
                self._ready and len(batch) < self._max_batch
                and self._ready[0].job.served is served
            ):  # fmt: skip
                batch.append(self._ready.popleft())
            self._shrunk.notify_all()
            return batch

    def _deliver(self, items: list[Item]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._count_off, items)
        except RuntimeError:
            assert self._ended  # the loop is closed: the server was told not to wait

    def _count_off(self, items: list[Item]) -> None:
        self.waiting -= len(items)
        for item in items:
            item.pixels = None
            job = item.job
            job.left -= 1
            if not job.left and not job.done.done():
                job.done.set_result(None)


def _prepare(item: Item) -> Answer | None:
    """Decode a picture; return an answer that tells the error, if there is one."""
    predictor = item.job.served.predictor
    try:
        data = item.data
        if isinstance(data, str):
            try:
                data = base64.b64decode(data, validate=True)
            except ValueError as error:  # binascii.Error is one; what is not ASCII is another
                return _failed(item, f"this is not base64 ({error})")
        item.pixels = predictor.prepare(data)
    except (HornbeamError, OSError) as error:
        return _failed(item, str(error))
    except Exception as error:
        # One picture must not end the thread that all others need.
        traceback.print_exc()
        return _failed(item, f"the picture cannot be read ({type(error).__name__})")
    return None


def _answer(items: Sequence[Item]) -> None:
    predictor = items[0].job.served.predictor
    try:
        image = np.stack([item.pixels for item in items if item.pixels is not None])
        features: NDArray[Any] | None = None
        if items[0].features is not None:
            features = np.stack([item.features for item in items if item.features is not None])
        for item, answer in zip(items, predictor.ask(image, features), strict=True):
            item.answer, item.failed = answer, answer.error is not None
    except Exception as error:
        traceback.print_exc()
        for item in items:
            item.failed = True
            item.answer = _failed(item, f"the model failed ({type(error).__name__})")


def _failed(item: Item, sentence: str) -> Answer:
    return Answer(None, item.job.served.predictor.tasks, {}, {}, error=sentence)
