"""The report's summary: what a reader should know first, in sentences that are no more than true."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from hornbeam.data.dataset import TEST, TRAIN, VALIDATION
from hornbeam.evaluation.report.confusion import worst_pairs
from hornbeam.evaluation.report.content import ReportContent
from hornbeam.evaluation.report.curves import number
from hornbeam.evaluation.report.trust import in_words
from hornbeam.evaluation.scoring.scores import ClassScores, Scores
from hornbeam.evaluation.scoring.shares import Z95, Share, wilson
from hornbeam.evaluation.trust.measuring import Trust
from hornbeam.page import shown

_FEW = 100
"""Pictures of a class in training below which more of them are the first thing to try."""

_GAP = 0.1
"""Difference of training and validation accuracy that is called learning by heart."""

_DIFFERS = 0.15
"""Difference of a class's recall from the overall one that is worth a word, if it is no chance."""


def summary(content: ReportContent, trusts: Sequence[Trust | None]) -> str:
    """Return the first paragraphs of a report, as HTML.

    Args:
        content: of the report.
        trusts: of each task, whether its probabilities mean what they say.
    """
    parts = [f"<p class=soft>{_what(content)}</p>"]
    if not content.scores:
        parts.append(
            "<p>No pictures have judged the model yet: <code>hornbeam evaluate RUN DATA</code> asks it "
            "about some.</p>"
        )
    for scores, trust in zip(content.scores, trusts, strict=True):
        parts.append(f"<p>{_how_good(content, scores)}</p>")
        if said := _where_wrong(scores):
            parts.append(f"<p>{said}</p>")
        if trust is not None:
            parts.append(f"<p>{in_words(trust)}</p>")
    steps = next_steps(content)
    if steps:
        parts.append(f"<h3>What to do next</h3><ul>{''.join(f'<li>{s}' for s in steps)}</ul>")
    return "".join(parts)


def _what(content: ReportContent) -> str:
    """What was trained, on what."""
    config = content.config
    model = config.get("model") or config.get("recipe") or "a network"
    size = "×".join(str(side) for side in (config.get("image_size") or ())[:2])
    classes = " + ".join(str(len(task.classes)) for task in content.predictions.tasks)
    said = f"{shown(str(model))}{f' at {shown(size)} pixels' if size else ''}, {classes} classes"
    trained = content.sizes.get(TRAIN, 0)
    return f"{said}, trained on {trained:,} pictures." if trained else f"{said}."


def _how_good(content: ReportContent, scores: Scores) -> str:
    splits = " and ".join(filter(None, content.predictions.dataset.splits)) or "given"
    of_task = f" ({shown(scores.task.name)})" if len(content.scores) > 1 else ""
    share = scores.accuracy
    if not share.trials:
        return f"None of the pictures has a label{of_task}, so nothing is known of the accuracy."
    every = " in every label" if scores.task.multi_label else ""
    said = (
        f"<strong>{share.value:.1%} of {share.trials:,} {shown(splits)} pictures were named right"
        f"{every}{of_task}.</strong> {shown(scores.advice)}"
    )
    blind = _blind(scores)
    if blind:
        said += f" Always answering {_name(blind.name)} would be right in {_of(blind, scores)}."
    if VALIDATION in content.predictions.dataset.splits:
        if_same = (
            "If these are the validation pictures of the training, they"
            if content.data
            else "The validation pictures"
        )
        said += (
            f" {if_same} also chose the best epoch, so the accuracy on new pictures is likely a little "
            "lower; a test folder would tell."
        )
    return said


def _blind(scores: Scores) -> ClassScores | None:
    """Return the commonest class, where one may answer it blindly."""
    if scores.task.multi_label or not scores.classes:
        return None
    return max(scores.classes, key=lambda c: c.recall.trials)


def _of(commonest: ClassScores, scores: Scores) -> str:
    return f"{commonest.recall.trials / scores.accuracy.trials:.1%}"


def _where_wrong(scores: Scores) -> str:
    """Which classes are confused, and which fall behind."""
    sentences = []
    names = scores.task.classes
    totals = {c.name: c.recall.trials for c in scores.classes}
    pairs = worst_pairs(scores, 3)
    if pairs:
        told = [
            f"{_name(names[i])} named {_name(names[j])} ({count} of {totals[names[i]]})"
            for i, j, count in pairs
        ]
        sentences.append(f"It confuses most often: {_listed(told)}.")
    weak = weak_classes(scores)
    if weak:
        told = [f"{_name(c.name)} ({c.recall.value:.0%} of {c.recall.trials})" for c in weak[:3]]
        more = f", and {len(weak) - 3} more" if len(weak) > 3 else ""
        sentences.append(f"Recognised clearly less often than the others: {_listed(told)}{more}.")
    absent = [c for c in scores.classes if not c.recall.trials]
    if absent:
        told = [_name(c.name) for c in absent[:3]]
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        sentences.append(f"Not judged, as no picture shows it: {', '.join(told)}{more}.")
    return " ".join(sentences)


def weak_classes(scores: Scores) -> list[ClassScores]:
    """Return the classes whose recall is lower than the mean by more than chance explains.

    The level of the intervals is divided by the number of classes (Bonferroni): of a thousand that are
    alike, 25 lie below an interval of 95 %.
    """
    judged = [c for c in scores.classes if c.recall.trials]
    if not judged:
        return []
    mean = float(np.mean([c.recall.value for c in judged]))
    wider = statistics.NormalDist().inv_cdf(1 - 0.025 / len(judged)) / Z95
    weak = [c for c in judged if mean - c.recall.value > _DIFFERS and _end(c.recall, wider) < mean]
    return sorted(weak, key=lambda c: c.recall.value)


def _end(share: Share, wider: float) -> float:
    """Return the upper end of a share's interval that is made wider."""
    trials = share.trials if share.effective is None else share.effective
    return wilson(share.value, trials, share.reach * wider)[1]


def next_steps(content: ReportContent) -> list[str]:
    """Return what the numbers suggest to do, the most useful first, each as HTML."""
    steps = []
    if content.suspects and not content.data:
        count = len(content.suspects)
        steps.append(
            f'Look at the <a href="#suspects">{count} suspected label{"s" * (count > 1)}</a>: wrong '
            "labels cost accuracy, and make the figures above look worse than they are."
        )
    for scores in content.scores:
        weak = weak_classes(scores)
        trained = content.counts.get(scores.task.name, {}).get(TRAIN, {})
        few = [c.name for c in weak if trained.get(c.name, _FEW) < _FEW]
        if few:
            steps.append(
                f"Add training pictures of {_listed([_name(name) for name in few[:5]])}: fewer than "
                f"{_FEW} were there, and the class is recognised less often than others."
            )
    gap = _gap(content)
    if gap:
        steps.append(gap)
    shares = [s.accuracy for s in content.scores if s.accuracy.trials]
    if shares and max(map(_reach, shares)) > 0.05:
        steps.append(
            "Hold out more pictures: these are too few to tell models apart that differ by less than "
            f"{max(map(_reach, shares)):.0%}."
        )
    if TEST not in content.predictions.dataset.splits and not _has_test(content):
        steps.append(
            "Keep a test split that no choice is made by (<code>hornbeam split</code>), and judge the "
            "final model on it once."
        )
    if content.suspects is None and not content.unread and not content.data:
        steps.append("Look for wrong labels: <code>hornbeam labels RUN</code>.")
    return steps


def _gap(content: ReportContent) -> str:
    """Say so where the training pictures were learnt by heart."""
    gaps = [
        (number(row.get("accuracy")), number(row.get("val_accuracy"))) for row in content.curves
    ]
    gaps = [(a, b) for a, b in gaps if math.isfinite(a) and math.isfinite(b)]
    if not gaps or gaps[-1][0] - gaps[-1][1] < _GAP:
        return ""
    training, validation = gaps[-1]
    remedies = "more training pictures or stronger augmentation (<code>--augment</code>)"
    if content.config.get("weights") in (None, "none"):
        remedies += " or pretrained weights (<code>--weights</code>)"
    return (
        f"The training pictures were named right in {training:.0%} of cases, the validation pictures in "
        f"{validation:.0%}: {remedies} may narrow that."
    )


def _has_test(content: ReportContent) -> bool:
    return any(TEST in counts for counts in content.counts.values())


def _reach(share: Share) -> float:
    low, high = share.interval
    return (high - low) / 2


def _name(name: str) -> str:
    """Return a class's name as it stands in a sentence, however long it is."""
    short = name if len(name) <= 60 else name[:57] + "…"
    return f"<em><bdi>{shown(short)}</bdi></em>"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
