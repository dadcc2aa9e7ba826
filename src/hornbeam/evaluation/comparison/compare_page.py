"""A page about models beside each other: what differs, in which classes, and the pictures themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hornbeam import backend
from hornbeam.data.dataset import Dataset
from hornbeam.errors import HornbeamError
from hornbeam.evaluation.comparison.compare import (
    GAINED,
    LOST,
    OTHER_WRONG,
    ClassDifference,
    Comparison,
)
from hornbeam.evaluation.comparison.compare_words import (
    changes_in_words,
    classes_in_words,
    conclusion,
    difference_in_words,
    models_of,
    p_in_digits,
    points,
    said_of,
    truths_of,
)
from hornbeam.evaluation.comparison.differences import LOWER_IS_BETTER, Difference
from hornbeam.evaluation.predictions import Predictions
from hornbeam.evaluation.scoring.meanings import meaning_of
from hornbeam.page import page, shown, thumbnail
from hornbeam.storage import write_text

_PICTURES = 24
"""Thumbnails of each kind of change."""

_CONFUSIONS = 12
"""Pairs of classes that are listed in each direction."""

_SIDE = 144
"""Of a thumbnail, in pixels."""

_STYLE = """
.span { position: relative; display: inline-block; width: 9rem; height: 1rem; vertical-align: middle;
  background: linear-gradient(var(--line),var(--line)) center/100% 1px no-repeat; }
.span i { position: absolute; top: .4rem; height: .2rem; background: var(--soft); }
.span i.up { background: var(--leaf); } .span i.down { background: var(--clay); }
.span b { position: absolute; top: .2rem; width: .5rem; height: .5rem; margin-left: -.3rem;
  border: 1.5px solid var(--ink); border-radius: 50%; background: var(--paper); }
.span b.now { background: var(--ink); }
.span u { position: absolute; top: 0; left: 50%; width: 1px; height: 1rem; background: var(--soft); }
.up { color: var(--leaf); } .down { color: var(--clay); }
td.up, td.down { font-weight: 600; }
figcaption b { overflow-wrap: anywhere; } .pairs { display: flex; flex-wrap: wrap; gap: 0 3rem; }
.pairs td:first-child { white-space: normal; overflow-wrap: anywhere; }
td.words { min-width: 11rem; }
@media (max-width: 40rem) { .span { width: 5rem; } .scores th, .scores td { padding: .25rem .3rem; }
  .wide, td.words { display: none; } }
h3 { margin: 1.6rem 0 .4rem; } ul.found { padding-left: 1.2rem; }
"""


def write_compare_page(
    path: Path, comparisons: Sequence[Comparison], predictions: Sequence[Predictions],
    names: Sequence[str], basis: str,
) -> None:  # fmt: skip
    """Write the page: one file that needs nothing outside it.

    Args:
        path: of the HTML file.
        comparisons: of every task, and of every model with the first.
        predictions: of the models.
        names: of the models.
        basis: a sentence on the pictures that were compared on.
    """
    several = len(comparisons) > 1
    parts = [f"<h1>{shown(' and '.join(names[1:]))} beside {shown(names[0])}</h1>"]
    if several:
        items = "".join(
            f"<li><a href='#c{i}'>{shown(_title(c, comparisons))}</a>: {shown(conclusion(c))}"
            for i, c in enumerate(comparisons)
        )
        parts.append(f"<ul class=found>{items}</ul>{_models(comparisons)}")
    for i, comparison in enumerate(comparisons):
        heading = f"<h2 id=c{i}>{shown(_title(comparison, comparisons))}</h2>" if several else ""
        second = predictions[names.index(comparison.names[1])]
        parts.append(heading + _one(comparison, predictions[0], second, several))
    parts.append(
        f"<h2>What this rests on</h2><p>{shown(basis)} Both models were asked about the same pictures, "
        "so only those count that one of them alone names right. P values of accuracies are of "
        "McNemar's test (mid-p; of groups, of the exact sign-flip test), their intervals of Tango's "
        "score; p values of classes are corrected for their number by Holm's method. The comparison is "
        "of these very models: one that is trained anew from another seed is another model.</p>"
    )
    write_text(path, page("Comparison", "".join(parts), style=_STYLE))


def _title(comparison: Comparison, all_of_them: Sequence[Comparison]) -> str:
    """Return the model, the task, or both: what tells comparisons apart."""
    tasks = {c.task.name for c in all_of_them}
    models = {c.names[1] for c in all_of_them}
    told = [comparison.names[1]] * (len(models) > 1) + [comparison.task.name] * (len(tasks) > 1)
    return ", ".join(told) or comparison.names[1]


def _one(comparison: Comparison, first: Predictions, second: Predictions, several: bool) -> str:
    if not comparison.pictures:
        return f"<p>{shown(conclusion(comparison))}</p>"
    said = "" if several else f"<p><strong>{shown(conclusion(comparison))}</strong></p>"
    return "".join([
        said,
        f"<p>{changes_in_words(comparison)} {shown(classes_in_words(comparison))}</p>",
        f"<h3>Over all</h3>{_measures(comparison)}",
        f"<h3>{'Marks' if comparison.task.multi_label else 'Classes'}</h3>{_classes(comparison)}",
        _confusions(comparison),
        *(_changed(comparison, change, words, first, second) for change, words in (
            (LOST, "Right before, wrong now"), (GAINED, "Wrong before, right now"),
            (OTHER_WRONG, "Wrong before, wrong in another way now"),
        )),
    ])  # fmt: skip


def _models(comparisons: Sequence[Comparison]) -> str:
    """Tell the accuracy of every model."""
    tables = ""
    for task in dict.fromkeys(c.task for c in comparisons):
        rows = "".join(
            f"<tr><td>{shown(name)}<td>{share}</tr>" for name, share in models_of(comparisons, task)
        )
        tables += f"<tr><th>{shown(task.name)}<th>accuracy (95 %)</tr>{rows}"
    return f"<div class=scroll><table class=scores>{tables}</table></div>"


def _measures(comparison: Comparison) -> str:
    measures = {"accuracy": comparison.accuracy, **comparison.measures}
    ends = [abs(e) for d in measures.values() for e in (d.low, d.high) if math.isfinite(e)]
    widest = max([*ends, 1e-9])
    # Of the accuracy there is a test, which may see less than the end of its interval.
    tinted = {name: _sense(d, name) for name, d in measures.items()}
    if not comparison.shown:
        tinted["accuracy"] = ""
    rows = "".join(
        f"<tr><td>{name}<td>{first}<td>{second}<td class='{tinted[name]}'>{value}"
        f"<td class=soft>{between}<td>{_reach(difference, widest)}"
        f"<td class=words>{meaning_of(name)}"
        for name, difference in measures.items()
        for first, second, value, between in [difference_in_words(difference)]
    )
    head = "".join(f"<th>{shown(n)}" for n in ("", *comparison.names, "difference", "95 %"))
    return f"<div class=scroll><table class=scores><tr>{head}<th><th></tr>{rows}</table></div>"


def _classes(comparison: Comparison) -> str:
    marks = comparison.task.multi_label
    what = (
        "pictures on which the mark is right"
        if marks
        else "a class's pictures that were named right"
    )
    rows = "".join(_class(c) for c in comparison.classes if c.pictures)
    names = [shown(name) for name in comparison.names]
    head = "".join(
        f"<th{' class=wide' if n in ('pictures', 'precision') else ''}>{n}"
        for n in ("class", "pictures", "", *names, "difference", "95 %", "p", "precision")
    )
    missing = sum(not c.pictures for c in comparison.classes)
    none = f" {missing} classes have no picture here." if missing else ""
    return (
        f"<p class=soft>Share of {what}: hollow, {names[0]}; filled, {names[1]}. P values are corrected "
        f"for the number of classes, and differences in colour are shown beyond chance.{none}</p>"
        f"<div class=scroll><table class=scores><tr>{head}</tr>{rows}</table></div>"
    )


def _class(c: ClassDifference) -> str:
    first, second = (f"{share:.1%}" for share in (c.right.first, c.right.second))
    precision = " to ".join("–" if math.isnan(p) else f"{p:.1%}" for p in c.precision)
    sense = ("up" if c.right.value > 0 else "down") if c.shown else ""
    return (
        f"<tr><td>{shown(c.name)}<td class=wide>{c.pictures}<td>{_dumbbell(c.right)}<td>{first}"
        f"<td>{second}<td class='{sense}'>{points(c.right.value)}<td class=soft>{points(c.right.low)} "
        f"to {points(c.right.high)}<td>{escape(p_in_digits(c.p_value))}"
        f"<td class='soft wide'>{precision}</tr>"
    )


def _dumbbell(difference: Difference) -> str:
    """Draw two shares on a line from 0 to 1."""
    low, high = sorted((difference.first, difference.second))
    sense = "up" if difference.value > 0 else "down"
    return (
        f'<span class=span><i class={sense} style="left:{low:.1%};width:{high - low:.1%}"></i>'
        f'<b style="left:{difference.first:.1%}"></b>'
        f'<b class=now style="left:{difference.second:.1%}"></b></span>'
    )


def _reach(difference: Difference, widest: float) -> str:
    """Draw the interval of a difference around 0, in the middle."""
    if math.isnan(difference.low):
        return ""
    left, right, at = (
        0.5 + 0.5 * x / widest for x in (difference.low, difference.high, difference.value)
    )
    return (
        f'<span class=span><u></u><i style="left:{left:.1%};width:{right - left:.1%}"></i>'
        f'<b class=now style="left:{at:.1%}"></b></span>'
    )


def _sense(difference: Difference, name: str) -> str:
    if not difference.shown:
        return ""
    return "up" if (difference.value > 0) != (name in LOWER_IS_BETTER) else "down"


def _confusions(comparison: Comparison) -> str:
    """List the pairs of classes that are confused more often, and less often."""
    if comparison.confusions is None:
        return ""
    change = comparison.confusions.copy()
    np.fill_diagonal(change, 0)
    names = comparison.task.classes
    parts = []
    for sign, words in ((-1, "Less often"), (1, "More often")):
        order = np.argsort(-sign * change, axis=None, kind="stable")[:_CONFUSIONS]
        rows = "".join(
            f"<tr><td>{shown(names[i])} named {shown(names[j])}<td>{change[i, j]:+d}</tr>"
            for i, j in zip(*np.unravel_index(order, change.shape), strict=True)
            if sign * change[i, j] > 0
        )
        if rows:
            parts.append(f"<div><p class=soft>{words}</p><table>{rows}</table></div>")
    if not parts:
        return ""
    return f"<h3>Confusions</h3><div class=pairs>{''.join(parts)}</div>"


def _changed(
    comparison: Comparison, change: int, words: str, first: Predictions, second: Predictions
) -> str:
    rows = comparison.rows[comparison.changes == change]
    heading = f"<h3>{words}: {len(rows)}</h3>"
    if not len(rows):
        return heading + "<p class=soft>There are none.</p>"
    chosen = rows[np.argsort(-_size(comparison, rows, first, second), kind="stable")[:_PICTURES]]
    task, dataset = comparison.task, first.dataset.take(chosen)
    said = [said_of(model, task, chosen) for model in (first, second)]
    truths = truths_of(dataset, task)
    figures = ""
    for i, image in enumerate(_thumbnails(dataset)):
        figures += (
            f"<figure>{image}<figcaption><b>{shown(truths[i])}</b>:<br>{shown(said[0][i])}, then "
            f"{shown(said[1][i])}<br><span class=soft>{shown(dataset.paths[i])}</span>"
            "</figcaption></figure>"
        )
    less = f"<p class=soft>The {len(chosen)} with the largest change of probability.</p>"
    return heading + (less if len(chosen) < len(rows) else "") + f"<div class=shots>{figures}</div>"


def _size(
    comparison: Comparison, rows: NDArray[np.int64], first: Predictions, second: Predictions
) -> NDArray[np.float64]:
    """Return how much the models differ about each picture, in the probability of its label."""
    task = comparison.task
    both = [model.take(rows).probabilities(task) for model in (first, second)]
    change = np.abs(both[1].astype(np.float64) - both[0])
    if task.multi_label:
        return np.asarray(change.sum(axis=1))
    labels = first.dataset.labels(task)[rows]
    return np.asarray(change[np.arange(len(rows)), labels])


def _thumbnails(dataset: Dataset) -> list[str]:
    """Return an image of every picture; a few words where it is gone."""

    def make(row: int) -> str:
        try:
            return thumbnail(dataset.preview(row, _SIDE)[0], _SIDE)
        except (HornbeamError, OSError):
            return "<p class=soft>(the picture is gone)</p>"

    with ThreadPoolExecutor(backend.cores()) as pool:
        return list(pool.map(make, range(len(dataset))))
