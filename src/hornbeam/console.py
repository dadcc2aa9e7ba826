"""What a person sees while it works: a live line on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console


_WIDTH = 200
"""Columns of a table in a file or pipe, which gets whole lines; only a terminal has a width."""


class Advance(Protocol):
    """A function that reports progress."""

    def __call__(self, count: int, text: str = "") -> None:
        """Report `count` more done, and what to show beside the bar."""


_speaks = True


def be_silent() -> None:
    """Print nothing from now on: another process of the same training does."""
    global _speaks
    _speaks = False


def say(line: str) -> None:
    """Print one line."""
    if _speaks:
        _console().print(line, markup=False, highlight=False, soft_wrap=True)


def warn(line: str) -> None:
    """Print one line to stderr, marked as a warning."""
    if _speaks:
        _console(stderr=True).print(
            f"warning: {line}", markup=False, highlight=False, soft_wrap=True
        )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """Print a table; the first `left` columns are text, the others numbers, set to the right."""
    if not _speaks:
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(columns):
        grid.add_column(
            Text(name), justify="left" if index < left else "right", overflow="fold",
            no_wrap=index >= left,
        )  # fmt: skip
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    console = _console()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(grid)


@contextlib.contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a bar with the time left, on a terminal; elsewhere show nothing."""
    if not is_terminal():
        yield _ignore
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", markup=False),  # a metric may be called `[a]`
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(), transient=True, refresh_per_second=4) as bar:
        task = bar.add_task(description, total=total, text="")

        def advance(count: int, text: str = "") -> None:
            bar.update(task, advance=count)
            if text:
                bar.update(task, text=text)

        yield advance


def _ignore(count: int, text: str = "") -> None:
    """Report progress to nobody."""


def is_terminal() -> bool:
    """Whether a person watches: stdout is a terminal."""
    return _speaks and sys.stdout.isatty()


def _console(stderr: bool = False) -> Console:
    # Made anew each time, because tests and notebooks replace sys.stdout. Without emoji, as a file may
    # be called `a:cat:1.jpg`.
    from rich.console import Console

    return Console(stderr=stderr, emoji=False)
