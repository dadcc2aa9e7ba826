"""Curves as a picture, drawn by matplotlib, which is an extra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hornbeam.errors import ConfigError
from hornbeam.storage import replacing

_SUFFIXES = (".png", ".svg", ".pdf")


def require_plot(path: Path | None) -> None:
    """Check that a plot can be written, before any work is done for it.

    Raises:
        ConfigError: matplotlib is not installed, or the name is not of a kind that it writes.
    """
    if path is None:
        return
    if path.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"--plot should end in .png, .svg or .pdf (got '{path.name}').")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--plot needs matplotlib: pip install 'hornbeam[plot]', or leave --plot out for a table."
        ) from None


def write_plot(
    path: Path,
    x: Any,
    curves: Mapping[str, Any],
    *,
    labels: tuple[str, str],
    title: str,
    log_x: bool = False,
    marks: Sequence[tuple[float, float, str]] = (),
) -> None:
    """Write curves over one axis to a `.png`, `.svg` or `.pdf` file.

    Args:
        path: of the file.
        x: `[points]`.
        curves: `[points]` by name; a single one gets no legend.
        labels: of the axes.
        title: above the plot.
        log_x: make the horizontal axis logarithmic.
        marks: points, with a few words each.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for index, (name, values) in enumerate(curves.items()):
        # The last curve is the one that counts; those before it are its raw material.
        faint = index < len(curves) - 1
        axes.plot(x, values, label=name, linewidth=1 if faint else 2, alpha=0.5 if faint else 1)
    for index, (across, up, words) in enumerate(marks):
        axes.plot([across], [up], "o", color="black", markersize=5)
        # By turns below and above, so that the words of neighbours do not lie on each other.
        place = (6, -24 if index % 2 == 0 else 16)
        axes.annotate(words, (across, up), xytext=place, textcoords="offset points")
    if log_x:
        axes.set_xscale("log")
    axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
    axes.grid(alpha=0.3)
    if len(curves) > 1 or marks:
        axes.margins(y=0.15)
    if len(curves) > 1:
        axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary)
