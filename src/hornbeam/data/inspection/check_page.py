"""The page of a check: what was found, with thumbnails, copies side by side."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from hornbeam.data.dataset import Dataset
from hornbeam.data.inspection.facts import Facts
from hornbeam.data.inspection.findings import KINDS, Finding, summary
from hornbeam.errors import DataError
from hornbeam.page import page, printable, thumbnail
from hornbeam.storage import write_text

_MOST = 24
"""Pictures shown of each kind; a thumbnail is about 4 kB."""

_MOST_GROUPS = 16
"""Groups shown of each kind, …"""

_MOST_OF_GROUP = 6
"""… and pictures of each."""

_SIDE = 144
"""Longer side of a thumbnail, in pixels."""

_STYLE = """<style>
.shots { grid-template-columns: repeat(auto-fill, 9rem); }
.shots figure img, .none { width: 9rem; height: 9rem; object-fit: contain; background: var(--line); }
.none { display: grid; place-items: center; color: var(--soft); font-size: 1.6rem; }
.group { border-left: 3px solid var(--line); padding-left: .8rem; margin: 1rem 0 1.6rem; }
.group p, .advice { margin: .2rem 0 .6rem; } .problem { color: var(--clay); }
figcaption { line-height: 1.35; margin-top: .3rem; }
td:nth-child(2), th:nth-child(2) { text-align: left; } td { white-space: normal; }
li { overflow-wrap: anywhere; } a { color: inherit; }
</style>"""


def write_check_page(
    path: Path, dataset: Dataset, facts: Facts, findings: Sequence[Finding]
) -> None:
    """Write a page about the findings, complete in itself.

    Args:
        path: of the page.
        dataset: whose pictures are shown.
        facts: of its pictures.
        findings: of `checks.find_faults`.
    """
    shots = _Shots(dataset, facts)
    body = [_STYLE, f"<h1>Check of {_text(str(dataset.root))}</h1>", _overview(dataset, findings)]
    for name, kind in KINDS.items():
        found = [finding for finding in findings if finding.kind == name]
        if not found:
            continue
        body.append(
            f'<h2 id="{name}">{_text(kind.title.capitalize())} '
            f'<small class="{kind.severity}">{kind.severity}</small></h2>'
            f'<p class="advice soft">{_text(kind.advice)}</p>'
        )
        body.extend(_groups(found, shots) if kind.grouped else _singles(found, shots))
    write_text(path, page(f"Check of {printable(str(dataset.root))}", "\n".join(body)))


def _overview(dataset: Dataset, findings: Sequence[Finding]) -> str:
    if not findings:
        return f"<p>{len(dataset)} pictures, nothing to mend.</p>"
    rows = []
    for name, count, _ in summary(findings):
        kind = KINDS[name]
        rows.append(
            f'<tr><td><a href="#{name}">{_text(kind.title)}</a></td>'
            f'<td class="{kind.severity}">{kind.severity}</td><td>{count}</td></tr>'
        )
    return (
        f"<p>{len(dataset)} pictures.</p><div class=scroll><table>"
        f"<tr><th>found</th><th>weight</th><th>number</th></tr>{''.join(rows)}</table></div>"
    )


def _groups(found: Sequence[Finding], shots: _Shots) -> Iterator[str]:
    for finding in found[:_MOST_GROUPS]:
        details = finding.details or ("",) * len(finding.paths)
        pictures = list(zip(finding.paths, details, strict=True))
        shown = "".join(shots.figure(*picture) for picture in pictures[:_MOST_OF_GROUP])
        more = _more(len(pictures) - _MOST_OF_GROUP, "picture")
        yield (
            f'<div class="group"><p>{_text(finding.sentence)}</p>'
            f'<div class="shots">{shown}</div>{more}</div>'
        )
    yield _more(len(found) - _MOST_GROUPS, "group")


def _singles(found: Sequence[Finding], shots: _Shots) -> Iterator[str]:
    for finding in found:
        details = finding.details or ("",) * len(finding.paths)
        pictures = list(zip(finding.paths, details, strict=True))
        yield f"<p>{_text(finding.sentence)}</p>"
        if any(shots.can_show(name) for name in finding.paths[:_MOST]):
            figures = "".join(shots.figure(*picture) for picture in pictures[:_MOST])
            yield f'<div class="shots">{figures}</div>'
        elif pictures:
            items = (
                f"<li>{_text(name)} <span class=soft>{_text(detail)}</span></li>"
                for name, detail in pictures[:_MOST]
            )
            yield f"<ul>{''.join(items)}</ul>"
        yield _more(len(pictures) - _MOST, "file")


def _more(count: int, what: str) -> str:
    """Say how many are not shown."""
    if count < 1:
        return ""
    return f'<p class="soft">… and {count} more {what}{"s" if count > 1 else ""}.</p>'


def _text(text: str) -> str:
    return escape(printable(text))


class _Shots:
    """Thumbnails of pictures, by their paths; each is decoded once."""

    def __init__(self, dataset: Dataset, facts: Facts) -> None:
        self._dataset = dataset
        self._good = facts.good()
        self._rows = {path: row for row, path in enumerate(dataset.paths)}
        self._made: dict[str, str] = {}

    def can_show(self, path: str) -> bool:
        """Whether this is a picture of the dataset that can be decoded."""
        return path in self._rows and bool(self._good[self._rows[path]])

    def figure(self, path: str, detail: str) -> str:
        """Return a picture with its name and what is particular to it."""
        if path not in self._made:
            self._made[path] = self._thumbnail(path)
        note = f"<br><span class=soft>{_text(detail)}</span>" if detail else ""
        return f"<figure>{self._made[path]}<figcaption>{_text(path)}{note}</figcaption></figure>"

    def _thumbnail(self, path: str) -> str:
        if self.can_show(path):
            row = self._rows[path]
            with contextlib.suppress(DataError):  # it was there a moment ago
                return thumbnail(self._dataset.preview(row, _SIDE)[0], side=_SIDE, crop=False)
        return '<div class="none">?</div>'
