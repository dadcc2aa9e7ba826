"""What workers print: a file each, beside the run until there is one, then in it."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import time
from pathlib import Path

from hornbeam.cluster.starting.starter import Host

_FOLDER = "workers"


class Logs:
    """The files `RUN/workers/RANK-HOST.log`; any thread may write.

    A run wants a free place to begin at, so until it is there they are in `RUN.workers/`.

    Args:
        run: directory of the run, which need not exist.
        inside: whether it is there already, and goes on.
    """

    def __init__(self, run: Path, *, inside: bool) -> None:
        self._run = run
        self._lock = threading.Lock()
        self.folder = run / _FOLDER if inside else run.with_name(f"{run.name}.{_FOLDER}")

    def write(self, rank: int, host: Host, line: str) -> None:
        """Add a line to the file of a worker; a full disk is no reason to stop it."""
        with self._lock, contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r"[^\w.-]", "_", host.address)
            with (self.folder / f"{rank}-{name}.log").open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def begin(self, rank: int, host: Host, command: str) -> None:
        """Note that a worker starts."""
        self.write(rank, host, f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {command}")

    def move_into_run(self) -> None:
        """Move the files into the run, which is there now."""
        inside = self._run / _FOLDER
        with self._lock, contextlib.suppress(OSError):
            if self.folder == inside or not self.folder.is_dir():
                self.folder = inside
                return
            inside.mkdir(exist_ok=True)
            for path in self.folder.iterdir():
                with (inside / path.name).open("ab") as file:
                    file.write(path.read_bytes())
            shutil.rmtree(self.folder)
            self.folder = inside

    def forget(self) -> None:
        """Remove the files, if there is no run that they belong to."""
        with self._lock:
            if self.folder != self._run / _FOLDER:
                shutil.rmtree(self.folder, ignore_errors=True)
