"""The command that trains with many values of options, and compares."""

from __future__ import annotations

from pathlib import Path

from hornbeam import resuming
from hornbeam.config import SearchOptions
from hornbeam.evaluation.scoring.shares import Share
from hornbeam.runs import name_of


def search(options: SearchOptions) -> int:
    """Train with many values of options, and compare; return the exit code: it may be stopped."""
    from hornbeam.search import workers

    given = {k: v for k, v in resuming.repeatable(options).items() if k in options.model_fields_set}
    directory = options.run or Path("runs") / f"{name_of(options.data)}-search"
    try:
        return workers.search(options, given, directory, lambda n, of: Share(n, of).interval)
    except OSError as error:
        error.filename = error.filename or str(directory)  # a full disk names no file
        raise
