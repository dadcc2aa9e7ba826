"""The report of a run: one HTML file that needs nothing outside it.

All text that comes from pictures, folders and options is escaped: a class may be called
`<script>`.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hornbeam.data.dataset import Task
from hornbeam.errors import HornbeamError
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.shares import Estimate, Share, number
from hornbeam.evaluation.statistics import Scores
from hornbeam.measures import parse_measure
from hornbeam.page import page, thumbnail
from hornbeam.storage import read_rows, write_text

_MISTAKES = 24
"""Thumbnails of the most confident mistakes."""

_MOST_CELLS = 40
"""Classes up to which the confusion matrix is drawn."""

_SHARES = ("accuracy", "top_", "precision", "recall", "f1", "auc", "sensitivity")
"""Parts of the names of metrics whose curves are drawn from 0 to 1."""

_MEANINGS = {
    "top": "the class is among that many most probable ones",
    "precision": "right answers among those of a class",
    "recall": "a class's pictures that were named right",
    "f1": "harmonic mean of those two",
    "auc": "chance that a picture of a class gets more of its probability than another picture",
    "average_precision": "mean precision, as the pictures of a class are found one by one",
    "sensitivity_at_specificity": "recall, by the threshold that leaves out that share of the others",
}


def write_report(
    path: Path, name: str, config: dict[str, Any], predictions: Predictions,
    all_scores: list[Scores], metrics_file: Path,
) -> None:  # fmt: skip
    """Write the page.

    Args:
        path: of the HTML file.
        name: of the run.
        config: its options.
        predictions: of the pictures that judge.
        all_scores: of every task.
        metrics_file: `metrics.csv` of the training.
    """
    splits = " and ".join(predictions.dataset.splits) or "given"
    parts = [f"<h1>{escape(name)}</h1>"]
    for scores in all_scores:
        several = f" ({escape(scores.task.name)})" if len(all_scores) > 1 else ""
        parts += [
            f"<p><strong>{scores.accuracy.value:.1%} of {scores.accuracy.trials} {escape(splits)} "
            f"pictures were named right{' in every label' if scores.task.multi_label else ''}{several}."
            f"</strong> {escape(scores.advice)}"
            f"{_optimism(splits)}</p>",
            f"<h2>Over all classes{several}</h2>{_measures(scores)}",
            f"<h2>Classes{several}</h2>{_classes(scores)}",
            _confusion(scores, f"Confusion{several}"),
            _groups(scores, several),
            f"<h2>Most confident mistakes{several}</h2>{_mistakes(predictions, scores)}",
        ]
    parts += [f"<h2>Training</h2>{_curves(metrics_file)}", f"<h2>Options</h2>{_options(config)}"]
    write_text(path, page(name, "".join(parts)))


def _optimism(splits: str) -> str:
    if "validation" not in splits:
        return ""
    return (
        " The validation pictures also chose the best epoch, so the accuracy on new pictures is "
        "likely a little lower; a test folder would tell."
    )


def _measures(scores: Scores) -> str:
    rows = ""
    for name, estimate in scores.measures.items():
        low, high = estimate.interval
        between = "" if math.isnan(low) else f"({low:.3f} to {high:.3f})"
        rows += (
            f"<tr><td>{name}<td>{number(estimate.value)}<td class=soft>{between}"
            f"<td>{_bar(estimate)}<td class=words>{_MEANINGS[parse_measure(name).kind]}</tr>"
        )
    return (
        "<p class=soft>Means over the classes that have pictures, each of which counts alike. Names are "
        "those of <code>--metrics</code>.</p>"
        f"<div class=scroll><table class=scores>{rows}</table></div>"
    )


def _groups(scores: Scores, several: str) -> str:
    """The same question, asked of groups of classes."""
    groups = scores.groups
    if groups is None:
        return ""
    accuracy = groups.accuracy
    return (
        f"<h2>Groups of classes{several}</h2><p><strong>The group of {accuracy.value:.1%} of "
        f"{accuracy.trials} pictures was named right.</strong> The probability of a group is the sum of "
        f"those of its classes.</p>{_table(groups, 'group')}{_confusion(groups, '')}"
    )


def _classes(scores: Scores) -> str:
    return (
        "<p class=soft>Recall: share of a class's pictures that were named right. Precision: share of "
        "the answers of that name that were right. F1: their harmonic mean. AUC: area under the "
        "receiver operating characteristic, of this class against all others. AP: average precision. "
        f"Bars show 95 % intervals.</p>{_table(scores, 'class')}"
    )


def _table(scores: Scores, head: str) -> str:
    rows = ""
    for c in scores.classes:
        low, high = c.ranking.auc.interval
        rows += (
            f"<tr><td>{escape(c.name)}<td>{c.recall.trials}<td>{_interval(c.recall)}"
            f"<td>{_interval(c.precision)}<td>{number(c.f1)}"
            f'<td title="{low:.3f} to {high:.3f}">{number(c.ranking.auc.value)}'
            f"<td>{number(c.ranking.average_precision)}</tr>"
        )
    names = "".join(
        f"<th>{name}" for name in (head, "pictures", "recall", "precision", "F1", "AUC", "AP")
    )
    return f"<div class=scroll><table class=scores><tr>{names}</tr>{rows}</table></div>"


def _interval(share: Share) -> str:
    if not share.trials:
        return "–"
    low, high = share.interval
    return f"{share.value:.1%} <span class=soft>({low:.1%} to {high:.1%})</span> {_bar(share)}"


def _bar(estimate: Estimate) -> str:
    low, high = estimate.interval
    if math.isnan(low) or math.isnan(estimate.value):
        return ""
    return (
        f'<span class=bar><i style="left:{low:.1%};width:{high - low:.1%}"></i>'
        f'<b style="left:{estimate.value * 0.98:.1%}"></b></span>'
    )


def _confusion(scores: Scores, title: str) -> str:
    if scores.confusion is None:
        return ""
    heading = f"<h2>{title}</h2>" if title else ""
    return heading + _matrix(scores)


def _matrix(scores: Scores) -> str:
    names, matrix = scores.task.classes, scores.confusion
    assert matrix is not None
    if len(names) > _MOST_CELLS:
        return f"<p>The matrix of {len(names)} classes is too large to draw.</p>{_pairs(scores)}"
    head = "".join(f"<th>{escape(name)}" for name in names)
    body = ""
    for i, name in enumerate(names):
        total = max(1, int(matrix[i].sum()))
        cells = ""
        for j, count in enumerate(matrix[i].tolist()):
            colour = "var(--leaf)" if i == j else "var(--clay)"
            strength = round(80 * count / total + 12 * (count > 0))
            cells += (
                f'<td style="background:color-mix(in srgb,{colour} {strength}%,transparent)" '
                f'title="{escape(name)} named {escape(names[j])}">{count or ""}'
            )
        body += f"<tr><th>{escape(name)}{cells}</tr>"
    return (
        "<p class=soft>Rows: what it is. Columns: what it was named.</p><div class=scroll>"
        f"<table class=matrix><tr><th>{head}</tr>{body}</table></div>"
    )


def _pairs(scores: Scores, count: int = 20) -> str:
    """The most frequent confusions, in words."""
    assert scores.confusion is not None
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    names = scores.task.classes
    rows = "".join(
        f"<tr><td>{escape(names[i])} named {escape(names[j])}<td>{wrong[i, j]}</tr>"
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    )
    return f"<table>{rows}</table>"


def _mistakes(predictions: Predictions, scores: Scores) -> str:
    task = scores.task
    labels, predicted = predictions.dataset.labels(task), predictions.predicted(task)
    probabilities = predictions.probabilities(task)
    if task.multi_label:  # how far the worst label of a picture is off
        confidence = np.abs(labels - probabilities).max(axis=1)
        wrong = np.flatnonzero((labels != predicted).any(axis=1))
    else:
        confidence = probabilities.max(axis=1)
        wrong = np.flatnonzero((labels != predicted) & (labels >= 0))
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
    if not len(worst):
        return "<p>There are none.</p>"
    figures = "".join(
        f"<figure>{_thumbnail(predictions, int(row))}<figcaption>"
        f"<b>{escape(_in_words(task, labels[row]))}</b>, named "
        f"<b>{escape(_in_words(task, predicted[row]))}</b> ({confidence[row]:.0%})<br>"
        f"<span class=soft>{escape(predictions.dataset.paths[row])}</span></figcaption></figure>"
        for row in worst
    )
    return f"<p class=soft>{len(wrong)} in all.</p><div class=shots>{figures}</div>"


def _in_words(task: Task, label: Any) -> str:
    if not task.multi_label:
        return task.classes[int(label)]
    names = [name for name, mark in zip(task.classes, label, strict=True) if mark]
    return ", ".join(names) or "nothing"


def _thumbnail(predictions: Predictions, row: int) -> str:
    try:
        pixels = predictions.dataset.decode(row, predictions.dataset.read(row))
    except HornbeamError:
        return "<p class=soft>(the picture is gone)</p>"
    return thumbnail(pixels)


def _curves(metrics_file: Path) -> str:
    """Loss and accuracy against the step, as drawings."""
    if not metrics_file.is_file():
        return "<p>There are no curves.</p>"
    rows = read_rows(metrics_file)
    if len(rows) < 2:
        return "<p>There are no curves: the head was solved at once.</p>"
    names = [name for name in rows[0] if f"val_{name}" in rows[0] and "cross_entropy" not in name]
    steps = [float(row["step"]) for row in rows]
    return "".join(
        _plot(name, steps, [float(r[name]) for r in rows], [float(r[f"val_{name}"]) for r in rows])
        for name in names
    )


def _plot(name: str, steps: list[float], training: list[float], validation: list[float]) -> str:
    width, height, margin = 460, 220, 44
    finite = [v for v in training + validation if math.isfinite(v)] or [0.0]
    low, high = min(0.0, *finite), max(*finite, 1e-9)
    high = 1.0 if high <= 1 and any(word in name for word in _SHARES) else high

    def place(step: float, value: float) -> str:
        x = margin + (width - 2 * margin) * step / steps[-1]
        y = height - margin + (2 * margin - height) * (value - low) / (high - low)
        return f"{x:.1f},{y:.1f}"

    def line(values: list[float], colour: str) -> str:
        points = [place(s, v) for s, v in zip(steps, values, strict=True) if math.isfinite(v)]
        dots = "".join(
            '<circle cx="{}" cy="{}" r="2.5"/>'.format(*point.split(",")) for point in points
        )
        return (
            f'<g fill="{colour}"><polyline points="{" ".join(points)}" fill="none" '
            f'stroke="{colour}" stroke-width="2"/>{dots}</g>'
        )

    ticks = "".join(
        f'<text x="{margin - 6}" y="{float(place(0, v).split(",")[1]) + 4}" text-anchor="end">{v:.3g}'
        f'</text><line x1="{margin}" x2="{width - margin}" y1="{place(0, v).split(",")[1]}" '
        f'y2="{place(0, v).split(",")[1]}" stroke="var(--line)"/>'
        for v in np.linspace(low, high, 5).tolist()
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" font-size="12" fill="var(--soft)" '
        f'role="img" aria-label="{escape(name)}"><text x="{margin}" y="20" font-size="14" '
        f'fill="var(--ink)">{escape(name)}</text>'
        f'<text x="{width - margin}" y="20" text-anchor="end" fill="var(--leaf)">validation</text>'
        f'<text x="{width - margin - 75}" y="20" text-anchor="end" fill="var(--clay)">training</text>'
        f"{ticks}{line(training, 'var(--clay)')}{line(validation, 'var(--leaf)')}"
        f'<text x="{width - margin}" y="{height - 16}" text-anchor="end">step {steps[-1]:.0f}</text>'
        "</svg>"
    )


def _options(config: dict[str, Any]) -> str:
    lines = "\n".join(f"{key}: {value}" for key, value in config.items())
    return (
        "<p class=soft>To repeat the run: <code>hornbeam train --config config.yaml</code>, with the "
        f"file of the run's folder.</p><pre>{escape(lines)}</pre>"
    )
