"""What a signal asks of one process is done by all of them, at the same step."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from hornbeam.world.world import World

_POLL = 0.25
"""Seconds between two looks at what the others ask for."""


class Agreement:
    """Finds a step that no process has reached yet, for what one of them was asked.

    A thread looks for requests in the store. When there is one, each process tells how many steps it
    has counted, and begins no other until all have told: the first step that none has counted is the
    one.

    All must call `count` equally often, once a step.

    Args:
        world: the processes; not one alone.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._store = world.client
        self._lock = threading.Lock()
        self._wishes: list[str] = []
        self._counted = 0
        self._turn = 0
        self._agreed: dict[int, list[str]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_out, name="agreement", daemon=True)
        self._thread.start()

    def ask(self, wish: str) -> None:
        """Ask for something; safe in a handler of signals."""
        self._wishes.append(wish)

    def count(self) -> list[str]:
        """Count a step; return what all processes are to do now."""
        with self._lock:
            self._counted += 1
            return self._agreed.pop(self._counted, [])

    def close(self, orderly: bool = True) -> None:
        """Look out no more.

        Args:
            orderly: all processes come here; else this one has failed, and waits for none.
        """
        if orderly:
            self._world.meet()  # until then others may ask for our count
        self._over.set()

    def _look_out(self) -> None:
        while not self._over.is_set():
            try:
                self._spread()
                wish = self._try(f"{self._place}/wish")
                if wish is not None:
                    with self._lock:
                        self._agree(wish)
            except RuntimeError:  # of a lost process, which the step finds out and tells
                return
            time.sleep(_POLL)

    @property
    def _place(self) -> str:
        return f"hornbeam/agreement/{self._turn}"

    def _spread(self) -> None:
        if self._wishes:
            with contextlib.suppress(RuntimeError):  # another process has asked first
                self._store.key_value_set(f"{self._place}/wish", self._wishes[0])

    def _try(self, key: str) -> Any:
        try:
            return self._store.key_value_try_get(key)
        except RuntimeError as error:
            if "NOT_FOUND" in str(error):
                return None
            raise

    def _agree(self, wish: str) -> None:
        place, size = self._place, self._world.size
        self._store.key_value_set(f"{place}/{self._world.rank}", str(self._counted))
        counts = [
            int(self._store.blocking_key_value_get(f"{place}/{rank}", 3_600_000))
            for rank in range(size)
        ]
        self._agreed.setdefault(max(counts) + 1, []).append(wish)
        self._turn += 1
        self._wishes[:] = [other for other in self._wishes if other != wish]
