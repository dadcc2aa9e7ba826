"""The page: its parts in their order, one HTML file that needs nothing outside it.

All text that comes from pictures, folders and options is escaped: a class may be called `<script>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam.evaluation.judged import Judged
from hornbeam.evaluation.labels.labels_file import Suspect
from hornbeam.evaluation.report import facts, looks, tables, words
from hornbeam.evaluation.report.cells import (
    Cells,
    Names,
    cells_for_script,
    find_cells,
    want_pictures,
)
from hornbeam.evaluation.report.confusion import confusion
from hornbeam.evaluation.report.content import ReportContent
from hornbeam.evaluation.report.curves import curves
from hornbeam.evaluation.report.pictures import MOST, Shots
from hornbeam.evaluation.report.trust import trust as trust_section
from hornbeam.evaluation.scoring.scores import Scores
from hornbeam.evaluation.trust.measuring import Trust
from hornbeam.page import json_block, page, printable, shown
from hornbeam.storage import write_text

_SHOWN = 24
"""Thumbnails of the most confident mistakes, of the most uncertain answers, and of suspects."""


class Part(NamedTuple):
    """A section of the page: its place in links, its heading and its HTML."""

    name: str
    heading: str
    body: str


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report, whole or not at all."""
    write_text(path, make_report(content))


def make_report(content: ReportContent) -> str:
    """Return the report as one HTML page.

    What is shown is chosen first, so that all thumbnails can be decoded together.
    """
    shots = Shots(content.predictions.dataset, content.pictures)
    chosen = [_choose(content, scores, shots, len(content.scores)) for scores in content.scores]
    suspects = _want_suspects(content, shots)
    paths = content.predictions.dataset.paths
    for of_task in chosen:
        if of_task.cells is not None:
            want_pictures(of_task.cells, of_task.answers, shots, paths, MOST)
    shots.decode()

    names = Names()
    parts = [Part("summary", "Summary", words.summary(content, [c.trust for c in chosen]))]
    for number, of_task in enumerate(chosen):
        parts += _of_task(content, of_task, number, shots, names)
    parts += [
        Part("suspects", "Suspected labels", _suspects(content, suspects, shots)),
        Part("looks", "Where the model looks", looks.looks(content.explanations)),
        Part("curves", "Training", curves(content.curves)),
        Part("pictures", "Pictures", facts.pictures(content, shots.sizes)),
        Part("cost", "Cost", facts.cost(content)),
        Part("options", "How to repeat it", facts.options(content)),
    ]
    parts = [part for part in parts if part.body]
    data = _for_script(chosen, names, shots, paths)
    here = Path(__file__)
    return page(
        content.name,
        f"<h1>{shown(content.name)}</h1>{_judged_on(content)}{_contents(parts)}"
        + "".join(map(_section, parts))
        + json_block("cells", data),
        style=here.with_name("report.css").read_text(encoding="utf-8"),
        script=here.with_name("report.js").read_text(encoding="utf-8"),
    )


class _Chosen(NamedTuple):
    """What is shown of a task."""

    scores: Scores
    answers: Judged
    cells: Cells | None
    mistakes: list[int]
    uncertain: list[int]
    trust: Trust | None


def _choose(content: ReportContent, scores: Scores, shots: Shots, tasks: int) -> _Chosen:
    """Choose the pictures to show of a task, and ask for them."""
    answers = Judged.of(content.predictions, scores.task)
    mistakes = answers.mistakes()[:_SHOWN].tolist()
    uncertain = [row for row in answers.uncertain()[: 2 * _SHOWN].tolist() if row not in mistakes]
    uncertain = uncertain[:_SHOWN]
    for row in (*mistakes, *uncertain):
        shots.want(content.predictions.dataset.paths[row])
    cells = None if scores.confusion is None else find_cells(answers, Names().free // tasks)
    trust = content.trust.get(scores.task.name)
    return _Chosen(scores, answers, cells, mistakes, uncertain, trust)


def _of_task(
    content: ReportContent, chosen: _Chosen, number: int, shots: Shots, names: Names
) -> list[Part]:
    """Return the sections about one task."""
    scores, answers = chosen.scores, chosen.answers
    several = f" ({scores.task.name})" if len(content.scores) > 1 else ""
    groups = ""
    if scores.groups is not None:
        accuracy = scores.groups.accuracy
        groups = (
            f"<p><strong>The group of {accuracy.value:.1%} of {accuracy.trials} pictures was named "
            "right.</strong> The probability of a group is the sum of those of its classes.</p>"
            f"{tables.class_table(scores.groups, 'group')}"
            f"{confusion(scores.groups, number, clickable=False)}"
        )
    mistakes = [
        shots.figure(
            content.predictions.dataset.paths[row],
            f"<b>{shown(answers.label_in_words(row))}</b>, named "
            f"<b>{shown(answers.answer_in_words(row))}</b> ({answers.confidence[row]:.0%})",
            names.number(content.predictions.dataset.paths[row]),
        )
        for row in chosen.mistakes
    ]
    wrong = int(answers.wrong.sum())
    told = f"<p class=soft>{wrong:,} in all; these are those that it was surest of.</p>"
    if answers.task.multi_label:
        told = (
            f"<p class=soft>{wrong:,} in all; these have a label that is furthest off, by as much as "
            "the percentage says.</p>"
        )
    shown_mistakes = f"{told}<div class=shots>{''.join(mistakes)}</div>"
    return [
        Part(f"classes-{number}", f"Classes{several}", tables.class_table(scores)),
        Part(f"confusion-{number}", f"Confusion{several}", confusion(scores, number)),
        Part(
            f"trust-{number}", f"Can one trust its probabilities?{several}",
            trust_section(chosen.trust) if chosen.trust else "",
        ),
        Part(f"measures-{number}", f"Over all classes{several}", tables.measures(scores)),
        Part(f"groups-{number}", f"Groups of classes{several}", groups),
        Part(
            f"mistakes-{number}", f"Most confident mistakes{several}",
            shown_mistakes if mistakes else "<p>There are none.</p>",
        ),
        Part(
            f"uncertain-{number}", f"Most uncertain{several}",
            _uncertain(content, chosen, shots, names),
        ),
    ]  # fmt: skip


def _uncertain(content: ReportContent, chosen: _Chosen, shots: Shots, names: Names) -> str:
    """The pictures whose answer was nearly another one."""
    answers, paths = chosen.answers, content.predictions.dataset.paths
    figures = []
    for row in chosen.uncertain:
        second = answers.task.classes[int(answers.second[row])]
        if answers.task.multi_label:
            said = f"<b>{shown(second)}</b>, or not"
        else:
            sure = answers.confidence[row]
            said = (
                f"<b>{shown(answers.answer_in_words(row))}</b> ({sure:.0%}) or "
                f"<b>{shown(second)}</b> ({sure - answers.margin[row]:.0%})"
            )
            if answers.known[row]:
                said += f"; is {shown(answers.label_in_words(row))}"
        figures.append(shots.figure(paths[row], said, names.number(paths[row])))
    if not figures or len(answers.task.classes) < 2:
        return ""
    return (
        "<p class=soft>Pictures whose answer was nearly another. Many of one kind: the classes may need "
        f"a clearer line, or more such pictures.</p><div class=shots>{''.join(figures)}</div>"
    )


def _want_suspects(content: ReportContent, shots: Shots) -> Sequence[Suspect]:
    chosen = list(content.suspects or ())[:_SHOWN] if not content.data else []
    for suspect in chosen:
        shots.want(suspect.path)
    return chosen


def _suspects(content: ReportContent, chosen: Sequence[Suspect], shots: Shots) -> str:
    """The labels that are probably wrong; nothing in a report of other pictures than the run's."""
    if content.data:
        return ""
    if content.unread:
        return f"<p>The list of suspected labels is there, but: {shown(content.unread)}</p>"
    if content.suspects is None:
        return (
            "<p>Nobody has looked for wrong labels yet: <code>hornbeam labels RUN</code> does, in "
            "seconds where the features are kept.</p>"
        )
    if not chosen:
        return "<p>No label is suspicious, or all that were have been looked at.</p>"
    several = len(content.scores) > 1
    figures = "".join(
        shots.figure(
            suspect.path,
            f"{shown(suspect.task) + ': ' if several else ''}labelled <b>"
            f"{shown(suspect.given or 'nothing')}</b> ({suspect.probability_given:.0%}), rather <b>"
            f"{shown(suspect.suggested)}</b> ({suspect.probability_suggested:.0%})",
        )
        for suspect in chosen
    )
    return (
        f"<p class=soft>{len(content.suspects):,} in all, the most suspicious first; the probabilities "
        "are of a model that had not seen the picture's label. <code>labels/labels.html</code> of "
        "the run's folder shows all; <code>labels/labels.csv</code> is there to be edited, and "
        "<code>hornbeam labels RUN --apply FILE</code> applies it.</p>"
        f"<div class=shots>{figures}</div>"
    )


def _for_script(
    chosen: Sequence[_Chosen], names: Names, shots: Shots, paths: list[str]
) -> dict[str, Any]:
    """Return what the script needs: what is in the cells, and pictures that the page does not show.

    Names are not escaped, as the script makes text of them.
    """
    on_page = set(names.numbers)
    tasks = []
    for of_task in chosen:
        cells, scores = of_task.cells, of_task.scores
        of_script = (
            cells_for_script(cells, of_task.answers, names, paths) if cells is not None else []
        )
        totals = [] if scores.confusion is None else scores.confusion.sum(axis=1).tolist()
        classes = [printable(name) for name in scores.task.classes]
        tasks.append({"classes": classes, "totals": totals, "cells": of_script})
    return {
        "tasks": tasks,
        "names": [printable(name) for name in names.numbers],
        "shots": {
            number: shots.address(name)
            for name, number in names.numbers.items()
            if name not in on_page and shots.address(name)
        },
    }


def _judged_on(content: ReportContent) -> str:
    """Say what the pictures are, where they are not the run's own."""
    if not content.data:
        return ""
    return f"<p class=soft>Judged on the pictures of <code>{shown(content.data)}</code>.</p>"


def _contents(parts: Sequence[Part]) -> str:
    links = "".join(f'<li><a href="#{part.name}">{shown(part.heading)}</a>' for part in parts[1:])
    return f'<nav aria-label="contents"><ul>{links}</ul></nav>'


def _section(part: Part) -> str:
    return f'<section id="{part.name}"><h2>{shown(part.heading)}</h2>{part.body}</section>'
