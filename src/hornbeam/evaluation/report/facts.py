"""What a report tells of the pictures, of what the training cost, and of how to repeat it."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hornbeam.evaluation.report.content import Counts, ReportContent
from hornbeam.evaluation.report.curves import number
from hornbeam.evaluation.report.tables import named
from hornbeam.page import shown

_MANY = 60
"""Classes from which the table of counts is closed at first."""


def pictures(content: ReportContent, sizes: Sequence[tuple[int, int]]) -> str:
    """Return how many pictures there are of each split and class, and how large they are.

    Args:
        content: of the report.
        sizes: (height, width) of those that were looked at.
    """
    parts = []
    if content.skipped:
        parts.append(
            f"<p>{len(content.skipped):,} pictures could not be read and were left out.</p>"
        )
    if sizes:
        sides = sorted((height * width, height, width) for height, width in sizes)
        least, middle, most = sides[0], sides[len(sides) // 2], sides[-1]
        parts.append(
            f"<p>Sizes of the {len(sides)} pictures that this page looked at: "
            f"{least[2]}×{least[1]} to {most[2]}×{most[1]} pixels, the middle one "
            f"{middle[2]}×{middle[1]}.</p>"
        )
    if content.data and content.counts:
        parts.append(
            "<p>These are the pictures of the training; those that judge it here are others.</p>"
        )
    counts, sizes_of = content.counts, content.sizes
    if not counts:
        counts = _judged(content)
        sizes_of = {_splits(content) or "pictures": len(content.predictions)}
    for task, of_task in counts.items():
        heading = f"<h3>{shown(task)}</h3>" if len(counts) > 1 else ""
        parts.append(heading + _counts(of_task, sizes_of))
    return "".join(parts)


def cost(content: ReportContent) -> str:
    """Return what training and judging took."""
    rows = []
    seconds = training_seconds(content.events)
    if seconds:
        rows.append(("training", duration(seconds)))
    speeds = [number(row.get("pictures_per_second")) for row in content.curves]
    speeds = [speed for speed in speeds if speed > 0]
    if speeds:
        rows.append(("while training", f"{statistics.median(speeds):,.0f} pictures/s"))
    last = judging(content)
    if last.get("seconds"):
        speed = last.get("pictures", 0) * last.get("views", 1) / last["seconds"]
        rows.append(
            ("judging", f"{duration(last['seconds'])} for {last.get('pictures', 0):,} pictures, "
                        f"{speed:,.0f} pictures/s")
        )  # fmt: skip
    memory = [e["peak_memory"] for e in content.events if e.get("peak_memory")]
    if memory:
        rows.append(("most memory at a time", f"{max(memory) / 2**30:.2f} GiB"))
    environment = content.environment
    machine = [
        str(environment.get("device", "")),
        f"{environment['cores']} cores" if "cores" in environment else "",
        str(environment.get("backend", "")),
        str(environment.get("platform", "")),
    ]
    if any(machine):
        rows.append(("machine", ", ".join(filter(None, machine))))
    if not rows:
        return "<p>Nothing was noted.</p>"
    return table(rows)


def options(content: ReportContent) -> str:
    """Return the options of the training, and the command that repeats it."""
    config = "\n".join(f"{key}: {_plain(value)}" for key, value in content.config.items())
    versions = content.environment.get("versions", {})
    parts = []
    if content.command:
        words = ["hornbeam", *map(str, content.command[1:])]
        parts.append(f"<p>It was trained by</p><pre>{shown_lines(shlex.join(words))}</pre>")
    if config:
        parts += [
            "<p>To repeat the run, whatever the defaults will be: <code>hornbeam train --config "
            "config.yaml</code>, with the file of the run's folder.</p>",
            f"<details><summary>All {len(content.config)} options</summary>"
            f"<pre>{shown_lines(config)}</pre></details>",
        ]
    if versions:
        told = "\n".join(f"{name} {version}" for name, version in versions.items())
        python = f"Python {content.environment.get('python', '')}\n"
        parts.append(
            f"<details><summary>Versions</summary><pre>{shown_lines(python + told)}</pre></details>"
        )
    return "".join(parts) or "<p>The options were not kept.</p>"


def training_seconds(events: Sequence[Mapping[str, Any]]) -> float:
    """Return how long a training took, in all its sessions, by the lines of its log."""
    total, begun, last = 0.0, None, 0.0
    for event in events:
        time, kind = event.get("time"), event.get("event")
        if not isinstance(time, (int, float)):
            continue
        if kind == "start":
            total += last - begun if begun is not None else 0.0
            begun = last = time
        elif kind in ("validation", "checkpoint", "end", "stopped") and begun is not None:
            last = time
    return total + (last - begun if begun is not None else 0.0)


def duration(seconds: float) -> str:
    """Return a time in words, in the two units that matter."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Return pairs of plain texts as a table."""
    lines = "".join(f"<tr><td>{shown(name)}<td class=words>{shown(v)}" for name, v in rows)
    return f"<div class=scroll><table>{lines}</table></div>"


def shown_lines(text: str) -> str:
    """Return several lines of plain text as HTML."""
    return "\n".join(map(shown, text.split("\n")))


def judging(content: ReportContent) -> Mapping[str, Any]:
    """Return what the log tells of the judging that is shown: the last of these very splits.

    None is told of other pictures than the run's, whose judging is not in its log.
    """
    splits, pictures = set(content.predictions.dataset.splits), len(content.predictions)
    found = (
        event
        for event in reversed([] if content.data else content.events)
        if event.get("event") == "evaluation"
        and event.get("pictures") == pictures
        and set(event.get("splits") or ()) == splits
    )
    return next(found, {})


def _splits(content: ReportContent) -> str:
    """Return the names of the splits that judge."""
    return " and ".join(filter(None, content.predictions.dataset.splits))


def _judged(content: ReportContent) -> Counts:
    """Return the counts of the pictures that judge, where those of the training are not known."""
    return {
        scores.task.name: {
            _splits(content) or "pictures": {c.name: c.recall.trials for c in scores.classes}
        }
        for scores in content.scores
    }


def _counts(counts: Mapping[str, Mapping[str, int]], sizes: Mapping[str, int]) -> str:
    """Return the pictures of each class in each split as a table with bars.

    Args:
        counts: of the classes, by split. Their sum is not the number of pictures, of which some have
            several labels or none.
        sizes: all pictures of each split, where that is known.
    """
    classes = list(dict.fromkeys(name for split in counts.values() for name in split))
    largest = max((n for split in counts.values() for n in split.values()), default=0) or 1
    head = "".join(f"<th>{shown(split)}" for split in counts)
    every = "".join(f"<td>{sizes[split]:,}" if split in sizes else "<td>" for split in counts)
    foot = f"<tfoot><tr><td>all pictures{every}<td></tfoot>" if set(counts) & set(sizes) else ""
    first = next(iter(counts), "")
    body = "".join(
        f"<tr><td>{named(name)}"
        + "".join(f"<td>{split.get(name, 0):,}" for split in counts.values())
        + f'<td><span class=amount style="width:{counts[first].get(name, 0) / largest:.0%}"></span>'
        for name in classes
    )
    made = (
        "<div class='scroll tall' tabindex=0><table class='counts sortable'><thead><tr><th>class"
        f"{head}<th></thead><tbody>{body}</tbody>{foot}</table></div>"
    )
    if len(classes) <= _MANY:
        return made
    few = sum(1 for n in counts[first].values() if n < 10)
    said = f"{len(classes)} classes"
    said += f", {sizes[first]:,} pictures in {shown(first)}" if first in sizes else ""
    said += f"; {few} classes have fewer than 10 pictures there" if few else ""
    return f"<details><summary>{said}</summary>{made}</details>"


def _plain(value: Any) -> str:
    """Return a value of the configuration as it stands in the file."""
    import json

    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)
