"""The page of suspected labels: thumbnails to decide by, and the decisions as a CSV file.

What was decided stays in the page (it needs no server and fetches nothing); a button gives the same
CSV file as `labels.csv`, with `new_label` filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from hornbeam.data.dataset import Dataset
from hornbeam.errors import HornbeamError
from hornbeam.evaluation.labels.labels_file import COLUMNS, Suspect, cells_of
from hornbeam.evaluation.labels.suspects import Found
from hornbeam.page import jpeg_address, json_block, page, printable, shown
from hornbeam.storage import write_text

_MOST = 400
"""Suspects of a task with a thumbnail; one is about 6 kB. The CSV file has all."""

_TYPICAL = 3
"""Pictures of a class that are shown as what it usually looks like."""

_MOST_CLASSES = 40
"""Classes that are shown so."""

_SIDE = 176
"""Pixels of a thumbnail's longer side."""

_STYLE = """
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(11.5rem, 100%), 1fr)); }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem; display: flex;
  flex-direction: column; gap: .35rem; min-width: 0; }
h1, h2, code, strong, td.words, th.words { overflow-wrap: anywhere; }
.card img { width: 100%; height: 11rem; object-fit: contain; background: var(--line);
  border-radius: .3rem; }
.card p { margin: 0; font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.card .path { font-size: .72rem; }
.card b.from { color: var(--clay); } .card b.to { color: var(--leaf); }
.choices { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem; margin-top: auto; }
.choices label { position: relative; cursor: pointer; min-width: 0; }
.choices input { position: absolute; opacity: 0; inset: 0; width: 100%; height: 100%; margin: 0;
  cursor: pointer; }
.choices span { display: block; text-align: center; font-size: .85rem; padding: .45rem .2rem;
  border: 1px solid var(--line); border-radius: .3rem; overflow-wrap: anywhere; }
.choices label.wide { grid-column: 1 / -1; }
.choices input:checked + span { background: var(--ink); color: var(--paper); }
.choices input:focus-visible + span { outline: 3px solid var(--leaf); }
.choices select { width: 100%; font: inherit; font-size: .85rem; padding: .4rem .1rem;
  color: inherit; background: var(--paper); border: 1px solid var(--line); border-radius: .3rem; }
.save { position: sticky; bottom: 0; background: var(--paper); border-top: 1px solid var(--line);
  padding: .7rem 0; margin-top: 2rem; display: flex; flex-wrap: wrap; gap: .8rem;
  align-items: center; }
.save a { font-weight: 600; color: var(--paper); background: var(--leaf); border-radius: .3rem;
  padding: .5rem .9rem; text-decoration: none; }
td.words, th.words { text-align: left; }
.typical { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; }
.typical div { min-width: 0; } .typical div div { display: flex; gap: .2rem; }
.typical img { width: 33%; height: auto; }
.typical p { margin: 0; font-size: .85rem; overflow-wrap: anywhere; }
@media print { .save, .choices { display: none; } }
"""

_SCRIPT = """
const table = JSON.parse(document.getElementById('table').textContent);
const quote = text => /[",\\r\\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
const link = document.getElementById('download'), said = document.getElementById('said');
const entered = new Map();
let address = '';
function tell() {
  said.textContent = entered.size + ' of ' + table.rows.length + ' decided';
}
// Classes once for all cards: where there are a thousand, a page that repeated them had 16 MB.
function fill(event) {
  const select = event.target;
  if (select.tagName !== 'SELECT' || select.length > 1) return;
  for (const [name, text] of table.classes[select.dataset.task])
    if (name !== select.dataset.given && name !== select.dataset.suggested)
      select.add(new Option(text, name));
}
for (const kind of ['focusin', 'pointerdown']) document.addEventListener(kind, fill);
document.addEventListener('change', event => {
  const card = event.target.closest('[data-row]');
  if (!card) return;
  const row = Number(card.dataset.row), select = card.querySelector('select');
  if (event.target === select) {
    for (const radio of card.querySelectorAll('input')) radio.checked = false;
  } else if (select) select.value = '';
  if (event.target.value) entered.set(row, event.target.value); else entered.delete(row);
  tell();
});
function contents() {
  const lines = table.rows.map((cells, row) => {
    const label = entered.get(row) || '', harmless = label === '-' || !/^[=+@'\\t\\r-]/.test(label);
    return [...cells, harmless ? label : "'" + label].map(quote).join(',');
  });
  return '\\ufeff' + [table.columns.join(','), ...lines].join('\\n') + '\\n';
}
link.addEventListener('click', () => {
  if (address) URL.revokeObjectURL(address);
  address = URL.createObjectURL(new Blob([contents()], {type: 'text/csv'}));
  link.href = address;
});
tell();
"""


def write_labels_page(
    path: Path, dataset: Dataset, found: Sequence[Found], name: str, command: str
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        dataset: whose pictures are shown.
        found: of each task.
        name: of the run or the pictures.
        command: that applies the CSV file.
    """
    several = len(found) > 1
    body = [f"<h1>Labels of {shown(name)}</h1>"]
    listed = sorted(
        ((suspect, row, of_task) for of_task in found
         for suspect, row in zip(of_task.suspects, of_task.rows, strict=True)),
        key=lambda each: -each[0].score,
    )  # fmt: skip
    places = {id(suspect): place for place, (suspect, _, _) in enumerate(listed)}
    for of_task in found:
        heading = f"<h2>{shown(of_task.task.name)}</h2>" if several else ""
        said = " ".join(of_task.sentences(several=False))
        body.append(f"{heading}<p><strong>{shown(said)}</strong></p>")
        body.append(_cards(dataset, of_task, places))
        body.append(_pairs(of_task))
        body.append(_typical(dataset, of_task))
    if listed:
        body.append(
            '<div class="save"><a id="download" href="#" download="labels.csv">Download labels.csv</a>'
            f'<span id="said" class="soft"></span></div><p class="soft">Then: <code>{shown(command)}'
            "</code>, with the place of the file that was downloaded. It writes a new manifest; the "
            "pictures stay as they are.</p>"
        )
        rows = [cells_of(suspect) for suspect, _, _ in listed]
        classes = {
            task.name: [[name, printable(name)] for name in task.classes]
            for task in (of_task.task for of_task in found)
            if not task.multi_label
        }
        body.append(json_block("table", {"columns": COLUMNS, "rows": rows, "classes": classes}))
    write_text(path, page(f"Labels of {name}", "".join(body), _STYLE, _SCRIPT if listed else ""))


def _pairs(found: Found) -> str:
    if not found.pairs:
        return ""
    rows = "".join(
        f"<tr><td>{shown(label)}<td class=words>{shown(true)}<td>{count}</tr>"
        for label, true, count in found.pairs[:20]
    )
    return (
        "<h2>Which class for which</h2><p class=soft>How many labels of each kind are expected to be "
        "wrong, listed above or not.</p>"
        "<div class=scroll><table><tr><th>label<th class=words>probably<th>expected</tr>"
        f"{rows}</table></div>"
    )


def _cards(dataset: Dataset, found: Found, places: dict[int, int]) -> str:
    if not found.suspects:
        return "<p>No label is suspicious enough to be listed.</p>" if found.judged else ""
    several = len(dataset.splits) > 1
    cards = "".join(
        _card(dataset, found, suspect, row, places[id(suspect)], several)
        for suspect, row in list(zip(found.suspects, found.rows, strict=True))[:_MOST]
    )
    more = len(found.suspects) - _MOST
    rest = f"<p class=soft>… and {more} more in labels.csv.</p>" if more > 0 else ""
    return f'<h2>To look at</h2><div class="cards">{cards}</div>{rest}'


def _card(
    dataset: Dataset, found: Found, suspect: Suspect, row: int, place: int, several: bool
) -> str:
    split = f", {shown(suspect.split)}" if several and suspect.split else ""
    given = shown(suspect.given) or "no label"
    label = (
        f"label <b class=from>{given}</b> {suspect.probability_given:.0%}<br>"
        if suspect.given
        else "<b class=from>no label</b><br>"
    )
    suggested = suspect.suggested
    name = f"c{place}"
    others = ""
    if not found.task.multi_label:
        others = (
            '<label class="wide"><select aria-label="another class" '
            f'data-task="{escape(found.task.name)}" data-given="{escape(suspect.given)}" '
            f'data-suggested="{escape(suggested)}"><option value="">another …</option></select></label>'
        )
    return (
        f'<div class="card" data-row="{place}">{_image(dataset, row)}'
        f"<p>{label}rather <b class=to>{shown(suggested)}</b> {suspect.probability_suggested:.0%}</p>"
        f'<p class="soft path">{shown(suspect.path)}{split}</p><div class="choices">'
        f'<label class="wide"><input type="radio" name="{name}" value="{escape(suggested)}">'
        f"<span>{shown(suggested)}</span></label>"
        f'<label><input type="radio" name="{name}" value="-"><span>keep</span></label>'
        f'<label><input type="radio" name="{name}" value="DELETE"><span>delete</span></label>'
        f"{others}</div></div>"
    )


def _typical(dataset: Dataset, found: Found) -> str:
    """Some pictures of each class whose labels are least suspicious."""
    task = found.task
    if not found.suspects or len(task.classes) > _MOST_CLASSES:
        return ""
    labels = dataset.labels(task)
    parts = []
    for index, name in enumerate(task.classes):
        rows = np.flatnonzero(labels[:, index] if task.multi_label else labels == index)
        best = rows[np.argsort(found.scores[rows], kind="stable")][:_TYPICAL]
        images = "".join(_image(dataset, int(row), 80, crop=True) for row in best)
        if images:
            parts.append(f"<div><p>{shown(name)}</p><div>{images}</div></div>")
    return (
        "<h2>What the classes look like</h2><p class=soft>Pictures of each class whose labels are "
        f'least in doubt.</p><div class="typical">{"".join(parts)}</div>'
    )


def _image(dataset: Dataset, row: int, side: int = _SIDE, crop: bool = False) -> str:
    try:
        pixels = dataset.preview(row, side)[0]
    except (HornbeamError, OSError):
        return "<p class=soft>(the picture is gone)</p>"
    address, (width, height) = jpeg_address(pixels, side, crop=crop, quality=75)
    return f'<img alt="" loading="lazy" width="{width}" height="{height}" src="{address}">'
