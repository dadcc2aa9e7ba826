"""What is taken for what: the confusion matrix, its picture for many classes, and its worst cells."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from hornbeam.evaluation.scoring.scores import Scores
from hornbeam.page import shown

MOST_CELLS = 40
"""Classes up to which the whole matrix is written out."""

_WORST_CLASSES = 16
"""Classes of the part that is written out of a larger one."""

_WORST_PAIRS = 20
"""Confusions that are told in words."""

_MAP = 400
"""Pixels of the picture of a large matrix; of more classes several share one."""


def confusion(scores: Scores, number: int, clickable: bool = True) -> str:
    """Return the confusion matrix of a task with one label a picture.

    Args:
        scores: of the task.
        number: of the task in the page, for the script.
        clickable: the script has the pictures of the cells.
    """
    matrix = scores.confusion
    if matrix is None:
        return ""
    classes = len(scores.task.classes)
    everything = np.arange(classes)
    said = "<p class=soft>Rows: what it is. Columns: what it was named.{}</p>"
    hint = " <span class=js>Choose a cell to see its pictures.</span>" if clickable else ""
    if classes <= MOST_CELLS:
        return said.format(hint) + _matrix(scores, everything, number, clickable)
    worst = _most_confused(matrix)
    parts = [
        f"<p>{classes} classes are too many to write out.</p>",
        f"<h3>The {len(worst)} classes that are confused most</h3>" if len(worst) else "",
        said.format(hint) + _matrix(scores, worst, number, clickable) if len(worst) else "",
        f"<h3>All {classes} classes</h3><p class=soft>Each dot is a cell of the matrix, rows and "
        "columns in the order of the classes; the diagonal holds what is right."
        + (' <span class=js>Choose a place to see what is near it.</span>' if clickable else "")
        + "</p>",
        f'<p class=map>{_map(matrix, number, clickable)}</p>',
        _pairs(scores, number, clickable),
    ]  # fmt: skip
    return "".join(parts)


def worst_pairs(scores: Scores, most: int) -> list[tuple[int, int, int]]:
    """Return (truth, answer, pictures) of the most frequent confusions."""
    if scores.confusion is None:
        return []
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    most = min(most, wrong.size)
    if not most:
        return []
    order = np.argpartition(-wrong, most - 1, axis=None)[:most].tolist()
    pairs = [(*divmod(i, len(wrong)), int(wrong.flat[i])) for i in order]
    return sorted([p for p in pairs if p[2]], key=lambda p: (-p[2], p[0], p[1]))


def _matrix(scores: Scores, chosen: NDArray[np.int64], number: int, clickable: bool) -> str:
    assert scores.confusion is not None
    names = [shown(scores.task.classes[i]) for i in chosen]
    totals = scores.confusion.sum(axis=1)
    head = "".join(f"<th scope=col><span>{name}</span>" for name in names)
    body = ""
    for i, name in zip(chosen.tolist(), names, strict=True):
        cells = []
        for j in chosen.tolist():
            count = int(scores.confusion[i, j])
            if not count:
                cells.append("<td>")
                continue
            strength = 8 + round(52 * count / int(totals[i]))
            written = _count(number, i, j, count, clickable)
            cells.append(f'<td class={"r" if i == j else "w"} style="--s:{strength}%">{written}')
        body += f"<tr><th scope=row><span>{name}</span>{''.join(cells)}"
    return (
        f"<div class=scroll tabindex=0><table class=matrix><tr><th class=soft>is \\ named{head}{body}"
        "</table></div>"
    )


def _count(number: int, truth: int, answer: int, count: int, clickable: bool) -> str:
    """Return the pictures of a cell, as what opens them where the script has them."""
    return f"<button data-c={number},{truth},{answer}>{count}</button>" if clickable else str(count)


def _most_confused(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes of the most frequent confusions, in their own order."""
    both = matrix + matrix.T
    np.fill_diagonal(both, 0)
    chosen: dict[int, None] = {}
    order = np.argpartition(-both, min(400, both.size - 1), axis=None)[:400]
    for place in order[np.argsort(-both.flat[order], kind="stable")].tolist():
        i, j = divmod(place, len(matrix))
        if not both[i, j] or len({*chosen, i, j}) > _WORST_CLASSES:
            break
        chosen |= {i: None, j: None}
    return np.array(sorted(chosen), np.int64)


def _map(matrix: NDArray[np.int64], number: int, clickable: bool) -> str:
    """Return a matrix as a picture: right answers green, wrong ones red, none transparent."""
    import cv2

    classes = len(matrix)
    pixels = min(classes, _MAP)
    place = np.arange(classes) * pixels // classes
    i, j = matrix.nonzero()
    share = (matrix[i, j] / matrix.sum(axis=1)[i]) ** 0.5
    strength = np.zeros((2, pixels, pixels), np.float32)
    np.maximum.at(strength, ((i == j).astype(int), place[i], place[j]), share)
    wrong, right = strength
    bgra = np.zeros((pixels, pixels, 4), np.uint8)
    bgra[wrong > 0] = (45, 85, 200, 0)
    bgra[right > wrong] = (90, 150, 70, 0)
    bgra[..., 3] = np.where(np.maximum(wrong, right) > 0, 60 + 195 * np.maximum(wrong, right), 0)
    png = cv2.imencode(".png", bgra)[1].tobytes()
    for_script = f" data-map={number} data-classes={classes}" if clickable else ""
    return (
        f'<img{for_script} width={pixels} height={pixels} alt="" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}">'
    )


def _pairs(scores: Scores, number: int, clickable: bool) -> str:
    """The most frequent confusions, in words; the script lets one search all, if it has them."""
    assert scores.confusion is not None
    names = scores.task.classes
    totals = scores.confusion.sum(axis=1)
    rows = "".join(
        f"<tr><td>{shown(names[i])}<td class=words>{shown(names[j])}"
        f"<td>{_count(number, i, j, count, clickable)}<td>{count / totals[i]:.1%}"
        for i, j, count in worst_pairs(scores, _WORST_PAIRS)
    )
    if not rows:
        return ""
    field = (
        f"<p class=js><input type=search data-pairs={number} "
        'aria-label="search all confusions" placeholder="search all confusions by class"></p>'
        if clickable
        else ""
    )
    return (
        f"<h3>The most frequent confusions</h3>{field}<div class=scroll><table class=pairs>"
        "<thead><tr><th>is<th class=words>named<th>pictures"
        f"<th>of the class</thead><tbody>{rows}</tbody></table></div>"
    )
